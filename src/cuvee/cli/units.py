"""Numbers as people read them."""

import re

__all__ = ["duration", "parse_size", "size"]

UNITS = {"": 0, "k": 1, "M": 2, "G": 3, "T": 4}


def size(nbytes: float) -> str:
    """Return a number of bytes with a decimal unit: 2.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit in ("B", "kB") else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"


def duration(seconds: float) -> str:
    """Return a time as people say it: 0.4 s, 12 s, 5 min, 2.5 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def parse_size(text: str) -> int:
    """Read a number of bytes: 500MB, 2 GB, 1.5GiB, 1048576.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([kMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"'{text}' is no number of bytes; write for example 500MB, 2GB or 1.5GiB")
    prefix = found[2].upper().replace("K", "k")
    unit: int = (1024 if found[3] else 1000) ** UNITS[prefix]
    return int(float(found[1]) * unit)

"""Numbers as people read them."""

__all__ = ["size"]


def size(nbytes: float) -> str:
    """Return a number of bytes with a decimal unit: 2.2 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if nbytes < 1000:
            return f"{nbytes:.0f} {unit}" if unit in ("B", "kB") else f"{nbytes:.1f} {unit}"
        nbytes /= 1000
    return f"{nbytes:.1f} TB"

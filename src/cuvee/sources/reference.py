"""The grammar of what people call their models. Knows no file format; touches the disk only to see what exists.

::

    path/to/checkpoint          a folder or a file; relative to the recipe's folder
    org/name, org/name@revision a model on the hub, where there is no such path
    s3://bucket/checkpoint      an address that fsspec understands
    BASE+ADAPTER                a model with an adapter, or several one after the other; each part is one of the above

A path that exists is a path, whatever its letters.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cuvee.errors import SourceError

__all__ = ["hub_id", "is_address", "located", "parts_of", "usable_path"]

PLUS = "+"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9.-]+://")
HUB_ID = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w./-]+))?", re.ASCII)


def usable_path(reference: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` expanded.

    Raises:
        SourceError: it holds a zero byte, or its ``~`` stands for nobody.
    """
    text = os.fspath(reference)
    if "\0" in text:
        raise SourceError(f"{text!r} is not a path: it holds a zero byte.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SourceError(f"{text!r} is not a path: its '~' stands for no user of this machine.") from error


def is_address(text: str) -> bool:
    """Say whether a reference is an address such as ``s3://bucket/checkpoint``."""
    return bool(ADDRESS.match(text))


def hub_id(text: str) -> tuple[str, str | None] | None:
    """Return the name and the revision (None: the newest) that a reference can stand for on the hub, if it can."""
    found = HUB_ID.fullmatch(text)
    return (found[1], found[2]) if found and not text.startswith((".", "~")) and ".." not in found[1] else None


def parts_of(text: str) -> Sequence[str]:
    """Return a reference's parts: a model, and the adapters on it; one part if it is a path that exists.

    Raises:
        SourceError: a part is empty.
    """
    if PLUS not in text or os.path.exists(usable_path(text)):  # noqa: PTH110 - Path's raises for a name that is too long
        return (text,)
    parts = text.split(PLUS)
    if not all(part.strip() for part in parts):
        raise SourceError(f"'{text}' is not BASE+ADAPTER: there is nothing on one side of a '+'.")
    return tuple(part.strip() for part in parts)


def located(text: str, folder: Path | None) -> str:
    """Return a reference that means the same in any folder.

    Args:
        text: the reference.
        folder: what relative paths in it are relative to; None is the current one.

    Raises:
        SourceError: it cannot be a reference.
    """
    if is_address(text) and PLUS not in text:
        return text
    path = usable_path(text)
    whole = os.path.normpath(folder / path) if folder is not None else str(path)
    if os.path.lexists(whole):
        return whole
    if PLUS in text:
        return PLUS.join(located(part, folder) for part in parts_of(text))
    return text if hub_id(text) else whole

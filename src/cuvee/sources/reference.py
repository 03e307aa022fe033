"""The grammar of what people call their models, and the rule that says what a name means. Knows no file format.

::

    path/to/checkpoint          a folder or a file
    org/name, org/name@revision a model on the hub
    s3://bucket/checkpoint      an address that fsspec understands; file:// stands for a path
    BASE+ADAPTER                a model with an adapter, or several one after the other; each part is one of the above

What lies on the disk under a name comes first, whatever its letters. Relative paths are looked for in one folder only:
that of the recipe, or the current one where there is none. What is not there, and can be a name on the hub, is one.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cuvee.errors import SourceError

__all__ = ["PLUS", "Place", "hub_id", "place_of", "places_of"]

PLUS = "+"
LOCAL = "file://", "local://"
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9.-]+://")
HUB_ID = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w./-]+))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Place:
    """What a name means: a path, a model on the hub, or an address.

    Attributes:
        called: what messages call it; an address is this.
        path: where it lies on a disk of this machine, or would; None for an address.
        hub: name and revision (None: the newest) on the hub; None where there is such a path, or it is no such name.
    """

    called: str
    path: Path | None = None
    hub: tuple[str, str | None] | None = None

    @property
    def real(self) -> str:
        """What is the same for two names of one place."""
        return self.called if self.path is None or self.hub else os.path.realpath(self.path)


def places_of(reference: str | os.PathLike[str], folder: Path | None = None) -> Sequence[Place]:
    """Say what a reference means: a model, and the adapters on it, each with its place.

    Args:
        reference: the reference.
        folder: what relative paths in it are relative to; None is the current one.

    Raises:
        SourceError: it cannot be a reference, or a part of it is empty.
    """
    text = os.fspath(reference)
    whole = place_of(text, folder)
    if PLUS not in text or (whole.path is not None and os.path.lexists(whole.path)):
        return (whole,)
    parts = [part.strip() for part in text.split(PLUS)]
    if not all(parts):
        raise SourceError(f"'{text}' is not BASE+ADAPTER: there is nothing on one side of a '+'.")
    return [place_of(part, folder) for part in parts]


def place_of(text: str, folder: Path | None = None) -> Place:
    """Say what a name without adapters means.

    Args:
        text: the name.
        folder: what it is relative to, if it is a relative path; None is the current one.

    Raises:
        SourceError: it cannot be a path.
    """
    local = next((start for start in LOCAL if text.startswith(start)), "")
    if ADDRESS.match(text) and not local:
        return Place(text)
    path = _path(text.removeprefix(local))
    whole = path if folder is None else Path(os.path.normpath(folder / path))
    named = None if os.path.lexists(whole) else hub_id(text)
    return Place(text if folder is None or local or named else str(whole), whole, named)


def hub_id(text: str) -> tuple[str, str | None] | None:
    """Return the name and the revision (None: the newest) that a text can stand for on the hub, if it can."""
    found = HUB_ID.fullmatch(text)
    return (found[1], found[2]) if found and not text.startswith((".", "~")) and ".." not in found[1] else None


def _path(text: str) -> Path:
    """Return a path with ``~`` expanded."""
    if "\0" in text:
        raise SourceError(f"{text!r} is not a path: it holds a zero byte.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise SourceError(
            f"{text!r} is not a path: its '~' stands for no user of this machine. Write it in full."
        ) from error

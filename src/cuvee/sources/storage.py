"""Where the files of a checkpoint lie: what reading one asks of a disk, of an object store, of the hub.

Files are known by their bare names. Knows neither tensors nor formats, apart from a file's header.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol, TypeVar

from cuvee.sources.header import FileHeader
from cuvee.spec import File

__all__ = ["Storage", "StoredFile", "at_once"]

REQUESTS = 8  # that are made at once, of a store that takes a while to answer each

Key = TypeVar("Key")
Result = TypeVar("Result")


class Storage(Protocol):
    """The files of one folder, or one file by itself. Any number of threads may read at once.

    Attributes:
        place: what messages call the folder, or the file that stands by itself.
        location: what opens the same again, from any folder.
        single: name of the file that stands by itself; None for a folder.
        memory: bytes that each thread takes to read.
        remedy: a sentence that says how to get files that are missing.
        unseen: where there may be files that this machine does not know of, a sentence that says how to get them, with
            a space before it; else empty.
    """

    @property
    def place(self) -> str: ...  # noqa: D102
    @property
    def location(self) -> str: ...  # noqa: D102
    @property
    def single(self) -> str | None: ...  # noqa: D102
    @property
    def memory(self) -> int: ...  # noqa: D102
    @property
    def remedy(self) -> str: ...  # noqa: D102
    @property
    def unseen(self) -> str: ...  # noqa: D102

    def names(self) -> Sequence[str]:
        """Return the names of the ordinary files at its top, sorted; hidden ones are left out.

        Raises:
            SourceError: the folder cannot be read.
        """
        ...

    def folder(self, name: str) -> "Storage | None":
        """Return a folder at its top as a storage of its own, which has to be closed; None if there is none.

        Raises:
            SourceError: it cannot be read.
        """
        ...

    def inner(self) -> Sequence[str]:
        """Return the names of the folders at its top that hold weights, sorted.

        Raises:
            SourceError: one cannot be read.
        """
        ...

    def where(self, name: str) -> str:
        """Return what messages call a file."""
        ...

    def paths(self, names: Iterable[str]) -> Sequence[Path]:
        """Return the files and folders of this machine that are read with these files, links not followed."""
        ...

    def file(self, name: str) -> File:
        """Return a small file; nothing is read yet."""
        ...

    def small(self, name: str) -> bytes:
        """Read a JSON file whole.

        Raises:
            SourceError: it cannot be read.
            FormatError: it is larger than any such file.
        """
        ...

    def prepare(self, small: Sequence[str]) -> None:
        """Have small files at hand that will be asked for, if that takes a while.

        Raises:
            SourceError: one cannot be had.
        """
        ...

    def watch(self, small: Sequence[str]) -> Sequence[str]:
        """Remember what small files are now, where they can change, for `check_unchanged`.

        Returns:
            For each file that can change what names its content, as far as that can be told without reading it.

        Raises:
            SourceError: one is not there any more.
        """
        ...

    def headers(self, names: Sequence[str]) -> Sequence[FileHeader]:
        """Read the headers of weight files; what is read of these files later must be the same content.

        Raises:
            SourceError: one cannot be read.
            FormatError: one is malformed.
        """
        ...

    def identity(self, name: str) -> str:
        """Return what names a file among all files, without its content; its header has been read.

        Empty where nobody could tell whether its content has changed since.
        """
        ...

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a weight file; return how many bytes there were, less only at its end.

        Raises:
            OSError: the file cannot be read, has changed since its header was read, or was closed; says why.
        """
        ...

    def fetch(self, names: Sequence[str]) -> None:
        """Bring weight files to this machine that are read from there, and are not there yet.

        Raises:
            SourceError: one cannot be had.
        """
        ...

    def check_unchanged(self) -> None:
        """Verify that the weight files are still what they were when their headers were read, and what is watched.

        Raises:
            SourceError: one is not; names it.
        """
        ...

    def close(self) -> None:
        """Release what reading holds. Reading afterwards is an error."""
        ...


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A small file that is fetched when it is read.

    Attributes:
        where: what messages call it.
        name: its bare name.
        read: fetches it.
    """

    where: str
    name: str
    read: Callable[[], bytes]

    @property
    def suffix(self) -> str:
        """What its name ends in, from the last dot on."""
        return PurePath(self.name).suffix

    def read_bytes(self) -> bytes:
        """Fetch and return all of it.

        Raises:
            SourceError: it cannot be had.
        """
        return self.read()

    def __str__(self) -> str:
        return self.where


def at_once(function: Callable[[Key], Result], keys: Sequence[Key]) -> list[Result]:
    """Return what `function` makes of each key; several are waited for at once."""
    if len(keys) < 2:
        return [function(key) for key in keys]
    with ThreadPoolExecutor(min(REQUESTS, len(keys))) as pool:
        return list(pool.map(function, keys))

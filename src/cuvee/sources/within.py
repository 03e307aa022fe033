"""A folder within a storage that knows all of its files, those in folders too. Knows no place and no format."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cuvee.sources.header import FileHeader
from cuvee.sources.storage import Storage
from cuvee.spec import File

__all__ = ["Within"]


class Within:
    """A folder of another storage; see `cuvee.sources.storage.Storage`. Closing it does nothing.

    Args:
        whole: the other storage, which takes ``folder/name`` for a file of the folder.
        name: the folder's.
        files: bare names of the files in it, sorted, without hidden ones.
    """

    single = None
    location = ""  # by itself it does not open

    def __init__(self, whole: Storage, name: str, files: Sequence[str]) -> None:
        self._whole = whole
        self._name = name
        self.place = whole.where(name)
        self.memory = whole.memory
        self.remedy = whole.remedy
        self.unseen = whole.unseen
        self._files = files

    def names(self) -> Sequence[str]:
        """Return the names of the files, sorted; hidden ones are left out."""
        return self._files

    def folder(self, name: str) -> None:
        """Return nothing: it has no folders of its own."""

    def inner(self) -> Sequence[str]:
        """Return nothing: it has no folders of its own."""
        return ()

    def where(self, name: str) -> str:
        """Return what messages call a file."""
        return self._whole.where(self._in(name))

    def paths(self, names: Iterable[str]) -> Sequence[Path]:
        """Return what of this machine is read with these files."""
        return self._whole.paths(map(self._in, names))

    def file(self, name: str) -> File:
        """Return a small file; nothing is read yet."""
        return self._whole.file(self._in(name))

    def small(self, name: str) -> bytes:
        """Read a JSON file whole."""
        return self._whole.small(self._in(name))

    def prepare(self, small: Sequence[str]) -> None:
        """Have small files at hand."""
        self._whole.prepare([*map(self._in, small)])

    def watch(self, small: Sequence[str]) -> Sequence[str]:
        """Remember what small files are now."""
        return self._whole.watch([*map(self._in, small)])

    def headers(self, names: Sequence[str]) -> Sequence[FileHeader]:
        """Read the headers of weight files."""
        return self._whole.headers([*map(self._in, names)])

    def identity(self, name: str) -> str:
        """Return what names a file among all files."""
        return self._whole.identity(self._in(name))

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a weight file; return how many bytes there were, less only at its end."""
        return self._whole.read_at(self._in(name), view, position)

    def fetch(self, names: Sequence[str]) -> None:
        """Bring weight files to this machine."""
        self._whole.fetch([*map(self._in, names)])

    def check_unchanged(self) -> None:
        """Verify that the weight files are still what they were."""
        self._whole.check_unchanged()

    def close(self) -> None:
        """Do nothing: the files belong to the other."""

    def _in(self, name: str) -> str:
        return f"{self._name}/{name}"

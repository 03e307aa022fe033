"""The files of a checkpoint on a disk of this machine. Knows nothing of tensors."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cuvee.errors import SourceError
from cuvee.files import OpenFiles
from cuvee.sources.folder import SUFFIX
from cuvee.sources.header import FileHeader, read_header
from cuvee.sources.stamps import Stamp, check_stamps, stamp
from cuvee.sources.strict_json import read_small

__all__ = ["LocalFolder"]


class LocalFolder:
    """A folder, or one file by itself; see `cuvee.sources.storage.Storage`.

    Weights are read by positioned reads of the system, straight into the caller's buffer.

    Args:
        path: the folder or file, which is there.

    Attributes:
        place: its path, as given.
        location: its absolute path.
        single: name of the file, if it is one.
    """

    remedy = "Download the whole checkpoint."
    unseen = ""
    memory = 0  # but what is read ahead, which is little

    def __init__(self, path: Path) -> None:
        self._path = path
        self.place = str(path)
        self.location = os.path.abspath(path)  # noqa: PTH100 - Path.resolve would follow the links
        self.single = None if path.is_dir() else path.name
        self._weights: dict[str, Path] = {}
        self._unchanged: dict[Path, Stamp] = {}
        self._files = OpenFiles(self._open)

    def names(self) -> Sequence[str]:
        """Return the names of the ordinary files at its top, sorted; hidden ones are left out."""
        try:
            entries = self._path.iterdir()
            return sorted(path.name for path in entries if not path.name.startswith(".") and path.is_file())
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}.") from error

    def folder(self, name: str) -> "LocalFolder | None":
        """Return a folder at its top as a storage of its own; None if there is none."""
        path = self._path / name
        return LocalFolder(path) if os.path.isdir(path) else None  # noqa: PTH112 - Path's raises for a name that is too long

    def inner(self) -> Sequence[str]:
        """Return the names of the folders at its top that hold weights, sorted."""
        return sorted(path.name for path in self._path.iterdir() if path.is_dir() and any(path.glob("*" + SUFFIX)))

    def where(self, name: str) -> str:
        """Return a file's path."""
        return str(self.file(name))

    def paths(self, names: Iterable[str]) -> Sequence[Path]:
        """Return the folder and the files, links not followed."""
        return ((self._path,) if self.single is None else ()) + tuple(map(self.file, names))

    def file(self, name: str) -> Path:
        """Return a file's path."""
        return self._path / name if self.single is None else self._path

    def small(self, name: str) -> bytes:
        """Read a JSON file whole."""
        return read_small(self.file(name))

    def prepare(self, small: Sequence[str]) -> None:
        """Do nothing: files are at hand."""

    def watch(self, small: Sequence[str]) -> Sequence[str]:
        """Remember the stamps of small files; return them."""
        files = {name: self.file(name) for name in small}
        try:
            self._unchanged |= (stamps := {file: stamp(file.stat()) for file in files.values()})
        except OSError as error:
            raise SourceError(f"{error.filename} cannot be read: {error.strerror}.") from error
        return [f"{name} {size} {changed}" for name, file in files.items() for size, changed in (stamps[file],)]

    def headers(self, names: Sequence[str]) -> Sequence[FileHeader]:
        """Read the headers of weight files."""
        found: Mapping[str, FileHeader] = {name: read_header(self.file(name)) for name in names}
        for name, header in found.items():
            self._weights[name] = path = self.file(name)
            self._unchanged[path] = header.file_bytes, int(header.version)
        return list(found.values())

    def identity(self, name: str) -> str:
        """Return a file's real path."""
        return os.path.realpath(self.file(name))

    def read_at(self, name: str, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a weight file; return how many bytes there were, less only at its end."""
        return self._files.read_at(self._weights[name], view, position)

    def fetch(self, names: Sequence[str]) -> None:
        """Do nothing: files are at hand."""

    def check_unchanged(self) -> None:
        """Verify that weight files, and the small ones that are watched, are still what they were."""
        check_stamps(self._unchanged)

    def close(self) -> None:
        """Close all files. Reading afterwards is an error."""
        self._files.close()

    def _open(self, file: Path) -> io.FileIO:
        """Open a file that is still what it was when its header was read."""
        opened = io.FileIO(file, "rb")
        if stamp(os.fstat(opened.fileno())) != self._unchanged[file]:
            opened.close()
            raise OSError(0, "it has changed since its header was read")
        return opened

"""A checkpoint on disk as a Source: a folder of one or several safetensors files, or one such file.

Knows nothing of what the tensors mean.
"""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cuvee.errors import SourceError, nearest
from cuvee.files import OpenFiles
from cuvee.sources.folder import Weights, check_index, find_weights, refuse_pickle
from cuvee.sources.header import read_header
from cuvee.sources.sidecars import CONFIG, find_sidecars
from cuvee.sources.stamps import check_stamps, stamp
from cuvee.sources.strict_json import read_object, shown
from cuvee.spec import Header, TensorSpec

__all__ = ["Checkpoint"]


class Checkpoint:
    """Named tensors in safetensors files. Headers are read now, weights when asked.

    A folder brings its configuration and sidecars; one file by itself brings neither, whatever lies beside it.

    Args:
        path: a folder, or one safetensors file.
        reference: what the user called it; the path if not given.

    Attributes:
        metadata: free text of each file, by file name.

    Raises:
        SourceError: nothing readable is there.
        FormatError: a header, an index or the configuration is malformed.
        UnsupportedError: the folder holds something other than a whole model.
    """

    def __init__(self, path: str | os.PathLike[str], reference: str | None = None) -> None:
        self._path = Path(path)
        self._reference = reference if reference is not None else os.fspath(path)
        folder = self._path if self._path.is_dir() else None
        weights = find_weights(self._path) if folder else _one_file(self._path)
        headers = {file: read_header(file) for file in weights.files}
        check_index(weights, {file: header.tensors for file, header in headers.items()})
        self.metadata: Mapping[str, Mapping[str, str]] = {
            file.name: header.metadata for file, header in headers.items()
        }
        self._unchanged = {file: (header.file_bytes, header.modified_ns) for file, header in headers.items()}
        self._identity = "\n".join(
            f"{os.path.realpath(file)} {header.file_bytes} {header.modified_ns} {header.digest}"
            for file, header in headers.items()
        )
        self._files = OpenFiles(self._open)
        self._specs: dict[str, TensorSpec] = {}
        self._places: dict[str, tuple[Path, int, int]] = {}  # file, first byte, bytes
        for file, header in headers.items():
            for name, placed in header.tensors.items():
                self._specs[name] = placed.spec
                self._places[name] = file, placed.begin, placed.spec.nbytes
        self._sidecars = find_sidecars(folder) if folder else {}
        self._config = read_object(self._sidecars[CONFIG], constants=True) if CONFIG in self._sidecars else {}
        self._paths = ((folder,) if folder else ()) + tuple(weights.files)

    @property
    def reference(self) -> str:
        """What the user called it."""
        return self._reference

    @property
    def header(self) -> Header:
        """Every tensor's specification: file by file in order of their names, and by offset within."""
        return self._specs

    @property
    def shared(self) -> Sequence[Sequence[str]]:
        """Nothing: a file stores each tensor once."""
        return ()

    @property
    def config(self) -> Mapping[str, object]:
        """``config.json``, or an empty mapping."""
        return self._config

    @property
    def sidecars(self) -> Mapping[str, Path]:
        """Configuration, tokenizer and custom code, by file name."""
        return self._sidecars

    @property
    def paths(self) -> Sequence[Path]:
        """The folder and the weight files, links not followed."""
        return self._paths

    @property
    def memory(self) -> int:
        """Nothing but what is read ahead, which is little."""
        return 0

    @property
    def preparation(self) -> int:
        """Nothing."""
        return 0

    def cost(self, name: str) -> int:
        """Return the tensor's bytes.

        Raises:
            SourceError: there is no such tensor.
        """
        return self._place(name)[2]

    def locate(self, name: str) -> str:
        """Return the path of the file that holds the tensor.

        Raises:
            SourceError: there is no such tensor.
        """
        return str(self._place(name)[0])

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Args:
            buffer: writable, contiguous; its length in bytes says how many to read.
            name: a name of the header.
            offset: first byte, counted from the tensor's beginning.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or the file cannot be read, has
                changed since its header was read, or was closed.
        """
        file, begin, nbytes = self._place(name)
        if offset < 0 or offset + buffer.nbytes > nbytes:
            raise SourceError(
                f"{file}: tensor {shown(name)} has {nbytes:,} bytes; bytes {offset:,} to "
                f"{offset + buffer.nbytes:,} were asked for."
            )
        if buffer.nbytes == 0:
            return
        try:
            count = self._files.read_at(file, buffer.cast("B"), begin + offset)
        except OSError as error:
            raise SourceError(f"{file}: tensor {shown(name)} cannot be read: {error.strerror}.") from error
        if count < buffer.nbytes:
            raise SourceError(
                f"{file}: tensor {shown(name)}: the file ended after {count:,} of {buffer.nbytes:,} bytes. "
                f"It was cut short since its header was read; nothing may write to an input during a merge."
            )

    @property
    def identity(self) -> str:
        """Each weight file's real path, size, time of its last change, and its header's digest."""
        return self._identity

    @property
    def location(self) -> str:
        """Its absolute path."""
        return os.path.abspath(self._path)  # noqa: PTH100 - Path.resolve would follow the links

    def check_unchanged(self) -> None:
        """Verify that the files are still what they were when their headers were read.

        Raises:
            SourceError: one is not; names it.
        """
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

    def _place(self, name: str) -> tuple[Path, int, int]:
        try:
            return self._places[name]
        except KeyError:
            raise SourceError(f"{self._reference} has no tensor {shown(name)}.{nearest(name, self._specs)}") from None


def _one_file(path: Path) -> Weights:
    if not path.exists():
        raise SourceError(f"{path} does not exist. Expected a checkpoint folder or a safetensors file.")
    refuse_pickle(path)
    if path.suffix == ".json":
        raise SourceError(f"{path} is not weights but a file about them. Name its folder, {path.parent}.")
    return Weights((path,), None, {})

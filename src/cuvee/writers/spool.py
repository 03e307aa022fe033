"""Where finished tensors wait until it is known what else the output holds, and so where in it they lie.

A file without a name beside the output: it takes disk instead of memory, and is gone when the process is. Content
digests are taken as the bytes come. Knows no format.
"""

import io
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cuvee.digest import Digests
from cuvee.errors import OutputError
from cuvee.spec import TensorSpec

__all__ = ["Spool"]


class Spool:
    """Tensors that wait. Any number of threads may add and write at once.

    Args:
        out: the output; the file lies in its folder, or in the nearest one that exists. None keeps no bytes, only
            their digests.

    Attributes:
        header: what has been added.

    Raises:
        OutputError: the file cannot be made.
    """

    def __init__(self, out: Path | None) -> None:
        self.header: dict[str, TensorSpec] = {}
        self._out = out
        self._digests = Digests(self.header, is_stored=out is not None)
        self._begins: dict[str, int] = {}
        self._nbytes = 0
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._folder = Path()
        if out is not None:
            self._folder = next(parent for parent in out.absolute().parents if parent.is_dir())
            with self._explained():
                self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by `close`

    def add(self, name: str, spec: TensorSpec) -> None:
        """Make room for a tensor."""
        with self._lock:
            self.header[name] = spec
            self._begins[name] = self._nbytes
            self._nbytes += spec.nbytes

    def write_at(self, name: str, offset: int, buffer: memoryview) -> None:
        """Store `buffer` at byte `offset` of a tensor that was added.

        Raises:
            OutputError: it cannot be stored, for example because the disk is full.
        """
        self._digests.add(name, offset, buffer)
        if self._file is None:
            return
        left = buffer
        with self._lock, self._explained():
            self._file.seek(self._begins[name] + offset)
            while left:
                left = left[self._file.write(left) :]

    def read_into(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with what was stored of a tensor, from byte `offset` on.

        Raises:
            OutputError: it cannot be read.
        """
        assert self._file is not None
        done = 0
        with self._lock, self._explained():
            self._file.seek(self._begins[name] + offset)
            while done < len(buffer):
                count = self._file.readinto(buffer[done:])
                assert count, "what was stored is there: nobody else knows the file"
                done += count

    def digests(self) -> Mapping[str, str]:
        """Return the digest of every tensor; all of their bytes have been written."""
        return self._digests.complete(list(self.header), self.read_into)

    def close(self) -> None:
        """Let go of all."""
        if self._file is not None:
            self._file.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say what an error of the operating system means for the output."""
        try:
            yield
        except OSError as error:
            raise OutputError(f"{self._out} cannot be written: {self._folder}: {error.strerror}.") from error

"""A file that several threads write to at once, at positions of their own. Knows nothing of tensors."""

import errno
import io
import os
import threading
from contextlib import suppress
from pathlib import Path

__all__ = ["NewFile", "is_full", "sync_folder"]

# The file system cannot reserve space; the space is then taken as it is written.
CANNOT_RESERVE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def is_full(error: OSError) -> bool:
    """Say whether an error means that there is no space left, on the disk or for this user."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last through a loss of power, where the file system can."""
    # Network file systems may refuse this, and a folder may be closed to reading; the files themselves are safe by
    # then.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class NewFile:
    """A file that did not exist before, of known size.

    Args:
        path: where to make it.
        nbytes: its size, reserved at once where the file system can.

    Raises:
        OSError: it exists already, cannot be made, or the disk is full.
    """

    def __init__(self, path: Path, nbytes: int) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = io.FileIO(path, "xb")
        try:
            _reserve(self._file.fileno(), nbytes)
        except BaseException:
            self._file.close()
            raise

    def write_at(self, view: memoryview | bytes, position: int) -> None:
        """Write all of `view` at byte `position`.

        Raises:
            OSError: it cannot be written.
        """
        view, done = memoryview(view), 0
        while done < len(view):
            done += self._write_once(view[done:], position + done)

    def sync(self) -> None:
        """Make the bytes last through a loss of power."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write_once(self, view: memoryview, position: int) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._file.fileno(), view, position)
        with self._lock:  # the position is the file's, not the thread's
            self._file.seek(position)
            return self._file.write(view)


def _reserve(descriptor: int, nbytes: int) -> None:
    if nbytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, nbytes)
        except OSError as error:
            if error.errno not in CANNOT_RESERVE:
                raise
        else:
            return
    os.truncate(descriptor, nbytes)

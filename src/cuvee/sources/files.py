"""A file that several threads read from at once, at positions of their own.

Knows nothing of tensors.
"""

import io
import os
import threading
from pathlib import Path

__all__ = ["SharedFile"]


class SharedFile:
    """Opened by the first read, shared between threads, closed once.

    Args:
        path: the file.
        file_bytes: its size when it was last looked at.
        modified_ns: the time of its last change then, in nanoseconds.
    """

    def __init__(self, path: Path, file_bytes: int, modified_ns: int) -> None:
        self.path = path
        self._identity = (file_bytes, modified_ns)
        self._lock = threading.Lock()
        self._file: io.FileIO | None = None
        self._closed = False

    def read_at(self, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of the file; return how many bytes there were, less only at the file's end.

        Raises:
            OSError: the file cannot be read, has changed, or was closed.
        """
        file = self._file or self._open()
        done = 0
        while done < len(view):
            count = self._read_once(file, view[done:], position + done)
            if count == 0:
                break
            done += count
        return done

    def close(self) -> None:
        """Close the file. No read may be in progress."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()
                self._file = None

    def __del__(self) -> None:
        self.close()

    def _open(self) -> io.FileIO:
        with self._lock:
            if self._closed:
                raise OSError(0, "it was closed")
            if self._file is None:
                file = io.FileIO(self.path, "rb")
                status = os.fstat(file.fileno())
                if (status.st_size, status.st_mtime_ns) != self._identity:
                    file.close()
                    raise OSError(0, "it has changed since its header was read")
                self._file = file
            return self._file

    def _read_once(self, file: io.FileIO, view: memoryview, position: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(file.fileno(), [view], position)
        with self._lock:  # the position is the file's, not the thread's
            file.seek(position)
            return file.readinto(view) or 0

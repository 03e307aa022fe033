"""Files that several threads read or write at once, each at a position of its own; only a few are open at a time.

A checkpoint may have more files than a process may open. Which are open is nobody's business but this room's: a file
that is needed is opened again. Knows nothing of tensors.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["OpenFiles"]

MOST_OPEN = 32  # per checkpoint; workers rarely need more than one file each


class _Open:
    """A file while it is open."""

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        self.users = 0
        self.turn = threading.Lock()  # where the system reads and writes only at the file's own position


class OpenFiles:
    """The files of one checkpoint.

    Args:
        open_file: opens one, by path; called again when it was closed in between.
        most: how many may stay open when nobody uses them.
    """

    def __init__(self, open_file: Callable[[Path], io.FileIO], most: int = MOST_OPEN) -> None:
        self._open_file = open_file
        self._most = most
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, _Open] = OrderedDict()  # least recently used first
        self._closed = False

    def read_at(self, path: Path, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a file; return how many bytes there were, less only at the file's end.

        Raises:
            OSError: the file cannot be opened or read, or all were closed.
        """
        done = 0
        with self._use(path) as entry:
            while done < len(view):
                count = _read_once(entry, view[done:], position + done)
                if count == 0:
                    break
                done += count
        return done

    def write_at(self, path: Path, view: memoryview, position: int) -> None:
        """Write all of `view` at byte `position` of a file.

        Raises:
            OSError: the file cannot be opened or written, or all were closed.
        """
        done = 0
        with self._use(path) as entry:
            while done < len(view):
                done += _write_once(entry, view[done:], position + done)

    def sync(self, path: Path) -> None:
        """Make a file's bytes last through a loss of power."""
        with self._use(path) as entry:
            os.fsync(entry.file.fileno())

    def close(self) -> None:
        """Close all, at once or, where one is being used, when that is over. Nothing can be opened afterwards."""
        with self._lock:
            self._closed = True
            self._close_idle(0)

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def _use(self, path: Path) -> Iterator[_Open]:
        """Lend out an open file."""
        with self._lock:
            if self._closed:
                raise OSError(0, "it was closed")
            entry = self._open.get(path)
            if entry is None:
                self._close_idle(self._most - 1)
                entry = self._open[path] = _Open(self._open_file(path))
            self._open.move_to_end(path)
            entry.users += 1
        try:
            yield entry
        finally:
            with self._lock:
                entry.users -= 1
                self._close_idle(0 if self._closed else self._most)

    def _close_idle(self, most: int) -> None:
        """Close files that nobody uses until no more than `most` are open, those used longest ago first."""
        for path, entry in list(self._open.items()):
            if len(self._open) <= most:
                return
            if entry.users == 0:
                entry.file.close()
                del self._open[path]


def _read_once(entry: _Open, view: memoryview, position: int) -> int:
    """Read some bytes."""
    if hasattr(os, "preadv"):
        return os.preadv(entry.file.fileno(), [view], position)
    with entry.turn:
        entry.file.seek(position)
        return entry.file.readinto(view) or 0


def _write_once(entry: _Open, view: memoryview, position: int) -> int:
    """Write some bytes."""
    if hasattr(os, "pwrite"):
        return os.pwrite(entry.file.fileno(), view, position)
    with entry.turn:
        entry.file.seek(position)
        return entry.file.write(view)

"""Files that several threads read or write at once, each at a position of its own; only a few are open at a time.

A checkpoint may have more files than a process may open. Which are open is nobody's business but this room's: a file
that is needed is opened again. Knows nothing of tensors.
"""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

__all__ = ["OpenFiles"]

MOST_OPEN = 32  # per checkpoint; workers rarely need more than one file each
SMALL = 32 << 10  # bytes; of reads that are smaller and lie near each other, many are made at once
AHEAD = 256 << 10  # bytes that are read then; what is farther away is not near


class _Open:
    """A file while it is open."""

    def __init__(self, file: io.FileIO) -> None:
        self.file = file
        self.users = 0
        self.turn = threading.Lock()  # where the system reads and writes only at the file's own position


class _Ahead(threading.local):
    """What one thread has read beyond what it was asked for."""

    path: Path | None = None
    begin = 0
    end = 0  # of what is there
    asked = 0  # where the last small read ended
    data = memoryview(b"")


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
        self._ahead = _Ahead()

    def read_at(self, path: Path, view: memoryview, position: int) -> int:
        """Fill `view` from byte `position` of a file; return how many bytes there were, less only at the file's end.

        Raises:
            OSError: the file cannot be opened or read, or all were closed.
        """
        if len(view) > SMALL or self._closed:
            return self._read(path, view, position)
        ahead, end = self._ahead, position + len(view)
        is_near = ahead.path is path and abs(position - ahead.asked) < AHEAD
        ahead.path, ahead.asked = path, end
        if not is_near:
            ahead.end = 0
            return self._read(path, view, position)
        if not ahead.begin <= position <= end <= ahead.end:
            ahead.data, ahead.end = ahead.data or memoryview(bytearray(AHEAD)), 0  # nothing is there if reading fails
            ahead.begin, ahead.end = position, position + self._read(path, ahead.data, position)
        first = position - ahead.begin
        count = min(end, ahead.end) - position
        view[:count] = ahead.data[first : first + count]
        return count

    def _read(self, path: Path, view: memoryview, position: int) -> int:
        """Read as `read_at` says."""
        done = 0
        entry = self._lend(path)
        try:
            while done < len(view):
                count = _read_once(entry, view[done:] if done else view, position + done)
                if count == 0:
                    break
                done += count
        finally:
            self._take_back(entry)
        return done

    def write_at(self, path: Path, view: memoryview, position: int) -> None:
        """Write all of `view` at byte `position` of a file.

        Raises:
            OSError: the file cannot be opened or written, or all were closed.
        """
        done = 0
        entry = self._lend(path)
        try:
            while done < len(view):
                done += _write_once(entry, view[done:], position + done)
        finally:
            self._take_back(entry)

    def sync(self, path: Path) -> None:
        """Make a file's bytes last through a loss of power."""
        entry = self._lend(path)
        try:
            os.fsync(entry.file.fileno())
        finally:
            self._take_back(entry)

    def close(self) -> None:
        """Close all, at once or, where one is being used, when that is over. Nothing can be opened afterwards."""
        with self._lock:
            self._closed = True
            self._close_idle(0)

    def __del__(self) -> None:
        self.close()

    def _lend(self, path: Path) -> _Open:
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
            return entry

    def _take_back(self, entry: _Open) -> None:
        """Take a file back; where too many are open, or all are to be closed, close some that nobody uses."""
        with self._lock:
            entry.users -= 1
            if self._closed or len(self._open) > self._most:
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

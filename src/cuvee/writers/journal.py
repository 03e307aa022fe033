"""What a run has done so far, beside its unfinished output: where the next run goes on.

A text file. Each line is the hash of an entry and the entry, in JSON: the first says which run it is, each other one
tells of something that is done. From the first line on that is not whole, or not as it was written, all is left out: a
process may have been killed, and a disk may forget. Knows nothing of what the entries mean.
"""

import errno
import io
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import xxhash

from cuvee.errors import OutputError
from cuvee.writers.files import is_full

__all__ = ["Entry", "Journal"]

Entry = Mapping[str, Any]

LONGEST_LINE = 256 << 20  # bytes; the sum of a pass, written out, takes a few MB for each model
HASH = 16  # letters of a line's hash


class Journal:
    """An open journal. Any number of threads may add to it.

    Args:
        path: the file.
        run: names the run: everything that its result depends on. What another run has left is thrown away.

    Attributes:
        entries: what earlier attempts at the same run have done.
        is_empty: nothing is done yet.
        is_foreign: what was there is of another run, or cannot be read; it was thrown away.

    Raises:
        OSError: the file cannot be read or written, or is not an ordinary one: a link could lead to any of the user's.
    """

    def __init__(self, path: Path, run: str) -> None:
        self._path = path
        self._run = run
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        self._descriptor = os.open(path, flags, 0o600)
        try:
            self._begin()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _begin(self) -> None:
        """Read what earlier attempts have left, or begin anew."""
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            raise OSError(errno.EINVAL, "not an ordinary file", str(self._path))
        lines, nbytes = _read(self._descriptor, self._run)
        self.entries: Sequence[Entry] = lines[1:]
        self.is_empty = not self.entries
        self.is_foreign = not lines and os.fstat(self._descriptor).st_size > 0
        if lines:
            os.truncate(self._descriptor, nbytes)
        else:
            self.forget()

    def forget(self) -> None:
        """Count nothing as done."""
        self.entries, self.is_empty = (), True
        os.truncate(self._descriptor, 0)
        self._write({"run": self._run})

    def add(self, entry: Entry) -> None:
        """Note that something is done.

        Raises:
            OutputError: it cannot be written.
        """
        self.is_empty = False
        try:
            self._write(entry)
        except OSError as error:
            what = "the disk is full. Free some space" if is_full(error) else error.strerror
            raise OutputError(f"{self._path} cannot be written: {what}.") from error

    def _write(self, entry: Entry) -> None:
        text = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode()
        line = memoryview(_hash(text) + b" " + text + b"\n")
        if os.write(self._descriptor, line) < len(line):  # the disk is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file. It stays."""
        os.close(self._descriptor)


def _hash(text: bytes) -> bytes:
    return str(xxhash.xxh3_64_hexdigest(text)).encode()


def _read(descriptor: int, run: str) -> tuple[list[Entry], int]:
    """Return the lines of a run up to the first that is none of ours, and the bytes they take; none of another run."""
    lines: list[Entry] = []
    nbytes = 0
    with io.BufferedReader(io.FileIO(descriptor, closefd=False)) as file:
        while line := file.readline(LONGEST_LINE):
            entry = _entry(line)
            if entry is None or (not lines and entry != {"run": run}):
                break
            lines.append(entry)
            nbytes += len(line)
    return lines, nbytes


def _entry(line: bytes) -> Entry | None:
    """Return the entry of a line, or None if the line is not as it was written."""
    found, text = line[:HASH], line[HASH + 1 : -1]
    if line != found + b" " + text + b"\n" or found != _hash(text):
        return None
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None

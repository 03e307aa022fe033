"""What a run has done so far, beside its unfinished output: where the next run goes on.

A text file of one JSON value per line. The first says which run it is; each other one tells of something that is done.
The last line of a process that was killed may be cut off; it is left out. Knows nothing of what the entries mean.
"""

import errno
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cuvee.errors import OutputError

__all__ = ["Entry", "Journal"]

Entry = Mapping[str, Any]


class Journal:
    """An open journal. Any number of threads may add to it.

    Args:
        path: the file.
        run: names the run: everything that its result depends on. What another run has left is thrown away.

    Attributes:
        entries: what earlier attempts at the same run have done.
        is_empty: nothing is done yet.

    Raises:
        OSError: the file cannot be read or written.
    """

    def __init__(self, path: Path, run: str) -> None:
        lines, nbytes = _read(path)
        self._path = path
        self._run = run
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.entries: Sequence[Entry] = lines[1:]
        self.is_empty = not self.entries
        if lines and lines[0] == {"run": run}:
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
            raise OutputError(f"{self._path} cannot be written: {error.strerror}.") from error

    def _write(self, entry: Entry) -> None:
        line = memoryview((json.dumps(entry, ensure_ascii=True, separators=(",", ":")) + "\n").encode())
        if os.write(self._descriptor, line) < len(line):  # the disk is full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        """Close the file. It stays."""
        os.close(self._descriptor)


def _read(path: Path) -> tuple[list[Entry], int]:
    """Return the whole lines of a file, up to the first that is none of ours, and the bytes they take."""
    lines: list[Entry] = []
    nbytes = 0
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    for line in data.splitlines(keepends=True):
        try:
            entry = json.loads(line)
        except ValueError:
            break
        if not line.endswith(b"\n") or not isinstance(entry, dict):
            break
        lines.append(entry)
        nbytes += len(line)
    return lines, nbytes

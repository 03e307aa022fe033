"""Which bytes of which tensor have been written: what makes a missing block an error instead of zeros in a model."""

import threading
from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from cuvee.errors import some
from cuvee.writers.shards import Entries

__all__ = ["Account"]

# Names listed in a message before it says how many more there are.
LISTED = 3

Run = tuple[int, int]


class Account:
    """Keeps, for each tensor, the runs of bytes written. Several threads may enter into it.

    Args:
        entries: every tensor that has to be written.
    """

    def __init__(self, entries: Entries) -> None:
        self._sizes = {name: spec.nbytes for name, spec in entries}
        self._runs: dict[str, Sequence[Run]] = {}
        self._lock = threading.Lock()

    def check(self, name: str, offset: int, nbytes: int) -> None:
        """Verify that bytes lie within a tensor of the output.

        Raises:
            AssertionError: they do not, or there is no such tensor; a mistake of the caller's.
        """
        if name not in self._sizes:
            raise AssertionError(f"the output has no tensor '{name}'")
        if offset < 0 or offset + nbytes > self._sizes[name]:
            raise AssertionError(
                f"tensor '{name}' has {self._sizes[name]:,} bytes; bytes {offset:,} to {offset + nbytes:,} lie outside"
            )

    def enter(self, name: str, offset: int, nbytes: int) -> None:
        """Note that `nbytes` bytes of the tensor from `offset` on have been written."""
        if nbytes:
            with self._lock:
                self._runs[name] = _joined(self._runs.get(name, ()), offset, offset + nbytes)

    def close(self, where: str) -> None:
        """Verify that every byte of every tensor has been written.

        Args:
            where: the output, to begin a message with.

        Raises:
            AssertionError: some have not; names the tensors. A mistake of the caller's.
        """
        missing = [
            f"'{name}' ({size - sum(end - begin for begin, end in self._runs.get(name, ())):,} of {size:,} bytes)"
            for name, size in self._sizes.items()
            if size and self._runs.get(name, ()) != [(0, size)]
        ]
        if missing:
            raise AssertionError(f"{where} is incomplete: missing from {some(missing, LISTED)}")


def _joined(runs: Sequence[Run], begin: int, end: int) -> list[Run]:
    """Return disjoint, sorted runs with one more; runs that touch become one."""
    first = bisect_left(runs, begin, key=lambda run: run[1])
    last = bisect_right(runs, end, key=lambda run: run[0])
    if first < last:
        begin, end = min(begin, runs[first][0]), max(end, runs[last - 1][1])
    return [*runs[:first], (begin, end), *runs[last:]]

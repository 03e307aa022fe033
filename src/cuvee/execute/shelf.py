"""Memory in which raw elements stay between the passes of a method, so that they are read once."""

import threading
from bisect import insort

import numpy as np
from numpy.typing import NDArray

from cuvee.plan.limits import PLACE

__all__ = ["Shelf"]

Bytes = NDArray[np.uint8]


class Shelf:
    """One piece of memory, lent out in regions. Safe to use from several threads.

    Args:
        capacity: bytes of it. Pages that are never lent take no memory.
    """

    def __init__(self, capacity: int) -> None:
        self._memory = np.empty(capacity, np.uint8)
        self._lent: list[tuple[int, int]] = []  # begin and end, in order
        self._lock = threading.Lock()

    def close(self) -> None:
        """Let the memory go, at once: what refers to the shelf may live on for a while."""
        self._memory = np.empty(0, np.uint8)

    def take(self, nbytes: int) -> Bytes | None:
        """Lend a region, or None where no gap is large enough. What it held before is lost."""
        size = -(-nbytes // PLACE) * PLACE
        with self._lock:
            begin = 0
            for lent_begin, lent_end in self._lent:
                if lent_begin - begin >= size:
                    break
                begin = lent_end
            if begin + size > self._memory.nbytes:
                return None
            insort(self._lent, (begin, begin + size))
        return self._memory[begin : begin + nbytes]

    def give_back(self, region: Bytes) -> None:
        """Take a region back."""
        begin = region.__array_interface__["data"][0] - self._memory.__array_interface__["data"][0]
        # Told by its end, too: an empty region may begin where another does.
        lent = begin, begin - (-region.nbytes // PLACE) * PLACE
        with self._lock:
            self._lent = [other for other in self._lent if other != lent]

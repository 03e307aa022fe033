"""Adds up what the cells of a domain say, and hands the sums back as answers.

Sums of floats are taken in one order (tensors by name, then cells), whatever order the cells arrive in, so that the
answer has the same bits for any number of workers. Sums of integers are exact in any order and added at once.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from cuvee.errors import MergeError
from cuvee.plan.rows import Row
from cuvee.tensors.passes import Array, Pass

__all__ = ["Answers", "Summed"]

LARGEST_32 = 2**31 - 1
STRIDE = 64  # cells; sums over the cells before are kept for every so manieth
Place = tuple[str, int]  # a row's order in its domain: tensor name, first element
Summed = Array | Mapping[Place, Array]
"""What the cells of a domain came to: the sum; or, for a running pass, what each cell said, by row."""


class _Running:
    """The answer to a running pass: for every cell the sum over the cells before it, its own, and what all give."""

    def __init__(self, rows: Mapping[Place, Array], asked: Pass) -> None:
        self._cells = rows
        self._before: dict[Place, Array] = {}  # over earlier rows, and over the cells of this one, in strides
        first = next(iter(rows.values()))
        self._total: Array = np.zeros(first.shape[1:], _wide(first))
        for place in sorted(rows):
            cells = rows[place]
            strides = [cells[k : k + STRIDE].sum(0, dtype=self._total.dtype) for k in range(0, len(cells), STRIDE)]
            sums = np.cumsum([self._total, *strides], axis=0)
            self._before[place], self._total = sums[:-1], sums[-1]
        self._answer = asked.answer(self._total)

    def at(self, place: Place, cell: int) -> tuple[Array, Array, object]:
        """Return the sum over the cells before this one, its own part, and the answer."""
        cells, stride = self._cells[place], cell // STRIDE
        earlier = cells[stride * STRIDE : cell].sum(0, dtype=self._total.dtype)
        return self._before[place][stride] + earlier, cells[cell].astype(self._total.dtype), self._answer


def _wide(cells: Array) -> type:
    """Return the type that sums of cells are taken in."""
    return np.int64 if cells.dtype.kind in "iu" else np.float64


class _InOrder:
    """Adds up the cells of a row in the order of the grid, and keeps only those that come before their turn.

    Attributes:
        sum: what the cells so far come to.
    """

    def __init__(self) -> None:
        self.sum: Array | None = None
        self._next = 0
        self._early: dict[int, Array] = {}

    def add(self, cell: int, part: Array) -> None:
        """Add a cell's part, at its turn."""
        self._early[cell] = part
        while (part_of_next := self._early.pop(self._next, None)) is not None:
            self.sum = part_of_next.copy() if self.sum is None else np.add(self.sum, part_of_next, out=self.sum)
            self._next += 1


class Answers:
    """What is known, and what is being asked, about one domain. Safe to use from several threads.

    Between `close` calls every cell of the domain either adds its part of one and the same pass, or merges.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sampling = threading.Lock()
        self._known: list[Any] = []
        self.passes = 0  # answers that took a reading of the whole domain
        self._asked: Pass | None = None
        self._total: Array | None = None
        self._sums: dict[Place, _InOrder] = {}  # of floats, one per row
        # Of a running pass. One array per row, filled cell by cell: a small array kept from every cell would lie
        # between the large ones that come and go, and the memory around it could not be used again.
        self._parts: dict[Place, Array] = {}

    def at(self, row: Row, cell: int) -> list[object]:
        """Return the answers known so far, as they are for one cell."""
        place = (row.name, row.start)
        return [answer.at(place, cell) if isinstance(answer, _Running) else answer for answer in self._known]

    def sample(self, asked_at: int, asked: Pass, pieces: Callable[[], Array]) -> None:
        """Answer a sample, unless another worker has done so.

        Args:
            asked_at: how many answers were known to the cell that asks.
            asked: the pass.
            pieces: makes what the pieces of the domain say, put together.
        """
        with self._sampling:
            if len(self._known) == asked_at:
                self._known.append(asked.answer(pieces()))

    def recall(self, asked_at: int, asked: Pass, summed: Summed) -> None:
        """Answer a pass by what an earlier attempt came to, unless another worker has done so.

        Args:
            asked_at: how many answers were known to the cell that asks.
            asked: the pass.
            summed: what `close` returned then.
        """
        with self._sampling:
            if len(self._known) == asked_at:
                self._known.append(_answer(asked, summed))
                self.passes += 1

    def add(self, row: Row, cell: int, asked: Pass) -> None:
        """Add a cell's part of the pass that is being asked."""
        part = asked.measure()
        place = (row.name, row.start)
        with self._lock:
            self._asked = Pass(_forgotten, asked.finish, asked.kind)
            if asked.kind == "total" and part.dtype.kind in "iu":
                if self._total is None:
                    self._total = np.zeros_like(part)
                self._total += part
            elif asked.kind == "total":
                self._sums.setdefault(place, _InOrder()).add(cell, part)
            else:
                if place not in self._parts:
                    # What is counted in a cell fits into 32 bits, as a rule; sums over cells are taken in 64.
                    counts = part.dtype.kind in "iu" and row.cell < 1 << 31
                    self._parts[place] = np.zeros((row.cells, *part.shape), np.int32 if counts else part.dtype)
                if part.dtype.kind in "iu" and np.abs(part).max(initial=0) > LARGEST_32:
                    self._parts[place] = self._parts[place].astype(np.int64)
                self._parts[place][cell] = part

    def close(self) -> tuple[int, Summed] | None:
        """Turn the parts into an answer, if a pass was asked; all cells have been seen.

        Returns:
            How many answers were known before, and what the cells came to; None if no pass was asked.
        """
        if self._asked is None:
            return None
        summed: Summed = self._parts
        if self._asked.kind != "running":
            rows = [self._sums[place].sum for place in sorted(self._sums)]
            if (self._total is None) == (not rows):
                raise MergeError(
                    "a method asked its cells different questions; passes may not depend on the elements of a cell."
                )
            summed = self._total if self._total is not None else _sum([each for each in rows if each is not None])
        known = len(self._known)
        self._known.append(_answer(self._asked, summed))
        self.passes += 1
        self._asked, self._total, self._sums, self._parts = None, None, {}, {}
        return known, summed


def _answer(asked: Pass, summed: Summed) -> object:
    """Turn what the cells of a domain came to into an answer."""
    return asked.answer(summed) if isinstance(summed, np.ndarray) else _Running(summed, asked)


def _sum(parts: Sequence[Array]) -> Array:
    """Add up in the given order."""
    total: Array = parts[0].copy()
    for part in parts[1:]:
        total += part
    return total


def _forgotten() -> Array:
    """Stand for the measure of a pass that has been asked: the pass is kept, the cell that the measure holds is not."""
    raise AssertionError("a pass is measured once")

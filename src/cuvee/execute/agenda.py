"""Which block is worked on next.

Rows whose jobs share domains form a group and go through their passes in step: a *sweep* reads all of the group's
unfinished rows once. Groups are independent. Blocks are handed out in stored order; a worker that finds nothing in the
groups under way begins the next group, and waits only when there is none.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cuvee.plan.rows import Row

__all__ = ["Agenda", "Block"]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole cells of a row.

    Attributes:
        group: the group the row belongs to.
        row: the row.
        first: its first cell.
        last: the cell after its last.
    """

    group: "Group"
    row: Row
    first: int
    last: int


class Group:
    """Rows that go through their passes in step.

    Args:
        rows: the rows, in stored order.
        cells_per_block: for a row, how many cells are read at a time.
        unfinished: says whether a row has jobs that have not merged yet.
    """

    def __init__(
        self, rows: Sequence[Row], cells_per_block: Callable[[Row], int], unfinished: Callable[[Row], bool]
    ) -> None:
        self.rows = rows
        self._cells_per_block = cells_per_block
        self._unfinished = unfinished
        self.begin()

    def begin(self) -> None:
        """Begin a sweep."""
        self._blocks: Iterator[Block] = self._sweep([row for row in self.rows if row.cells and self._unfinished(row)])
        self._next = next(self._blocks, None)
        self._under_way = 0
        self._left: dict[int, int] = {}

    def _sweep(self, rows: Sequence[Row]) -> Iterator[Block]:
        """Cut rows into blocks."""
        for row in rows:
            step = self._cells_per_block(row)
            for first in range(0, row.cells, step):
                yield Block(self, row, first, min(first + step, row.cells))

    def take(self) -> Block | None:
        """Hand out the next block of the sweep, or None when all are handed out."""
        block = self._next
        if block is not None:
            self._next = next(self._blocks, None)
            self._under_way += 1
        return block

    def put_back(self, block: Block) -> tuple[bool, bool]:
        """Take a finished block back; say whether its row, and whether the sweep, is now through."""
        self._under_way -= 1
        left = self._left.setdefault(id(block.row), block.row.cells) - (block.last - block.first)
        self._left[id(block.row)] = left
        return left == 0, self._next is None and self._under_way == 0

    @property
    def empty(self) -> bool:
        """Whether the sweep has nothing to hand out from its start: the group is finished."""
        return self._next is None and self._under_way == 0


class Agenda:
    """Hands out blocks to several workers.

    Args:
        groups: in stored order.
        end_row: called when all cells of a row have been worked on in a sweep.
        end_sweep: called when all rows of a group have been; what it decides holds for the next sweep.
    """

    def __init__(
        self, groups: Sequence[Group], end_row: Callable[[Group, Row], None], end_sweep: Callable[[Group], None]
    ) -> None:
        self._waiting = iter(groups)
        self._begun: list[Group] = []
        self._end_row = end_row
        self._end_sweep = end_sweep
        self._changed = threading.Condition()
        self._stopped = False

    def take(self) -> Block | None:
        """Return the next block to work on; wait for one if need be; None when all is done or stopped."""
        with self._changed:
            while not self._stopped:
                for group in self._begun:
                    if (block := group.take()) is not None:
                        return block
                if (fresh := next((g for g in self._waiting if not g.empty), None)) is not None:
                    self._begun.append(fresh)
                elif self._begun:
                    self._changed.wait()
                else:
                    return None
            return None

    def done(self, block: Block) -> None:
        """Take a finished block back."""
        group = block.group
        with self._changed:
            row_through, sweep_through = group.put_back(block)
            if row_through:
                self._end_row(group, block.row)
            if sweep_through:
                self._end_sweep(group)
                group.begin()
                if group.empty:
                    self._begun.remove(group)
                self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

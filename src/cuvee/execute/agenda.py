"""Which blocks are worked on next.

Strips whose jobs share domains form a group and go through their passes in step: a *sweep* reads all of the group's
unfinished strips once. Groups are independent. Blocks are handed out in stored order, small ones several at a time; a
worker that finds nothing in the groups under way begins the next group, and waits only when there is none.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from cuvee.plan.strips import Strip

__all__ = ["Agenda", "Block", "Group"]


@dataclass(frozen=True, slots=True)
class Block:
    """A run of whole cells of a strip.

    Attributes:
        group: the group the strip belongs to.
        strip: the strip.
        first: its first cell.
        last: the cell after its last.
    """

    group: "Group"
    strip: Strip
    first: int
    last: int


class Group:
    """Strips that go through their passes in step.

    Args:
        strips: the strips, in stored order.
        cells_per_block: for a strip, how many cells are read at a time.
        unfinished: says whether a strip has jobs that have not merged yet.

    Attributes:
        strips: the strips.
    """

    def __init__(
        self, strips: Sequence[Strip], cells_per_block: Callable[[Strip], int], unfinished: Callable[[Strip], bool]
    ) -> None:
        self.strips = strips
        self._cells_per_block = cells_per_block
        self._unfinished = unfinished
        self._next: Block | None = None
        self._under_way = 0

    def begin(self) -> bool:
        """Begin a sweep; say whether it has anything to do."""
        left = [strip for strip in self.strips if strip.joined.cells and self._unfinished(strip)]
        self._blocks: Iterator[Block] = self._sweep(left)
        self._next = next(self._blocks, None)
        self._left: dict[int, int] = {}
        return self._next is not None

    def _sweep(self, strips: Sequence[Strip]) -> Iterator[Block]:
        """Cut strips into blocks."""
        for strip in strips:
            step, cells = self._cells_per_block(strip), strip.joined.cells
            for first in range(0, cells, step):
                yield Block(self, strip, first, min(first + step, cells))

    def take(self) -> Block | None:
        """Hand out the next block of the sweep, or None when all are handed out."""
        block = self._next
        if block is not None:
            self._next = next(self._blocks, None)
            self._under_way += 1
        return block

    def put_back(self, block: Block) -> tuple[bool, bool]:
        """Take a finished block back; say whether its strip, and whether the sweep, is now through."""
        self._under_way -= 1
        left = self._left.setdefault(id(block.strip), block.strip.joined.cells) - (block.last - block.first)
        self._left[id(block.strip)] = left
        return left == 0, self._next is None and self._under_way == 0


class Agenda:
    """Hands out blocks to several workers.

    Args:
        groups: in stored order.
        batch: elements that a worker gets at a time, if there are so many; one block at least.
        end_strip: called when all cells of a strip have been worked on in a sweep.
        end_sweep: called when all strips of a group have been; what it decides holds for the next sweep.
        end_group: called when all strips of a group are finished.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        batch: int,
        end_strip: Callable[[Group, Strip], None],
        end_sweep: Callable[[Group], None],
        end_group: Callable[[Group], None],
    ) -> None:
        self._waiting = iter(groups)
        self._open: deque[Group] = deque()  # with blocks to hand out
        self._begun = 0  # groups that are not finished
        self._batch = batch
        self._end_strip = end_strip
        self._end_sweep = end_sweep
        self._end_group = end_group
        self._changed = threading.Condition()
        self._stopped = False

    def take(self) -> Sequence[Block]:
        """Return the next blocks to work on; wait for some if need be; none when all is done or stopped."""
        with self._changed:
            while not self._stopped:
                batch: list[Block] = []
                size = 0
                while size < self._batch and (block := self._next()) is not None:
                    batch.append(block)
                    row = block.strip.joined
                    size += (block.last - block.first) * min(row.cell, row.size)
                if batch or not self._begun:
                    return batch
                self._changed.wait()
            return ()

    def _next(self) -> Block | None:
        """Take a block from the groups under way, or begin another group."""
        while True:
            while self._open:
                if (block := self._open[0].take()) is not None:
                    return block
                self._open.popleft()
            fresh = next(self._waiting, None)
            if fresh is None:
                return None
            if fresh.begin():
                self._open.append(fresh)
                self._begun += 1

    def done(self, batch: Sequence[Block]) -> None:
        """Take finished blocks back."""
        with self._changed:
            for block in batch:
                group = block.group
                strip_through, sweep_through = group.put_back(block)
                if strip_through:
                    self._end_strip(group, block.strip)
                if sweep_through:
                    self._end(group)

    def _end(self, group: Group) -> None:
        """End a group's sweep, and begin its next one, before other groups go on: what it keeps is freed the sooner."""
        self._end_sweep(group)
        if group.begin():
            self._open.appendleft(group)
        else:
            self._begun -= 1
            self._end_group(group)
        self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

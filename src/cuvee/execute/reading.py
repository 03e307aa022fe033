"""One worker's way to raw elements: read from the sources, or kept since an earlier pass."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cuvee.execute.hashes import Hashes
from cuvee.execute.shelf import Shelf
from cuvee.plan.limits import PLACE
from cuvee.plan.plan import Plan
from cuvee.plan.rows import used
from cuvee.plan.strips import Strip

__all__ = ["Buffers", "Bytes", "Kept", "read", "read_pieces"]

Bytes = NDArray[np.uint8]


class Buffers:
    """One worker's memory, used again for every block."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, int], Bytes] = {}

    def get(self, use: str, index: int, nbytes: int) -> Bytes:
        """Return `nbytes` of memory; what it held before is lost."""
        held = self._memory.get((use, index))
        if held is None or held.nbytes < nbytes:
            held = self._memory[use, index] = np.empty(nbytes, np.uint8)
        return held[:nbytes]


class Kept:
    """Inputs of a group of strips that stay in memory from the first sweep to the last.

    Args:
        shelf: where.
        memory: room for all of them.
        places: where each begins in it, by strip and input.

    Attributes:
        full: the first sweep is over: everything is there.
    """

    def __init__(self, shelf: Shelf, memory: Bytes, places: Mapping[tuple[int, int], int]) -> None:
        self._shelf = shelf
        self._memory = memory
        self._places = places
        self.full = False

    @classmethod
    def of(cls, plan: Plan, strips: Sequence[Strip], shelf: Shelf) -> "Kept | None":
        """Find room for all that the strips read more than once; None if there is none, or nothing to keep."""
        places: dict[tuple[int, int], int] = {}
        size = 0
        for strip in strips:
            for i in dict.fromkeys(i for job in strip.joined.jobs if plan.readings(job) > 1 for i in used(job)):
                places[id(strip), i] = size
                size += -(-strip.nbytes(i) // PLACE) * PLACE
        memory = shelf.take(size) if size else None
        return None if memory is None else cls(shelf, memory, places)

    def part(self, strip: Strip, i: int, first: int, nbytes: int) -> Bytes | None:
        """Return memory of a part of an input, or None if that is not kept."""
        begin = self._places.get((id(strip), i))
        return None if begin is None else self._memory[begin + first : begin + first + nbytes]

    def release(self) -> None:
        """Give the memory back."""
        self._shelf.give_back(self._memory)


def read(
    strip: Strip,
    needed: Iterable[int],
    first: int,
    size: int,
    buffers: Buffers,
    kept: Kept | None,
    hashes: Hashes | None = None,
) -> tuple[list[Bytes | None], int]:
    """Make a run of elements of some inputs of a strip available.

    Args:
        strip: the strip.
        needed: indices of its inputs.
        first: first element within the strip.
        size: elements.
        buffers: the worker's.
        kept: what the strip's group keeps, if anything.
        hashes: takes into account what is read.

    Returns:
        Bytes of each input of the strip, None where it is not needed; and the bytes that were read.
    """
    raw: list[Bytes | None] = [None] * len(strip.joined.inputs)
    moved = 0
    for i in needed:
        width = strip.joined.inputs[i].spec.dtype.bits // 8
        data = kept.part(strip, i, first * width, size * width) if kept is not None else None
        if data is None or (kept is not None and not kept.full):
            data = buffers.get("in", i, size * width) if data is None else data
            moved += read_pieces(strip, i, first, size, data, hashes)
        raw[i] = data
    return raw, moved


def read_pieces(strip: Strip, i: int, first: int, size: int, data: Bytes, hashes: Hashes | None = None) -> int:
    """Fill memory with a run of elements of an input, row by row; return the bytes that this took to read."""
    place, width, moved = 0, strip.joined.inputs[i].spec.dtype.bits // 8, 0
    for row, begin, count in strip.pieces(first, size):
        view, end = row.inputs[i].view, place + count * width
        source, offset, part = row.inputs[i].source, (view.start + begin) * width, data[place:end].data
        source.read_into(part, view.name, offset)
        if hashes:
            hashes.read(source, view.name, offset, part)
        moved += len(part) * source.cost(view.name) // max(row.inputs[i].spec.nbytes, 1)
        place = end
    return moved

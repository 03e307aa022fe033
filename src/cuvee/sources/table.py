"""Tables whose rows come from several tables: where each comes from, and how a run of them is put together.

A row is one of a giver, zeros, or a mean. What lies close together is read in one go; memory is bounded by a block.
Knows arrays of row numbers; nothing of tokenizers or of what a row means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuvee.spec import DType, Source, TensorSpec
from cuvee.tensors.framework import np
from cuvee.tensors.widen import narrowed, widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]
    Places = NDArray[np.int32]

__all__ = [
    "BLOCK",
    "MEAN",
    "MEAN_OF_ALL",
    "ZERO",
    "Held",
    "Rows",
    "Table",
    "mean_of_all",
    "pieces",
    "put_together",
]

ZERO, MEAN, MEAN_OF_ALL = -1, -2, -3
"""Instead of a giver: a row of zeros; the mean of the rows that givers have; the mean of all rows but those."""

BLOCK = 1 << 20
"""Bytes of rows that are put together in one go."""
GAP = 1 << 16
"""Bytes between two rows that are rather read than left out: another call would take longer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Where each row of a table comes from.

    Attributes:
        giver: (rows,) int16, index of the giver; or ZERO, MEAN, MEAN_OF_ALL.
        row: (rows,) int32, the row of the giver's table; of no meaning where there is no giver.
        places: (givers, rows) int32, for means: the row that each giver has, -1 where it has none.
    """

    giver: NDArray[np.int16]
    row: Places
    places: Places

    @property
    def sizes(self) -> Mapping[int, int]:
        """Bytes of the arrays, by the id of each: rows of several tables may share some."""
        return {id(array): array.nbytes for array in (self.giver, self.row, self.places)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A table of a source, whose rows can be given.

    Attributes:
        source: the source.
        name: the tensor.
    """

    source: Source
    name: str

    @property
    def spec(self) -> TensorSpec:
        """Its specification."""
        return self.source.header[self.name]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A table to be put together.

    Attributes:
        spec: of the table that is made.
        givers: the tables that rows are taken from, of rows as wide; None for a source without one. Those of an
            element type other than `spec`'s are widened, or rounded.
        rows: where each row comes from.
    """

    spec: TensorSpec
    givers: Sequence[Held | None]
    rows: Rows

    def held(self) -> Iterator[tuple[int, Held, int]]:
        """Yield the givers that there are: number, table, and bytes of a row of it."""
        elements = self.spec.size // max(len(self.rows.giver), 1)
        for g, held in enumerate(self.givers):
            if held is not None:
                yield g, held, elements * held.spec.dtype.bits // 8

    def taken(self) -> Iterator[tuple[Held, int, int]]:
        """Yield the givers that rows are taken from: table, bytes of a row, how many are read to make each row once."""
        means = self.rows.places[:, self.rows.giver == MEAN] >= 0
        for g, held, width in self.held():
            if count := int((self.rows.giver == g).sum() + means[g].sum()):
                yield held, width, count

    @property
    def cost(self) -> int:
        """Bytes that are read when all of it is read once, and before that, if there is one, for the mean of all."""
        total = 0
        for held, width, count in self.taken():
            total += held.source.cost(held.name) * count * width // max(held.spec.nbytes, 1)
        return total

    @property
    def needs_mean(self) -> bool:
        """Whether rows are the mean of all others, so that all is read beforehand."""
        return bool((self.rows.giver == MEAN_OF_ALL).any())


def _blocks(start: int, stop: int, width: int) -> Iterator[tuple[int, int]]:
    """Cut a run of rows at multiples of a block, wherever it begins."""
    step = max(BLOCK // width, 1)
    while start < stop:
        end = min((start // step + 1) * step, stop)
        yield start, end
        start = end


def pieces(table: Table, start: int, stop: int, width: int) -> Iterator[tuple[int, int, int | None]]:
    """Cut a run of rows into long runs of one giver's consecutive rows, which need not be put together, and blocks.

    Yields:
        First row, the one after the last, and the giver of such a run, or None.
    """
    giver, row = table.rows.giver[start:stop], table.rows.row[start:stop]
    breaks = np.flatnonzero((np.diff(giver) != 0) | (np.diff(row) != 1)) + 1
    begins = np.concatenate([[0], breaks])
    ends = np.concatenate([breaks, [stop - start]])
    is_long = ((ends - begins) * width >= min(GAP, (stop - start) * width)) & (giver[begins] >= 0)
    done = start
    for begin, end in zip(begins[is_long].tolist(), ends[is_long].tolist(), strict=True):
        held = table.givers[int(giver[begin])]
        if held is None or held.spec.dtype != table.spec.dtype:
            continue
        for block in _blocks(done, start + begin, width):
            yield *block, None
        yield start + begin, start + end, int(giver[begin])
        done = start + end
    for block in _blocks(done, stop, width):
        yield *block, None


def put_together(table: Table, start: int, stop: int, width: int, mean: Bytes | None) -> Bytes:
    """Put rows together, (rows, bytes of a row)."""
    rows = np.zeros((stop - start, width), np.uint8)
    giver, row = table.rows.giver[start:stop], table.rows.row[start:stop]
    for g, held, own in table.held():
        wanted = np.flatnonzero(giver == g)
        if wanted.size:
            data = _gathered(held, row[wanted], own)
            if held.spec.dtype != table.spec.dtype:
                values = widened(data.reshape(-1), held.spec.dtype)
                data = narrowed(values, table.spec.dtype).reshape(len(wanted), width)
            rows[wanted] = data
    means = np.flatnonzero(giver == MEAN)
    if means.size:
        rows[means] = _means(table, start + means, width)
    if mean is not None:
        rows[giver == MEAN_OF_ALL] = mean
    return rows


def mean_of_all(table: Table) -> Bytes:
    """Return the mean of all rows but those that are it, (bytes of a row,). Reads each giver from its beginning on."""
    width = table.spec.nbytes // len(table.rows.giver)
    sums = np.zeros(width * 8 // table.spec.dtype.bits)
    for g, held, own in table.held():
        rows = np.sort(table.rows.row[table.rows.giver == g])
        for start, stop in _blocks(0, len(rows), own):
            sums += _sum(_gathered(held, rows[start:stop], own), held.spec.dtype)
    means = np.flatnonzero(table.rows.giver == MEAN)
    for start, stop in _blocks(0, len(means), width):
        sums += _sum(_means(table, means[start:stop], width), table.spec.dtype)
    return _rounded(sums / max(int((table.rows.giver != MEAN_OF_ALL).sum()), 1), table.spec)


def _sum(data: Bytes, dtype: DType) -> NDArray[np.float64]:
    """Add rows up."""
    values = widened(data.reshape(-1), dtype).reshape(len(data), -1)
    total: NDArray[np.float64] = values.sum(axis=0, dtype=np.float64)
    return total


def _means(table: Table, rows: NDArray[np.intp], width: int) -> Bytes:
    """Return the means of what the givers have, (rows, bytes of a row)."""
    elements = width * 8 // table.spec.dtype.bits
    sums, counts = np.zeros((len(rows), elements)), np.zeros((len(rows), 1))
    for g, held, own in table.held():
        places = table.rows.places[g, rows]
        having = np.flatnonzero(places >= 0)
        if having.size:
            data = _gathered(held, places[having], own)
            sums[having] += widened(data.reshape(-1), held.spec.dtype).reshape(len(having), elements)
            counts[having] += 1
    return _rounded(sums / np.maximum(counts, 1), table.spec).reshape(len(rows), width)


def _rounded(values: NDArray[np.float64], spec: TensorSpec) -> Bytes:
    """Round to the type of a table."""
    return narrowed(np.ascontiguousarray(values, np.float32).reshape(-1), spec.dtype)


def _gathered(held: Held, rows: Places, width: int) -> Bytes:
    """Read some rows of a table, (rows, bytes of a row). What lies close together is read in one go."""
    wanted, inverse = np.unique(rows, return_inverse=True)
    gathered = np.empty((len(wanted), width), np.uint8)
    breaks = np.flatnonzero((np.diff(wanted) - 1) * width > GAP) + 1
    for first, last in zip([0, *breaks.tolist()], [*breaks.tolist(), len(wanted)], strict=True):
        while first < last:
            lowest = int(wanted[first])
            fitting = int(np.searchsorted(wanted[first:last], lowest + max(BLOCK // width, 1)))
            span = np.empty((int(wanted[first + fitting - 1]) - lowest + 1, width), np.uint8)
            held.source.read_into(span.reshape(-1).data, held.name, lowest * width)
            gathered[first : first + fitting] = span[wanted[first : first + fitting] - lowest]
            first += fitting
    return gathered[inverse]

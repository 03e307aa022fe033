"""Finding the entry of given rank by magnitude, exactly and without sorting a domain.

The bits of |x| as float32, read as an integer, have the order of |x|. Differences of bfloat16 weights take few values,
so a sample of the domain names the ones that the entry can have; one reading, which *tallies* how many entries lie on
each of these candidates and how many between them, finds the entry and proves it, or leaves an interval between two
candidates. In that, histograms of ever finer bins find the entry in one to three more readings. However good the
sample, the entry found is the same.

Ranks count from the largest, 1 first; 0 or less finds nothing, one as large as the domain everything.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from cuvee.errors import MergeError
from cuvee.tensors.framework import torch
from cuvee.tensors.kernels.frame import BINS
from cuvee.tensors.kernels.program import program_of
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import PIECE, Array, Pass, finished, prefix, sampled

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "ALL",
    "FEW",
    "NONE",
    "Found",
    "count_on",
    "find_in_cell",
    "find_in_domain",
    "magnitude_bits",
    "most_candidates",
]

NONE = (1 << 31) - 1  # above every magnitude: nothing is larger
ALL = -1  # below every magnitude
SLACK = 4  # standard errors of a sample's rank that candidates reach to
MOST_CANDIDATES = 64  # for one operand, all ranks together; their counts are kept for every cell
MOST_COUNTS = 8 << 20  # that are kept for all cells together, from where on there are fewer candidates
PER_COUNT = 1 << 18  # entries of a domain that there are about so many counts for
Places = tuple[Sequence[int], Sequence[int]]
"""For each rank, which operand it is for, and which of that operand's lists of candidates."""

FEW = 64  # a row of so few entries is sorted


@dataclass(frozen=True, slots=True)
class Found:
    """Where entries of given rank lie: in a domain, (n,) int64 each, or in rows of a cell, (n, rows).

    Attributes:
        bits: their magnitude as the bit pattern of |x| in float32; NONE or ALL at the ends.
        spare: how many entries of that magnitude are among the largest.
        on_cut: how many there are in the domain.
        before: how many there are in earlier cells; -1 where that was not counted.
        own: how many there are in this cell, where `before` was counted.
    """

    bits: Array
    spare: Array
    on_cut: Array
    before: Array
    own: Array


def magnitude_bits(values: "Tensor") -> "Tensor":
    """Return the bit pattern of |values|, int32, same shape; it orders as |values| does."""
    return values.contiguous().view(torch.int32) & 0x7FFFFFFF


def find_in_domain(operands: Sequence[Operand], ranks: Array, size: int) -> Generator[Pass, Any, Found]:
    """Find, for every operand, the entry of its rank in a domain of several cells.

    Takes one pass where a candidate is the entry, else two to four. An operand may be named several times.

    Args:
        operands: n operands.
        ranks: (n,) int64.
        size: entries in the domain.
    """
    distinct = list({id(operand): operand for operand in operands}.values())
    places = _places(operands, distinct)
    choose = partial(_choose, places=places, ranks=ranks, size=size)
    candidates = yield from sampled(choose, _magnitudes, distinct)
    begin = partial(_Search.begin, places=places, ranks=ranks, size=size, candidates=candidates)
    before, own, search = yield from prefix(begin, _tally, distinct, candidates)
    while search.is_open:
        search = yield from finished(search.narrowed, _histogram, operands, search.low, search.high, search.shift)
    return search.found(before[places], own[places])


def _places(operands: Sequence[Operand], distinct: Sequence[Operand]) -> tuple[list[int], list[int]]:
    """Return, for each operand, which of the distinct ones it is, and the how-manieth time it is named."""
    index = [next(i for i, other in enumerate(distinct) if other is operand) for operand in operands]
    return index, [index[:k].count(i) for k, i in enumerate(index)]


@dataclass(frozen=True, slots=True)
class _Search:
    """Intervals of magnitudes that the entries lie in: low <= bits < high; fields are (n,) int64.

    Attributes:
        low: smallest magnitude of the interval.
        high: one above its largest.
        rank: rank of the entry inside the interval.
        inside: entries in the interval.
        column: place in the tally that counts them cell by cell; -1 if none does.
    """

    low: Array
    high: Array
    rank: Array
    inside: Array
    column: Array

    @classmethod
    def begin(cls, tallied: Array, *, places: Places, ranks: Array, size: int, candidates: Array) -> "_Search":
        """Find each entry's place in its list's tally.

        Args:
            tallied: (operands, lists, 2m + 1): see `_tally`.
            places: which operand and which of its lists each rank is for.
            ranks: (n,).
            size: entries in the domain.
            candidates: (operands, lists, m), ascending.
        """
        rows = np.arange(len(ranks))
        counts, candidates = tallied[places], candidates[places]
        counts[:, 0] = size - counts[:, 1:].sum(1)
        from_top = counts[:, ::-1].cumsum(1)
        place = counts.shape[1] - 1 - np.argmax(from_top >= ranks[:, None], axis=1)
        larger = from_top[rows, counts.shape[1] - 1 - place] - counts[rows, place]
        edges = np.concatenate([np.full((len(ranks), 1), ALL), candidates, np.full((len(ranks), 1), NONE)], axis=1)
        on = place % 2 == 1
        low = edges[rows, (place + 1) // 2] + ~on  # of a gap, one above the candidate under it
        high = np.where(on, low + 1, edges[rows, np.minimum(place // 2 + 1, edges.shape[1] - 1)])
        search = cls(low, high, ranks - larger, counts[rows, place], np.where(on, place, -1))
        return search._at_ends(ranks, size)

    def _at_ends(self, ranks: Array, size: int) -> "_Search":
        """Close the search where the rank takes nothing, or everything."""
        inner = (ranks > 0) & (ranks < size)
        low = np.where(inner, self.low, np.where(ranks <= 0, NONE, ALL))
        zero = np.zeros_like(low)
        return _Search(
            low,
            np.where(inner, self.high, low + 1),
            np.where(inner, self.rank, zero),
            np.where(inner, self.inside, zero),
            np.where(inner, self.column, zero),
        )

    @property
    def is_open(self) -> bool:
        """Whether some interval holds more than one magnitude."""
        return bool((self.high - self.low > 1).any())

    @property
    def shift(self) -> Array:
        """Bits of a magnitude's distance from `low` that all entries of a bin share, so that the bins suffice."""
        widths = (self.high - self.low - 1).tolist()
        return np.asarray([max(width.bit_length() - BINS.bit_length() + 1, 0) for width in widths])

    def narrowed(self, histogram: Array) -> "_Search":
        """Narrow each interval to the bin that its entry lies in.

        Args:
            histogram: (n, BINS): see `_histogram`.

        Raises:
            MergeError: the entry is not in its interval: elements have changed since the pass before.
        """
        rows, shift = np.arange(len(self.low)), self.shift
        is_open = self.high - self.low > 1
        from_top = histogram[:, ::-1].cumsum(1)
        if (is_open & (from_top[:, -1] < self.rank)).any():
            raise MergeError("its elements have changed from one reading to the next; nothing may write to an input.")
        place = np.argmax(from_top >= self.rank[:, None], axis=1)
        larger = from_top[rows, place] - histogram[rows, BINS - 1 - place]
        low = self.low + ((BINS - 1 - place) << shift)
        return _Search(
            np.where(is_open, low, self.low),
            np.where(is_open, np.minimum(low + (1 << shift), self.high), self.high),
            np.where(is_open, self.rank - larger, self.rank),
            np.where(is_open, histogram[rows, BINS - 1 - place], self.inside),
            np.where(is_open, -1, self.column),
        )

    def found(self, before: Array, own: Array) -> Found:
        """Return the entries, once no interval is open.

        Args:
            before: (n, 2m + 1) what earlier cells tallied.
            own: (n, 2m + 1) what this cell tallied.
        """
        rows, known = np.arange(len(self.low)), self.column >= 0
        counted = np.where(known, before[rows, self.column], -1)
        return Found(self.low, self.rank, self.inside, counted, np.where(known, own[rows, self.column], 0))


def find_in_cell(operands: Sequence[Operand], ranks: Array) -> Found:
    """Find, for every operand and row of a cell, the entry of the operand's rank; fields are (n, rows)."""
    program = program_of(operands)
    if program is not None:
        inner = np.clip(ranks, 1, program.width)
        fused = program.select(inner) if program.width > FEW else _sorted(program.magnitudes(), inner)
        if fused is not None:
            return _in_rows(fused, ranks, program.width)
    found = [_find_in_rows(operand, int(rank)) for operand, rank in zip(operands, ranks, strict=True)]
    return _in_rows(np.stack(found), ranks, operands[0].tensor.shape[1])


def _sorted(magnitudes: Array | None, ranks: Array) -> Array | None:
    """Find entries by sorting rows of (n, rows, e) magnitudes: bits, spare, on_cut as (n, rows, 3) int64."""
    if magnitudes is None:
        return None
    descending = -np.sort(-magnitudes, axis=2)
    at = np.take_along_axis(descending, (ranks - 1)[:, None, None], axis=2)
    spare = ranks[:, None] - (magnitudes > at).sum(2)
    return np.stack([at[:, :, 0].astype(np.int64), spare, (magnitudes == at).sum(2)], axis=2)


def _find_in_rows(operand: Operand, rank: int) -> Array:
    """Find an entry in each row of one operand, in torch: bits, spare, on_cut as (rows, 3) int64."""
    magnitude = magnitude_bits(operand.tensor)
    size = magnitude.shape[1]
    inner = min(max(rank, 1), size)
    at = magnitude.sort(dim=1, descending=True).values[:, inner - 1, None]
    columns = at[:, 0].to(torch.int64), inner - (magnitude > at).sum(1), (magnitude == at).sum(1)
    found: Array = torch.stack(columns, dim=1).numpy()
    return found


def _in_rows(found: Array, ranks: Array, size: int) -> Found:
    """Put together what was found in rows, or what stands for it where the rank takes nothing, or everything.

    Args:
        found: (n, rows, 3): bits, spare, on_cut.
        ranks: (n,).
        size: entries in a row.
    """
    inner = ((ranks > 0) & (ranks < size))[:, None]
    ends = np.where(ranks <= 0, NONE, ALL)[:, None]
    spare, on_cut = np.where(inner, found[:, :, 1], 0), np.where(inner, found[:, :, 2], 0)
    return Found(np.where(inner, found[:, :, 0], ends), spare, on_cut, np.zeros_like(spare), on_cut)


def _choose(sample: Array, *, places: Places, ranks: Array, size: int) -> Array:
    """Choose the magnitudes to tally for each rank: (operands, lists, m) int64, ascending, the last repeated.

    Args:
        sample: (operands, elements) magnitudes.
        places: which operand and which of its lists each rank is for.
        ranks: (n,).
        size: entries in the domain.
    """
    num_lists, num_sampled = max(places[1]) + 1, sample.shape[1]
    most = max(most_candidates(size, len(sample)) // num_lists, 2)
    ordered = np.sort(sample, axis=1)[:, ::-1]
    lists = [[[NONE]] * num_lists for _ in sample]
    for operand, own, rank in zip(*places, ranks, strict=True):
        if 0 < rank < size:
            share = rank / size
            slack = SLACK * num_sampled * _error_of_share(sample[operand], ordered[operand], share) + 1
            first, last = max(int(share * num_sampled - slack), 0), int(share * num_sampled + slack) + 1
            lists[operand][own] = sorted(_likeliest(ordered[operand, first:last], most))
    width = max(len(own) for each in lists for own in each)
    return np.asarray([[own + own[-1:] * (width - len(own)) for own in each] for each in lists], np.int64)


def _error_of_share(sample: Array, ordered: Array, share: float) -> float:
    """Return the standard error of the share of entries that are as large as the sample says a share of them is.

    A sample of single entries would have a binomial one; neighbours in a tensor are alike, so pieces are compared.
    """
    by_piece = sample[: len(sample) // PIECE * PIECE].reshape(-1, PIECE)
    binomial = sqrt(share * (1 - share) / len(sample))
    if len(by_piece) < 2:
        return binomial
    shares = (by_piece >= ordered[min(int(share * len(sample)), len(sample) - 1)]).mean(1)
    return max(binomial, float(shares.std(ddof=1)) / sqrt(len(shares)))


def most_candidates(size: int, num_operands: int) -> int:
    """Return how many candidates an operand has at most, in a domain of `size` entries."""
    return max(min(MOST_CANDIDATES, MOST_COUNTS * PER_COUNT // (2 * max(size, 1) * num_operands)), 2)


def _likeliest(values: Array, most: int) -> set[int]:
    """Choose some of the values: those that occur most often, and others spread evenly."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= most:
        return set(distinct.tolist())
    often = np.argsort(-counts, kind="stable")[: most // 2]
    often = often[counts[often] > 1]
    spread = np.linspace(0, len(distinct) - 1, most - len(often)).astype(np.int64)
    return set(distinct[often].tolist()) | set(distinct[spread].tolist())


def _magnitudes(operands: Sequence[Operand]) -> Array:
    """Return the operands' magnitudes, (n, elements) int32."""
    program = program_of(operands)
    if program is not None and (fused := program.magnitudes()) is not None:
        return fused.reshape(len(operands), -1)
    return np.stack([magnitude_bits(x.tensor).flatten().numpy() for x in operands])


def _tally(operands: Sequence[Operand], candidates: Array) -> Array:
    """Count, for each operand, the entries on its candidates, between and above them.

    Args:
        operands: n operands.
        candidates: (n, lists, m) magnitudes; each list by itself, ascending; one that is repeated counts the first
            time.

    Returns:
        (n, lists, 2m + 1) int64: place 2j + 1 counts entries on candidate j, place 2j those between it and the one
        before. Place 0, what lies below all, is left at zero.
    """
    program = program_of(operands)
    if program is not None and (fused := program.tally(candidates)) is not None:
        return fused
    counted = np.zeros((*candidates.shape[:2], 2 * candidates.shape[2] + 1), np.int64)
    for k, operand in enumerate(operands):
        magnitude = magnitude_bits(operand.tensor).flatten()
        for own, asked in enumerate(torch.from_numpy(np.ascontiguousarray(candidates[k], np.int32))):
            first = torch.searchsorted(asked, magnitude)
            on = asked[first.clamp(max=len(asked) - 1)] == magnitude
            counted[k, own] = torch.bincount(2 * first + on, minlength=2 * len(asked) + 1).numpy()
    counted[:, :, 0] = 0
    return counted


def count_on(operands: Sequence[Operand], bits: Array) -> Array:
    """Count the entries of each operand's magnitude, (n,) int64."""
    return _tally(operands, bits[:, None, None])[:, 0, 1]


def _histogram(operands: Sequence[Operand], low: Array, high: Array, shift: Array) -> Array:
    """Count the entries of each operand's interval by the distance of their magnitude from `low`, shifted.

    Args:
        operands: n operands.
        low: smallest magnitude of the interval, (n,).
        high: one above its largest, (n,).
        shift: bits that the distance is shifted by, so that it is below BINS, (n,).

    Returns:
        (n, BINS) int64.
    """
    program = program_of(operands)
    if program is not None and (fused := program.histogram(low, high, shift)) is not None:
        return fused
    counted = []
    for operand, begin, end, bits in zip(operands, low.tolist(), high.tolist(), shift.tolist(), strict=True):
        magnitude = magnitude_bits(operand.tensor).flatten()
        inside = magnitude[(magnitude >= begin) & (magnitude < end)]
        counted.append(torch.bincount((inside - begin) >> bits, minlength=BINS).numpy())
    return np.stack(counted)

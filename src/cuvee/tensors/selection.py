"""Which entries are the largest: exact selection by magnitude, without sorting and in two readings.

The bits of |x| as float32, read as an integer, have the order of |x|. A histogram over their upper half finds the bin
that the cut lies in, a second one over the lower half, inside that bin, the cut itself::

    |x| bits    0 | eeeeeeee mmmmmmm | mmmmmmmmmmmmmmmm
                    upper, 2^15 bins   lower, 2^16 bins

Many entries can sit exactly on the cut (differences of bfloat16 weights take few values). When only some of them may
stay, the first in index order do, counted across cells by a running pass.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Pass, Position, finished, prefix

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Cut", "Trimmed", "largest", "share_of", "trim"]

UPPER_BINS = 1 << 15
LOWER_BITS = 16
NONE = (1 << 31) - 1  # above every magnitude: nothing is larger
ALL = -1  # below every magnitude


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps the entries above a magnitude and the first few exactly on it.

    Attributes:
        bits: magnitude as the bit pattern of |x| in float32, (rows,) int64; entries of larger pattern stay.
        spare: how many entries exactly on the magnitude stay as well, in index order, (rows,) int64.
        before: entries on the magnitude in earlier cells of the domain, (rows,) int64.
    """

    bits: Array
    spare: Array
    before: Array

    def keeps(self, magnitude: "Tensor") -> "Tensor":
        """Return the mask of entries that stay, bool, for magnitude patterns of shape (rows, e) int32."""
        bits = torch.from_numpy(self.bits).to(torch.int32)[:, None]
        above = magnitude > bits
        if not self.spare.any():
            return above
        on = magnitude == bits
        place = on.cumsum(1) + torch.from_numpy(self.before)[:, None]
        return above | (on & (place <= torch.from_numpy(self.spare)[:, None]))


class Trimmed:
    """An operand reduced to a band of its magnitudes, the other entries being zero.

    Args:
        operand: what is trimmed.
        keep: entries that stay.
        drop: entries among those that go after all (the very largest), or None.
    """

    def __init__(self, operand: Operand, keep: Cut, drop: Cut | None = None) -> None:
        self.operand = operand
        self.keep = keep
        self.drop = drop

    @cached_property
    def tensor(self) -> "Tensor":
        """The entries that stay, and zeros, (rows, e) float32."""
        values = self.operand.tensor
        magnitude = magnitude_bits(values)
        mask = self.keep.keeps(magnitude)
        if self.drop is not None:
            mask &= ~self.drop.keeps(magnitude)
        return values.where(mask, 0.0)


def trim(
    operands: Sequence[Operand], density: Sequence[float], position: Position, *, exact: bool = True
) -> Generator[Pass, Any, Sequence[Operand]]:
    """Keep the largest entries of every operand, a share of its domain.

    Args:
        operands: n operands.
        density: share to keep per operand, in [0, 1]; where all are 1 the operands come back as they are, without a
            pass.
        position: where the cell lies.
        exact: keep exactly floor(density * size) entries, the first in index order where magnitudes are equal. Else do
            as the TIES authors' code: the product is rounded down in floating point, one entry more stays, and all that
            equal the smallest.

    Returns:
        n trimmed operands.
    """
    if all(share >= 1 for share in density):
        return operands
    size = position.size
    counts = [
        size if share >= 1 else share_of(share, size) if exact else min(int(size * share) + 1, size)
        for share in density
    ]
    cuts = yield from largest(operands, counts, position, every_tie=not exact)
    return [Trimmed(operand, cut) for operand, cut in zip(operands, cuts, strict=True)]


def share_of(density: float, size: int) -> int:
    """Return floor(density * size), of the share as it is written in decimals: 0.29 of 100 is 29, not 28."""
    return int(Fraction(str(density)) * size)


def magnitude_bits(values: "Tensor") -> "Tensor":
    """Return the bit pattern of |values|, int32, same shape; it orders as |values| does."""
    return values.contiguous().view(torch.int32) & 0x7FFFFFFF


def largest(
    operands: Sequence[Operand], counts: Sequence[int], position: Position, *, every_tie: bool = False
) -> Generator[Pass, Any, list[Cut]]:
    """Find, for every operand, the cut that keeps a number of its largest entries by magnitude.

    Takes two passes over the domain, and a third where an operand has more entries on its cut than may stay. When the
    cell is its whole domain (small tensors, rows), no pass.

    Args:
        operands: n operands.
        counts: entries to keep per operand and domain, 0 to the domain's size.
        position: where the cell lies.
        every_tie: keep all entries on the cut, so that at least `counts` stay.

    Returns:
        n cuts.
    """
    ranks = np.asarray(counts, dtype=np.int64)
    if position.whole:
        return [_sorted_cut(operand, count, every_tie) for operand, count in zip(operands, counts, strict=True)]
    bins, inside = yield from finished(partial(_find, ranks=ranks), _upper_histogram, operands)
    bits, spare, on_cut = yield from finished(
        partial(_refine, bins=bins, ranks=inside), _lower_histogram, operands, bins
    )
    bits, spare = _settle(bits, spare, on_cut, every_tie)
    before = np.zeros_like(spare)
    if spare.any():
        before = yield from prefix(_count_on, operands, bits)
    return [Cut(bits[i : i + 1], spare[i : i + 1], before[i : i + 1]) for i in range(len(bits))]


def _settle(bits: Array, spare: Array, on_cut: Array, every_tie: bool) -> tuple[Array, Array]:
    """Lower the cut by one step where all entries on it stay; then none of them needs counting."""
    stay = (spare > 0) if every_tie else (spare > 0) & (spare >= on_cut)
    return np.where(stay, bits - 1, bits), np.where(stay, 0, spare)


def _sorted_cut(operand: Operand, count: int, every_tie: bool) -> Cut:
    """Find the cut of each row of a cell that holds its rows entirely."""
    magnitude = magnitude_bits(operand.tensor)
    rows, size = magnitude.shape
    none = np.zeros(rows, np.int64)
    if count <= 0 or count >= size:
        return Cut(np.full(rows, NONE if count <= 0 else ALL, np.int64), none, none)
    at = magnitude.sort(dim=1, descending=True).values[:, count - 1 : count]
    spare = count - (magnitude > at).sum(1)
    on_cut = (magnitude == at).sum(1)
    bits, left = _settle(at[:, 0].to(torch.int64).numpy(), spare.numpy(), on_cut.numpy(), every_tie)
    return Cut(bits, left, none)


def _upper_histogram(operands: Sequence[Operand]) -> Array:
    """Count entries by the upper half of their magnitude pattern, (n, 2^15) int64."""
    return np.stack(
        [
            torch.bincount((magnitude_bits(x.tensor).flatten() >> LOWER_BITS), minlength=UPPER_BINS).numpy()
            for x in operands
        ]
    )


def _lower_histogram(operands: Sequence[Operand], bins: Array) -> Array:
    """Count entries of one upper bin per operand by the lower half of their pattern, (n, 2^16) int64."""
    counts = []
    for operand, upper in zip(operands, bins, strict=True):
        magnitude = magnitude_bits(operand.tensor)
        inside = magnitude[(magnitude >> LOWER_BITS) == int(upper)]
        counts.append(torch.bincount(inside & ((1 << LOWER_BITS) - 1), minlength=1 << LOWER_BITS).numpy())
    return np.stack(counts)


def _count_on(operands: Sequence[Operand], bits: Array) -> Array:
    """Count the entries exactly on each operand's cut, (n,) int64."""
    counts = [int((magnitude_bits(x.tensor) == int(at)).sum()) for x, at in zip(operands, bits, strict=True)]
    return np.asarray(counts, dtype=np.int64)


def _find(histogram: Array, *, ranks: Array) -> tuple[Array, Array]:
    """Find the bin that holds each operand's entry of given rank, counted from the largest.

    Args:
        histogram: (n, bins) int64.
        ranks: (n,) int64; 0 finds no bin (-1), a rank beyond all entries the bin -2.

    Returns:
        Bin per operand, and the rank that is left inside it, both (n,) int64.
    """
    from_top = histogram[:, ::-1].cumsum(1)
    bins = np.empty(len(ranks), np.int64)
    inside = np.zeros(len(ranks), np.int64)
    for i, rank in enumerate(ranks):
        if rank <= 0 or rank >= from_top[i, -1]:
            bins[i] = -1 if rank <= 0 else -2
            continue
        place = int(np.searchsorted(from_top[i], rank))
        bins[i] = histogram.shape[1] - 1 - place
        inside[i] = rank - (from_top[i, place - 1] if place else 0)
    return bins, inside


def _refine(histogram: Array, *, bins: Array, ranks: Array) -> tuple[Array, Array, Array]:
    """Find each operand's cut: its pattern, how many entries on it stay, and how many there are, all (n,) int64."""
    bits = np.where(bins == -1, NONE, ALL)
    spare, on_cut = np.zeros_like(ranks), np.zeros_like(ranks)
    for i in np.flatnonzero(bins >= 0):
        from_top = histogram[i, ::-1].cumsum()
        place = int(np.searchsorted(from_top, ranks[i]))
        lower = len(from_top) - 1 - place
        bits[i] = (bins[i] << LOWER_BITS) | lower
        spare[i] = ranks[i] - (from_top[place - 1] if place else 0)
        on_cut[i] = histogram[i, lower]
    return bits, spare, on_cut

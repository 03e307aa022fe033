"""Which entries are the largest: exact selection by magnitude, without sorting.

Many entries can sit exactly on the cut (differences of bfloat16 weights take few values). When only some of them may
stay, the first in index order do, counted across cells by a running pass.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cuvee.tensors.framework import torch
from cuvee.tensors.kernels import frame
from cuvee.tensors.kernels.program import Chain, Stage
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Pass, Position, prefix, total
from cuvee.tensors.ranks import Found, count_on, find_in_cell, find_in_domain, magnitude_bits

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["RANK_PASSES", "TRIM_PASSES", "Cut", "Rule", "Trimmed", "largest", "order_statistics", "share_of", "trim"]

TRIM_PASSES = 1, 5
"""Passes that `trim` and `largest` take over a domain of several cells: usually, and at most."""
RANK_PASSES = 3, 4
"""Passes that `order_statistics` takes over a domain of several cells, of an operand of many values without signs:
usually, and at most."""
Rule = Literal["paper", "reference", "mergekit"]


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

    def stage(self, kind: int) -> Stage:
        """Return the cut as a stage of compiled kernels, which keeps its entries or clears them."""
        return Stage(kind, np.ascontiguousarray([self.bits, self.spare, self.before], np.int64))


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

    @property
    def chain(self) -> Chain | None:
        """The operand's, with the cuts after it."""
        chain: Chain | None = getattr(self.operand, "chain", None)
        if chain is None:
            return None
        stages = [self.keep.stage(frame.KEEP), *([self.drop.stage(frame.CLEAR)] if self.drop else [])]
        return replace(chain, stages=(*chain.stages, *stages))

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
    operands: Sequence[Operand], density: Sequence[float], position: Position, *, rule: Rule = "paper"
) -> Generator[Pass, Any, Sequence[Operand]]:
    """Keep the largest entries of every operand, a share of its domain.

    Args:
        operands: n operands.
        density: share to keep per operand, in [0, 1]; where all are 1 the operands come back as they are, without a
            pass.
        position: where the cell lies.
        rule: ``"paper"`` keeps exactly floor(density * size) entries, the first in index order where magnitudes are
            equal. ``"reference"`` does as the TIES authors' code: the product is rounded down in floating point, one
            entry more stays, and all that equal the smallest. ``"mergekit"`` keeps the product rounded down in floating
            point, at least one entry unless the density is 0, the first in index order.

    Returns:
        n trimmed operands.
    """
    if all(share >= 1 for share in density):
        return operands
    size = position.size
    counts = [size if share >= 1 else _KEPT[rule](share, size) for share in density]
    cuts = yield from largest(operands, counts, position, every_tie=rule == "reference")
    return [Trimmed(operand, cut) for operand, cut in zip(operands, cuts, strict=True)]


def share_of(density: float, size: int) -> int:
    """Return floor(density * size), of the share as it is written in decimals: 0.29 of 100 is 29, not 28."""
    return _floor(str(density), size)


@cache
def _floor(density: str, size: int) -> int:
    """Multiply exactly: once for all cells of a domain."""
    return int(Fraction(density) * size)


_KEPT: Mapping[Rule, Callable[[float, int], int]] = {
    "paper": share_of,
    "reference": lambda share, size: min(int(size * share) + 1, size),
    "mergekit": lambda share, size: max(int(size * share), int(share > 0)),
}


def largest(
    operands: Sequence[Operand], counts: Sequence[int], position: Position, *, every_tie: bool = False
) -> Generator[Pass, Any, list[Cut]]:
    """Find, for every operand, the cut that keeps a number of its largest entries by magnitude.

    Takes one to five passes over the domain (see `ranks`). When the cell is its whole domain (small tensors, rows), no
    pass.

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
        return _cuts(find_in_cell(operands, ranks), every_tie)
    found = yield from find_in_domain(operands, ranks, position.size)
    if ((found.before < 0) & _breaks_ties(found, every_tie)).any():
        before, own, _ = yield from prefix(None, count_on, operands, found.bits)
        found = replace(found, before=before, own=own)
    return _cuts(found, every_tie)


def _breaks_ties(found: Found, every_tie: bool) -> Array:
    """Say on which cuts some entries stay and some do not."""
    return np.zeros(found.bits.shape, bool) if every_tie else (found.spare > 0) & (found.spare < found.on_cut)


def _cuts(found: Found, every_tie: bool) -> list[Cut]:
    """Make cuts of what was found, one for each operand.

    Where all entries of a cell on the cut stay, it is lowered by a step, so that only one cell in a domain counts them.
    """
    breaks = _breaks_ties(found, every_tie)
    all_stay = (found.spare > 0) & (~breaks | (found.before + found.own <= found.spare))
    counts = breaks & ~all_stay & (found.before < found.spare)
    bits = np.where(all_stay, found.bits - 1, found.bits)
    spare, before = np.where(counts, found.spare, 0), np.where(counts, found.before, 0)
    table = np.stack([bits, spare, before], axis=1).reshape(len(bits), 3, -1)
    return [Cut(*own) for own in table]


def order_statistics(
    operand: Operand, places: Sequence[int], position: Position, *, signed: bool = False
) -> Generator[Pass, Any, Array]:
    """Find the entries that would lie at some places if the domain were sorted.

    The domain holds all rows of the cell, whatever their number.

    Args:
        operand: the operand.
        places: counted from the smallest, which is 0; smaller than the domain's size.
        position: where the cell lies.
        signed: some entries may be negative; takes one pass more.

    Returns:
        (places,) float32.
    """
    if position.whole:
        ordered: Array = np.sort(operand.tensor.flatten().numpy())
        return ordered[list(places)]
    num_negative = int((yield from total(_count_negative, operand))) if signed else 0
    above, below = (_Side(operand, 1.0), _Side(operand, -1.0)) if signed else (operand, operand)
    sides = [below if place < num_negative else above for place in places]
    ranks = [place + 1 if place < num_negative else position.size - place for place in places]
    found = yield from find_in_domain(sides, np.asarray(ranks, np.int64), position.size)
    magnitudes: Array = found.bits.astype(np.int32).view(np.float32)
    return np.where(np.asarray(places) < num_negative, -magnitudes, magnitudes)


class _Side:
    """The entries of an operand that have one sign, and zeros."""

    def __init__(self, operand: Operand, sign: float) -> None:
        self.operand = operand
        self.sign = sign

    @cached_property
    def tensor(self) -> "Tensor":
        """Their magnitudes, of the operand's shape."""
        return (self.operand.tensor * self.sign).clamp_(min=0.0)


def _count_negative(operand: Operand) -> Array:
    """Count the entries below zero."""
    return np.asarray(int((operand.tensor < 0).sum()))

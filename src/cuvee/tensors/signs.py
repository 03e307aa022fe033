"""Sign election: which direction the models agree on, entry by entry, and the merge of those that follow it.

The torch forms are the reference; compiled kernels take plain operands and give the same bits. Shapes: n operands of
(rows, e) each.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cuvee.spec import DType
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.framework import torch
from cuvee.tensors.kernels.program import program_of
from cuvee.tensors.operands import Block, Bytes, Operand
from cuvee.tensors.passes import Array, Pass, total

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Agreed", "How", "ZeroSign", "disjoint_merge", "elect_and_merge", "sign_vote"]

How = Literal["mean", "sum", "max", "signed_mean"]
ZeroSign = Literal["majority", "positive", "zero"]


def elect_and_merge(
    operands: Sequence[Operand],
    weights: Sequence[float],
    *,
    how: How = "mean",
    scale: float = 1.0,
    elect: bool = True,
    zero_sign: ZeroSign = "majority",
    draw_is_negative: bool = False,
) -> "Generator[Pass, Any, Agreed]":
    """Elect a sign for every entry and merge the operands that follow it. Takes one pass for a majority, else none.

    Args:
        operands: n operands.
        weights: one factor per operand.
        how: see `disjoint_merge`.
        scale: factor on the result.
        elect: without an election every entry that is not zero counts.
        zero_sign: sign of entries whose weighted sum is exactly zero: that of the majority of all elected signs in the
            domain, positive, or none.
        draw_is_negative: what a drawn majority means for mean and sum: the negative entries are taken, instead of none.

    Returns:
        What `disjoint_merge` gives.
    """
    if not elect:
        return disjoint_merge(operands, weights, None, how=how, scale=scale)
    undecided = np.array([int(zero_sign == "positive")])
    if zero_sign == "majority":
        vote = yield from total(sign_vote, operands, weights)
        undecided = np.sign(vote)
        if draw_is_negative and how != "max":
            undecided[vote == 0] = -1
    return disjoint_merge(operands, weights, undecided, how=how, scale=scale)


def sign_vote(operands: Sequence[Operand], weights: Sequence[float]) -> Array:
    """Count the entries whose weighted sum is positive minus those whose sum is negative.

    Args:
        operands: n operands.
        weights: one factor per operand.

    Returns:
        (rows,) int64.
    """
    program = program_of(operands)
    if program is not None and (fused := program.vote(np.asarray(weights))) is not None:
        return fused
    signs = weighted_sum(operands, weights).tensor.sign()
    counted: Array = signs.sum(dim=1, dtype=torch.float64).numpy().astype(np.int64)
    return counted


def disjoint_merge(
    operands: Sequence[Operand], weights: Sequence[float], undecided: int | Array | None, *, how: How, scale: float
) -> "Agreed":
    """Merge, entry by entry, the operands that have the sign of the weighted sum.

    Args:
        operands: n operands; zero entries never count.
        weights: one factor per operand. A negative one turns the operand's direction around.
        undecided: sign, -1, 0 or 1, of entries whose weighted sum is exactly zero, (rows,) or (1,) for all; None lets
            every sign count.
        how: ``"mean"`` divides the weighted sum of the entries that count by the sum of their weights' magnitudes,
            ``"signed_mean"`` by the sum of the weights themselves (by nothing where that is zero), ``"sum"`` does not
            divide, ``"max"`` takes the one of largest magnitude.
        scale: factor on the result.

    Returns:
        The merge as an operand: a method's result, or something to compute on, as ``.tensor``: (rows, e) float32.
    """
    return Agreed(tuple(operands), weights, undecided, how, scale)


@dataclass(frozen=True, eq=False)
class Agreed:
    """What operands that agree in sign merge to: an operand itself. See `disjoint_merge`."""

    operands: Sequence[Operand]
    weights: Sequence[float]
    undecided: int | Array | None
    how: How
    scale: float

    @cached_property
    def tensor(self) -> "Tensor":
        """The merge, (rows, e) float32."""
        terms = [weighted_sum([x], [weight]).tensor for x, weight in zip(self.operands, self.weights, strict=True)]
        counts = [term != 0 for term in terms]
        if self.undecided is not None:
            undecided = torch.from_numpy(np.reshape(self.undecided, (-1, 1)).astype(np.float32))
            sign = weighted_sum(self.operands, self.weights).tensor.sign()
            sign = torch.where(sign == 0, undecided, sign)
            counts = [term * sign > 0 for term in terms]
        merged = torch.zeros_like(terms[0])
        if self.how == "max":
            for term, count in zip(terms, counts, strict=True):
                merged = torch.where(count & (term.abs() > merged.abs()), term, merged)
            return merged.mul_(self.scale)
        mass = torch.zeros_like(merged)
        for term, count, weight in zip(terms, counts, self.weights, strict=True):
            merged += term.where(count, 0.0)
            mass += count * (weight if self.how == "signed_mean" else abs(weight))
        if self.how != "sum":
            merged /= mass.where(mass != 0, 1.0)
        return merged.mul_(self.scale)

    def store(self, added: Block | None, dtype: DType, out: Bytes) -> bool:
        """See `Result`."""
        program, how = program_of(self.operands), get_args(How).index(self.how)
        return program is not None and program.store_agreed(
            np.asarray(self.weights), how, self.undecided, self.scale, added, dtype, out
        )

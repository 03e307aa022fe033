"""Sign election: which direction the models agree on, entry by entry, and the merge of those that follow it.

Shapes: n operands of (rows, e) float32 each.
"""

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Pass, total

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["How", "ZeroSign", "disjoint_merge", "elect_and_merge", "sign_vote"]

How = Literal["mean", "sum", "max"]
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
) -> "Generator[Pass, Any, Tensor]":
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
        (rows, e) float32.
    """
    if not elect:
        return disjoint_merge(operands, weights, None, how=how, scale=scale)
    undecided = int(zero_sign == "positive")
    if zero_sign == "majority":
        vote = yield from total(sign_vote, operands, weights)
        undecided = int(np.sign(vote[0]))
        if undecided == 0 and draw_is_negative and how != "max":
            undecided = -1
    return disjoint_merge(operands, weights, undecided, how=how, scale=scale)


def sign_vote(operands: Sequence[Operand], weights: Sequence[float]) -> Array:
    """Count the entries whose weighted sum is positive minus those whose sum is negative.

    Args:
        operands: n operands.
        weights: one factor per operand.

    Returns:
        (1,) int64.
    """
    signs = weighted_sum(operands, weights).sign_()
    return np.asarray([int(signs.sum(dtype=torch.float64))], dtype=np.int64)


def disjoint_merge(
    operands: Sequence[Operand], weights: Sequence[float], undecided: int | None, *, how: How, scale: float
) -> "Tensor":
    """Merge, entry by entry, the operands that have the sign of the weighted sum.

    Args:
        operands: n operands; zero entries never count.
        weights: one factor per operand. A negative one turns the operand's direction around.
        undecided: sign, -1, 0 or 1, of entries whose weighted sum is exactly zero; None lets every sign count.
        how: ``"mean"`` divides the weighted sum of the entries that count by the sum of their weights' magnitudes,
            ``"sum"`` does not, ``"max"`` takes the one of largest magnitude.
        scale: factor on the result.

    Returns:
        (rows, e) float32.
    """
    terms = [weighted_sum([operand], [weight]) for operand, weight in zip(operands, weights, strict=True)]
    counts = [term != 0 for term in terms]
    if undecided is not None:
        sign = weighted_sum(operands, weights).sign_()
        sign = torch.where(sign == 0, float(undecided), sign)
        counts = [term * sign > 0 for term in terms]
    merged = torch.zeros_like(terms[0])
    if how == "max":
        for term, count in zip(terms, counts, strict=True):
            merged = torch.where(count & (term.abs() > merged.abs()), term, merged)
        return merged.mul_(scale)
    mass = torch.zeros_like(merged)
    for term, count, weight in zip(terms, counts, weights, strict=True):
        merged += term.where(count, 0.0)
        mass += count * abs(weight)
    if how == "mean":
        merged /= mass.where(mass != 0, 1.0)
    return merged.mul_(scale)

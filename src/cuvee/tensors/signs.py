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

__all__ = ["ZeroSign", "disjoint_merge", "elect_and_merge", "sign_vote"]

ZeroSign = Literal["majority", "positive", "zero"]


def elect_and_merge(
    operands: Sequence[Operand],
    weights: Sequence[float],
    *,
    how: Literal["mean", "sum", "max"] = "mean",
    scale: float = 1.0,
    zero_sign: ZeroSign = "majority",
    draw_is_negative: bool = False,
) -> "Generator[Pass, Any, Tensor]":
    """Elect a sign for every entry and merge the operands that follow it. Takes one pass for a majority, else none.

    Args:
        operands: n operands.
        weights: one factor per operand.
        how: see `disjoint_merge`.
        scale: factor on the result.
        zero_sign: sign of entries whose weighted sum is exactly zero: that of the majority of all elected signs in the
            domain, positive, or none.
        draw_is_negative: what a drawn majority means for mean and sum: the negative entries are taken, instead of none.

    Returns:
        (rows, e) float32.
    """
    undecided = int(zero_sign == "positive")
    if zero_sign == "majority":
        vote = yield from total(sign_vote, operands, weights)
        undecided = int(np.sign(vote[0]))
    negative = draw_is_negative and zero_sign == "majority"
    return disjoint_merge(operands, weights, how=how, scale=scale, undecided=undecided, negative_otherwise=negative)


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
    operands: Sequence[Operand],
    weights: Sequence[float],
    *,
    how: Literal["mean", "sum", "max"],
    scale: float,
    undecided: int,
    negative_otherwise: bool = False,
) -> "Tensor":
    """Merge, entry by entry, the operands that have the sign of the weighted sum.

    Args:
        operands: n operands; zero entries never count.
        weights: one factor per operand. A negative one turns the operand's direction around.
        how: ``"mean"`` divides the weighted sum of the agreeing entries by the sum of their weights, ``"sum"`` does
            not, ``"max"`` takes the largest magnitude.
        scale: factor on the result.
        undecided: sign, -1, 0 or 1, of entries whose weighted sum is exactly zero.
        negative_otherwise: where the sign is still 0, mean and sum take the negative entries (the TIES authors' code)
            rather than giving zero.

    Returns:
        (rows, e) float32.
    """
    terms = [weighted_sum([operand], [weight]) for operand, weight in zip(operands, weights, strict=True)]
    total = terms[0].clone()
    for term in terms[1:]:
        total += term
    sign = total.sign()
    if undecided:
        sign = torch.where(sign == 0, float(undecided), sign)
    if how == "max":
        largest = torch.zeros_like(sign)
        for term in terms:
            largest = torch.maximum(largest, (term * sign).clamp_(min=0))
        return largest.mul_(sign).mul_(scale)
    if negative_otherwise:
        sign = torch.where(sign == 0, -1.0, sign)
    merged, mass = torch.zeros_like(sign), torch.zeros_like(sign)
    for term, weight in zip(terms, weights, strict=True):
        agrees = term * sign > 0
        merged += term.where(agrees, 0.0)
        mass += agrees * weight
    if how == "mean":
        merged /= mass.where(mass != 0, 1.0)
    return merged.mul_(scale)

"""Sums and inner products of operands: the torch form, which every faster form must match.

Shapes: n operands of (rows, e) float32 each.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["gram_matrix", "weighted_sum"]


def weighted_sum(operands: Sequence[Operand], weights: Sequence[float] | Array) -> "Tensor":
    """Add operands up, each times its weight.

    Products and sums are taken one after the other, in the operands' order, each rounded to float32: never a fused
    multiply-add, so every device gives the same bits.

    Args:
        operands: n operands.
        weights: one factor per operand, (n,), or one per operand and row, (n, rows).

    Returns:
        (rows, e) float32.
    """
    merged: Tensor | None = None
    for operand, weight in zip(operands, np.asarray(weights, dtype=np.float64), strict=True):
        term = operand.tensor * torch.as_tensor(weight, dtype=torch.float32).reshape(-1, 1)
        merged = term if merged is None else merged.add_(term)
    if merged is None:
        raise ValueError("weighted_sum needs at least one operand")
    return merged


def gram_matrix(operands: Sequence[Operand]) -> Array:
    """Take the inner product of every pair of operands, row by row.

    Args:
        operands: n operands.

    Returns:
        (rows, n, n) float64, symmetric; its diagonal holds the squared norms.
    """
    vectors = torch.stack([operand.tensor for operand in operands], dim=1).to(torch.float64)
    products: Array = (vectors @ vectors.mT).numpy()
    return products

"""Sums and inner products of operands.

Each has a torch form, which is the reference, and hands plain operands to compiled kernels, which give the same bits
(sums) or the same numbers but for the order of float64 additions (products). Shapes: n operands of (rows, e) each.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cuvee.spec import DType
from cuvee.tensors.framework import torch
from cuvee.tensors.kernels.program import program_of
from cuvee.tensors.operands import Block, Bytes, Operand
from cuvee.tensors.passes import Array

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["WeightedSum", "gram_matrix", "weighted_sum"]


class WeightedSum:
    """The sum of operands, each times its weight: an operand itself. See `weighted_sum`."""

    def __init__(self, operands: Sequence[Operand], weights: Sequence[float] | Array) -> None:
        if not operands:
            raise ValueError("weighted_sum needs at least one operand")
        self.operands = tuple(operands)
        self.weights: Array = np.asarray(weights, dtype=np.float64, order="C")
        if len(self.weights) != len(operands):
            raise ValueError(f"weighted_sum got {len(operands)} operands and {len(self.weights)} weights")

    @cached_property
    def tensor(self) -> "Tensor":
        """The sum, (rows, e) float32."""
        merged: Tensor | None = None
        for operand, weight in zip(self.operands, self.weights, strict=True):
            term = operand.tensor * torch.as_tensor(weight, dtype=torch.float32).reshape(-1, 1)
            merged = term if merged is None else merged.add_(term)
        assert merged is not None
        return merged

    def store(self, added: Block | None, dtype: DType, out: Bytes) -> bool:
        """See `Result`."""
        program = program_of(self.operands)
        return program is not None and program.store_sum(self.weights, added, dtype, out)


def weighted_sum(operands: Sequence[Operand], weights: Sequence[float] | Array) -> WeightedSum:
    """Add operands up, each times its weight.

    Products and sums are taken one after the other, in the operands' order, each rounded to float32: never a fused
    multiply-add, so every device gives the same bits.

    Args:
        operands: n operands.
        weights: one factor per operand, (n,), or one per operand and row, (n, rows).

    Returns:
        The sum as an operand: a method's result, or something to compute on, as ``.tensor``: (rows, e) float32.
    """
    return WeightedSum(operands, weights)


def gram_matrix(operands: Sequence[Operand]) -> Array:
    """Take the inner product of every pair of operands, row by row.

    Args:
        operands: n operands.

    Returns:
        (rows, n, n) float64, symmetric; its diagonal holds the squared norms.
    """
    program = program_of(operands)
    if program is not None and (fused := program.gram()) is not None:
        return fused
    vectors = torch.stack([operand.tensor for operand in operands], dim=1).to(torch.float64)
    products: Array = (vectors @ vectors.mT).numpy()
    return products

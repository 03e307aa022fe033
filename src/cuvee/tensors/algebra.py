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

__all__ = ["NO_PLACE", "ZERO_SHARES", "WeightedSum", "factors", "gram_matrix", "gram_of_columns", "weighted_sum"]

# Sums of weights that count as zero. There are three, since what follows from a zero differs.
ZERO_SHARES = 1e-12  # relative to the largest weight. The merge is refused: only what rounding leaves may count
NO_SUM = 1e-8  # a sum of task vectors is not divided by less. mergekit's threshold, so that its results are met
NO_PLACE = 1e-6  # of two weights that say a place on an arc: it is the middle. mergekit's, likewise


class WeightedSum:
    """The sum of operands, each times its weight: an operand itself. See `weighted_sum`."""

    def __init__(
        self, operands: Sequence[Operand], weights: Sequence[float] | Array, *, by_column: bool = False
    ) -> None:
        if not operands:
            raise ValueError("weighted_sum needs at least one operand")
        self.operands = tuple(operands)
        self.weights: Array = np.asarray(weights, dtype=np.float64, order="C")
        if len(self.weights) != len(operands):
            raise ValueError(f"weighted_sum got {len(operands)} operands and {len(self.weights)} weights")
        self.by_column = by_column

    @cached_property
    def tensor(self) -> "Tensor":
        """The sum, (rows, e) float32."""
        merged: Tensor | None = None
        shape = (1, -1) if self.by_column else (-1, 1)
        for operand, weight in zip(self.operands, self.weights, strict=True):
            term = operand.tensor * torch.as_tensor(weight, dtype=torch.float32).reshape(shape)
            merged = term if merged is None else merged.add_(term)
        assert merged is not None
        return merged

    def store(self, added: Block | None, dtype: DType, out: Bytes) -> bool:
        """See `Result`."""
        program = program_of(self.operands)
        if program is None:
            return False
        store = program.store_sum_of_columns if self.by_column else program.store_sum
        return store(self.weights, added, dtype, out)


def weighted_sum(
    operands: Sequence[Operand], weights: Sequence[float] | Array, *, by_column: bool = False
) -> WeightedSum:
    """Add operands up, each times its weight.

    Products and sums are taken one after the other, in the operands' order, each rounded to float32: never a fused
    multiply-add, so every device gives the same bits.

    Args:
        operands: n operands.
        weights: one factor per operand, (n,), or one per operand and row, (n, rows), or column, (n, e).
        by_column: the factors are those of columns.

    Returns:
        The sum as an operand: a method's result, or something to compute on, as ``.tensor``: (rows, e) float32.
    """
    return WeightedSum(operands, weights, by_column=by_column)


def factors(weights: Sequence[float], *, scale: float = 1.0, normalize: bool = False) -> list[float]:
    """Return the factor on each task vector of a sum.

    Args:
        weights: one per task vector.
        scale: factor on all of them.
        normalize: divide by the sum of the weights, unless that is zero.
    """
    total = sum(weights)
    share = scale / total if normalize and abs(total) >= NO_SUM else scale
    return [share * weight for weight in weights]


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


def gram_of_columns(operands: Sequence[Operand]) -> Array:
    """Take the inner product of every pair of operands, column by column.

    Args:
        operands: n operands.

    Returns:
        (e, n, n) float64, symmetric; sums over the rows, so that those of several cells add up.
    """
    program = program_of(operands)
    if program is not None and (fused := program.gram_of_columns()) is not None:
        return fused
    vectors = torch.stack([operand.tensor for operand in operands]).to(torch.float64)
    products: Array = torch.einsum("ire,jre->eij", vectors, vectors).numpy()
    return products

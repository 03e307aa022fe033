"""Operands: what a method is given for each model.

An operand stands for one cell of elements, laid out as (rows, elements per row); rows is 1 unless the method works row
by row. Operands are lazy: a `Block` is raw bytes with a dtype, a `TaskVector` a pair of blocks; other rooms add
operands of which only some entries survive. `tensor` makes the float32 elements of any of them, once; primitives may
look at the kind and do better.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.spec import DType

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "Operand", "TaskVector"]


class Operand(Protocol):
    """Anything that can become a cell of float32 elements."""

    @property
    def tensor(self) -> "Tensor":
        """The elements, (rows, elements per row) float32. Shared between users: never modify it."""
        ...


class Block:
    """Raw bytes of one model's cell, with their dtype.

    Args:
        data: (elements * bytes per element,) uint8; read, never written.
        dtype: element type.
        rows: number of rows the elements form; divides their number.
        widen: makes float32 elements of the bytes, (elements,).
    """

    def __init__(
        self,
        data: NDArray[np.uint8],
        dtype: DType,
        rows: int,
        widen: "Callable[[NDArray[np.uint8], DType], Tensor]",
    ) -> None:
        self.data = data
        self.dtype = dtype
        self.rows = rows
        self._widen = widen

    @cached_property
    def tensor(self) -> "Tensor":
        """The elements, (rows, elements per row) float32."""
        return self._widen(self.data, self.dtype).reshape(self.rows, -1)


class TaskVector:
    """A model's cell minus the base's, not yet subtracted.

    Args:
        model: the fine-tuned model's cell.
        base: the base model's cell, of equal shape; one object serves all models.
    """

    def __init__(self, model: Operand, base: Operand) -> None:
        self.model = model
        self.base = base

    @cached_property
    def tensor(self) -> "Tensor":
        """The difference, (rows, elements per row) float32."""
        return self.model.tensor - self.base.tensor

"""Operands: what a method is given for each model, and what it gives back.

An operand stands for one cell of elements, laid out as (rows, elements per row); rows is 1 unless the method works row
by row. Operands are lazy: a `Block` is raw bytes with a dtype, a `TaskVector` a pair of blocks; other rooms add
operands of which only some entries survive, and sums of operands. `tensor` makes the float32 elements of any of them,
once. Primitives do better where an operand's `chain` tells how compiled kernels can make it on the way.
"""

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from cuvee.spec import DType
from cuvee.tensors.kernels.program import Chain, address_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Block", "Flattened", "Operand", "Result", "TaskVector"]

Bytes = NDArray[np.uint8]


class Operand(Protocol):
    """Anything that can become a cell of float32 elements."""

    @property
    def tensor(self) -> "Tensor":
        """The elements, (rows, elements per row) float32. Shared between users: never modify it."""
        ...


class Result(Operand, Protocol):
    """An operand that can be stored without becoming a tensor first."""

    def store(self, added: "Block | None", dtype: DType, out: Bytes) -> bool:
        """Store the elements.

        Args:
            added: a block to add to them, or None.
            dtype: element type to store; rounded to nearest even.
            out: takes the raw elements.

        Returns:
            Whether it was done. If not, the torch form has to do it, or to say what is wrong; `out` holds anything.
        """
        ...


class Block:
    """Raw bytes of one model's cell, with their dtype.

    Args:
        data: (elements * bytes per element,) uint8; read, never written.
        dtype: element type.
        rows: number of rows the elements form; divides their number.
        widen: makes float32 elements of the bytes, (elements,).

    Attributes:
        address: where the bytes lie, for kernels.
    """

    def __init__(self, data: Bytes, dtype: DType, rows: int, widen: "Callable[[Bytes, DType], Tensor]") -> None:
        self.data = np.ascontiguousarray(data)
        self.dtype = dtype
        self.rows = rows
        self.address = address_of(self.data)
        self._widen = widen

    @cached_property
    def tensor(self) -> "Tensor":
        """The elements, (rows, elements per row) float32."""
        return self._widen(self.data, self.dtype).reshape(self.rows, -1)

    @property
    def chain(self) -> Chain:
        """Itself."""
        return Chain(self)


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

    @property
    def chain(self) -> Chain | None:
        """The pair, if both are blocks."""
        if isinstance(self.model, Block) and isinstance(self.base, Block):
            return Chain(self.model, self.base)
        return None


class Flattened:
    """An operand's rows laid out as one: for what is taken over a tensor that is handed over in rows.

    Args:
        operand: what is laid out.
    """

    def __init__(self, operand: Operand) -> None:
        self.operand = operand

    @cached_property
    def tensor(self) -> "Tensor":
        """The elements, (1, rows * elements per row) float32; a view."""
        return self.operand.tensor.reshape(1, -1)

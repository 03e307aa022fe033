"""Bytes to float32 and back: the one place where an element type is widened or rounded in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuvee.spec import DType
from cuvee.tensors.framework import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["first_lost", "first_non_finite", "from_bytes", "to_bytes"]


E4M3_END = 464.0  # what is larger than this would round to more than 448, the largest value of F8_E4M3


def torch_dtype(dtype: DType) -> torch.dtype:
    """Return torch's name for an element type."""
    found: torch.dtype = getattr(torch, dtype.torch_name)
    return found


def from_bytes(data: NDArray[np.uint8], dtype: DType) -> Tensor:
    """Widen raw elements to float32.

    Args:
        data: (elements * bytes per element,) uint8, writable memory; float32 input is returned as a view of it.
        dtype: a floating element type. F64 is rounded to float32.

    Returns:
        (elements,) float32.
    """
    return torch.from_numpy(data).view(torch_dtype(dtype)).to(torch.float32)


def to_bytes(values: Tensor, dtype: DType, out: NDArray[np.uint8]) -> Tensor:
    """Round float32 elements once, to nearest even, into `out`.

    Args:
        values: float32, any shape, read in row-major order.
        dtype: floating element type to store.
        out: (elements * bytes per element,) uint8, filled.

    Returns:
        The stored elements, a view of `out`, (elements,) of that type.
    """
    stored = torch.from_numpy(out).view(torch_dtype(dtype))
    return stored.copy_(values.reshape(-1))


def first_non_finite(values: Tensor) -> int | None:
    """Return the flat index of the first NaN or infinite element, or None if all are finite. Any floating type."""
    flat = values.reshape(-1)
    finite = torch.isfinite(flat if flat.dtype.itemsize > 1 else flat.to(torch.float32))
    return None if bool(finite.all()) else int(finite.to(torch.uint8).argmin())


def first_lost(values: Tensor, stored: Tensor, dtype: DType) -> int | None:
    """Return the flat index of the first finite element that did not fit into what is stored, or None.

    Args:
        values: float32, before rounding.
        stored: what `to_bytes` made of them.
        dtype: its type.
    """
    finite = torch.isfinite(values).reshape(-1)
    if dtype.name == "F8_E4M3":  # torch stores 448 for all that is larger, where other types give NaN or infinity
        stored = values.masked_fill(values.abs() > E4M3_END, float("inf"))
    return first_non_finite(stored.reshape(-1).to(torch.float32).where(finite, 0.0))

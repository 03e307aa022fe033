"""Raw elements to float32, and back, without torch where numpy can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuvee.spec import DType
from cuvee.tensors.convert import from_bytes, to_bytes
from cuvee.tensors.framework import np, torch

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["narrowed", "widened"]


def widened(data: NDArray[np.uint8], dtype: DType) -> NDArray[np.float32]:
    """Widen raw elements to float32.

    Args:
        data: (elements * bytes per element,) uint8, writable memory; float32 input is returned as a view of it.
        dtype: a floating element type. F64 is rounded to float32.

    Returns:
        (elements,) float32.
    """
    if dtype.name == "F32":
        return data.view(np.float32)
    if dtype.name == "BF16":
        return np.left_shift(data.view(np.uint16), 16, dtype=np.uint32).view(np.float32)
    if dtype.name in ("F16", "F64"):
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 is infinite, which whoever merges refuses
            return data.view(np.float16 if dtype.name == "F16" else np.float64).astype(np.float32)
    values: NDArray[np.float32] = from_bytes(data, dtype).numpy()
    return values


def narrowed(values: NDArray[np.float32], dtype: DType) -> NDArray[np.uint8]:
    """Round float32 elements once, to nearest even.

    Args:
        values: (elements,) float32, contiguous.
        dtype: a floating element type. What is beyond it becomes infinite (the largest value in F8_E4M3).

    Returns:
        (elements * bytes per element,) uint8; a view of `values` if they are float32 already.
    """
    if dtype.name == "F32":
        return values.view(np.uint8)
    if dtype.name in ("F16", "F64"):
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float16 if dtype.name == "F16" else np.float64).view(np.uint8)
    out = np.empty(values.size * dtype.bits // 8, np.uint8)
    if dtype.name == "BF16":
        bits = values.view(np.uint32)
        half = 0x7FFF + (bits >> 16 & 1)  # ties go to the even one
        out.view(np.uint16)[:] = np.where(np.isnan(values), 0x7FC0, (bits + half) >> 16)
        return out
    to_bytes(torch.from_numpy(values), dtype, out)
    return out

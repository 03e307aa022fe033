"""Raw elements to float32 without torch, where numpy can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuvee.spec import DType
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["widened"]


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

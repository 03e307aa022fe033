"""Tensors before any change: the base's, or whole tensors of the adapter that take their place. Knows no change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.spec import Source, TensorSpec
from cuvee.tensors.framework import np
from cuvee.tensors.widen import widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Ground"]


class Ground:
    """What an adapter's changes start from.

    Args:
        base: the base.
        folder: the adapter.
        replaced: names of whole tensors, in the base's words, to the file's names for them.
    """

    def __init__(self, base: Source, folder: AdapterFolder, replaced: Mapping[str, str]) -> None:
        self._base, self._folder, self._replaced = base, folder, replaced

    def spec(self, name: str) -> TensorSpec:
        """Return the specification of a tensor."""
        stored = self._replaced.get(name)
        return self._base.header[name] if stored is None else self._folder.header[stored]

    def cost(self, name: str) -> int:
        """Return the bytes that reading the tensor takes."""
        return self._base.cost(name) if name not in self._replaced else self.spec(name).nbytes

    def locate(self, name: str) -> str:
        """Return where it is stored."""
        return self._base.locate(name) if name not in self._replaced else self._folder.file

    def read_into(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with bytes of a tensor. See `cuvee.spec.Source.read_into`."""
        stored = self._replaced.get(name)
        if stored is None:
            self._base.read_into(buffer, name, offset)
        else:
            self._folder.read_into(buffer, stored, offset)

    def floats(self, name: str, start: int, stop: int) -> NDArray[np.float64]:
        """Return elements `start` to `stop` of a tensor; the caller may change them."""
        dtype = self.spec(name).dtype
        each = dtype.bits // 8
        data = np.empty((stop - start) * each, np.uint8)
        self.read_into(data.data, name, start * each)
        return widened(data, dtype).astype(np.float64)

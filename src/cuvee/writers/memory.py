"""The sink that keeps what is written in memory, as torch tensors. torch is imported when a writer is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cuvee.spec import PAIRED
from cuvee.writers.account import Account
from cuvee.writers.shards import Entries

if TYPE_CHECKING:
    import torch

    from cuvee.spec import TensorSpec

__all__ = ["MemoryWriter"]


class MemoryWriter:
    """Collects written bytes into tensors on the CPU, allocated once: takes the memory of the output.

    Args:
        entries: name and specification of every tensor.

    Raises:
        AssertionError: torch has no such element type; nothing of that kind is merged.
    """

    stores = True

    def __init__(self, entries: Entries) -> None:
        import torch

        self._account = Account(entries)
        self._tensors: dict[str, torch.Tensor] = {}
        self._bytes: dict[str, memoryview] = {}
        for name, spec in entries:
            raw = torch.empty(spec.nbytes, dtype=torch.uint8)
            self._bytes[name] = raw.numpy().data
            self._tensors[name] = _seen_as(raw, name, spec)

    def write_at(self, name: str, offset: int, buffer: memoryview) -> None:
        """Store `buffer` at byte `offset` of the tensor. Any number of threads may do so at once.

        Raises:
            AssertionError: there is no such tensor, or the bytes lie outside it.
        """
        self._account.check(name, offset, buffer.nbytes)
        if buffer.nbytes:
            self._bytes[name][offset : offset + buffer.nbytes] = buffer.cast("B")
            self._account.enter(name, offset, buffer.nbytes)

    def keep(self, name: str, offset: int, nbytes: int) -> None:  # noqa: ARG002 - as every sink
        """Refuse: there is no earlier attempt in memory."""
        raise AssertionError(f"tensor '{name}' was not written before: an output in memory begins empty")

    def read_back(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with bytes of a tensor from byte `offset` on."""
        buffer[:] = self._bytes[name][offset : offset + len(buffer)]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return the tensors, in the order of the entries; not copied.

        Raises:
            AssertionError: some bytes were never written; names the tensors.
        """
        self._account.close("The output in memory")
        return self._tensors


def _seen_as(raw: torch.Tensor, name: str, spec: TensorSpec) -> torch.Tensor:
    """Return the bytes as a tensor of the specification."""
    import torch

    dtype = getattr(torch, spec.dtype.torch_name, None) if spec.dtype.torch_name else None
    shape = spec.shape
    is_paired = spec.dtype.torch_name == PAIRED
    if is_paired and shape:
        shape = (*shape[:-1], shape[-1] // 2)
    if dtype is None or (is_paired and (not shape or spec.shape[-1] % 2)):
        raise AssertionError(f"tensor '{name}': torch cannot hold {spec.dtype} of shape {spec.shape}")
    return raw.view(dtype).reshape(shape)

"""A state dict in memory as a Source.

torch is imported by the functions that need it. Nothing here changes or keeps more than references to the caller's
tensors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from cuvee.errors import SourceError, UnsupportedError
from cuvee.sources.named import NamedTensors
from cuvee.spec import BY_TORCH_NAME, PAIRED, TensorSpec

if TYPE_CHECKING:
    import torch

__all__ = ["Memory"]


class Memory(NamedTensors):
    """Named torch tensors, on any device, contiguous or not.

    Tensors are read where they are: a tensor that is not contiguous is gathered piece by piece as it is read, and one
    on a GPU is copied piece by piece, so that reading a block takes the memory of the block.

    Args:
        tensors: the state dict; must not change while it is read.
        reference: what to call it in messages.

    Attributes:
        shared: groups of names that are one tensor: same memory, shape, strides and element type; overlap is not
            enough.

    Raises:
        SourceError: an entry is not a named tensor.
        UnsupportedError: a tensor has no bytes (device ``meta``), is not dense, wraps others (quantised, distributed),
            or has an element type that safetensors lacks.
    """

    def __init__(self, tensors: Mapping[str, torch.Tensor], reference: str = "memory") -> None:
        specs = {name: _spec(reference, name, tensor) for name, tensor in tensors.items()}
        self._tensors = {name: tensor.detach() for name, tensor in tensors.items()}
        super().__init__(reference=reference, header=specs, shared=_shared_groups(self._tensors))
        self._closed = False

    def locate(self, name: str) -> str:
        """Return what the state dict is called.

        Raises:
            SourceError: there is no such tensor, or the source was closed.
        """
        self._tensor(name)
        return self.reference

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes, in row-major order, from byte `offset` on.

        See `cuvee.spec.Source.read_into`.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or the source was closed.
        """
        tensor = self._tensor(name)
        end = self._end(name, offset, buffer)
        if buffer.nbytes == 0:
            return
        target, width = buffer.cast("B"), tensor.element_size()
        # Whole elements that hold the bytes; those of the first that come before `offset` are skipped.
        skip, done = offset % width, 0
        for piece in _pieces(tensor, offset // width, -(-end // width)):
            data = _bytes_of(piece)[skip : skip + len(target) - done]
            target[done : done + len(data)] = data
            skip, done = 0, done + len(data)

    def close(self) -> None:
        """Let go of the tensors. Reading afterwards is an error."""
        self._closed = True
        self._tensors = {}

    def _tensor(self, name: str) -> torch.Tensor:
        if self._closed:
            raise SourceError(f"{self.reference}: tensor '{name}' cannot be read: the source was closed.")
        self._spec(name)
        return self._tensors[name]


def _spec(reference: str, name: object, tensor: object) -> TensorSpec:
    """Return a tensor's specification, or say why it cannot be read."""
    import torch

    where = f"{reference}: tensor {name!r}"
    if not isinstance(name, str):
        raise SourceError(f"{where}: its name is a {type(name).__name__}; expected text. Rename it.")
    if not isinstance(tensor, torch.Tensor):
        raise SourceError(
            f"{where} is a {type(tensor).__name__}; expected a torch tensor. Leave it out of the state dict."
        )
    if tensor.device.type == "meta":
        raise UnsupportedError(f"{where} is on device 'meta': it has a shape and no values. Load the weights first.")
    if hasattr(tensor, "__tensor_flatten__") or tensor.layout is not torch.strided:
        kind = f"{type(tensor).__name__}, {tensor.layout}"
        raise UnsupportedError(
            f"{where} is not a plain dense tensor ({kind}). Convert it first (dequantize, to_dense, full_tensor)."
        )
    torch_name = str(tensor.dtype).removeprefix("torch.")
    dtype = BY_TORCH_NAME.get(torch_name)
    if dtype is None or (torch_name == PAIRED and tensor.dim() == 0):
        raise UnsupportedError(
            f"{where} has element type {tensor.dtype}, which safetensors cannot hold. Convert it to one of "
            f"{', '.join(BY_TORCH_NAME)}."
        )
    shape = tuple(tensor.shape)
    return TensorSpec((*shape[:-1], 2 * shape[-1]) if torch_name == PAIRED else shape, dtype)


def _shared_groups(tensors: Mapping[str, torch.Tensor]) -> tuple[tuple[str, ...], ...]:
    groups: dict[object, list[str]] = {}
    for name, tensor in tensors.items():
        if tensor.numel():  # empty tensors all live at address 0
            key = (
                tensor.device,
                tensor.data_ptr(),
                tensor.dtype,
                tensor.shape,
                tensor.stride(),
                tensor.is_conj(),
                tensor.is_neg(),
            )
            groups.setdefault(key, []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _pieces(tensor: torch.Tensor, start: int, stop: int) -> Iterator[torch.Tensor]:
    """Yield tensors that, laid end to end in row-major order, are elements `start` to `stop` of `tensor`, at least one.

    At most two partial rows per axis, and whole rows between them: nothing larger than what was asked for is ever
    copied.
    """
    if tensor.is_contiguous():
        yield tensor.reshape(-1)[start:stop]
        return
    row = tensor[0].numel()
    first, last = -(-start // row), stop // row  # whole rows
    if first > last:  # begins and ends within one row
        yield from _pieces(tensor[last], start - last * row, stop - last * row)
        return
    if start < first * row:
        yield from _pieces(tensor[first - 1], start - (first - 1) * row, row)
    if first < last:
        yield tensor[first:last]
    if last * row < stop:
        yield from _pieces(tensor[last], 0, stop - last * row)


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    import torch

    # Conjugation and negation may be flags that the bytes do not show.
    plain = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    # Not reshape(-1): it keeps any stride of a single element, which no other element type can be seen through.
    return plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data

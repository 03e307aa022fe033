"""A state dict written as a checkpoint, in one call. torch is imported when it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cuvee.errors import OutputError
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import DEFAULT_SHARD_BYTES

if TYPE_CHECKING:
    import torch

__all__ = ["save_state_dict"]

DTYPES_BY_TORCH_NAME = {dtype.torch_name: dtype for dtype in DTYPES.values() if dtype.torch_name}
# Packs two elements of four bits per byte, and counts pairs in its shape.
PAIRED = "float4_e2m1fn_x2"


def save_state_dict(
    path: str | os.PathLike[str],
    tensors: Mapping[str, torch.Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    overwrite: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a state dict as safetensors files. The tensors are not changed.

    Names that are one tensor (same memory, shape, strides and element type) are written once, under the first of them,
    as save_pretrained does; the metadata then maps each other name to that one, as safetensors' own `save_model` has
    it.

    Args:
        path: folder, or file ending in ``.safetensors``.
        tensors: the state dict; on any device, contiguous or not.
        metadata: free text for the header of each file.
        shard_bytes: limit of the data of one file, in bytes.
        overwrite: replace a checkpoint that stands there.
        files: more files for the folder, by name, such as ``config.json``.

    Raises:
        OutputError: a tensor cannot be stored, or the output cannot be written; nothing of it is left.
    """
    import torch

    entries = {name: _spec(name, tensor) for name, tensor in tensors.items()}
    first: dict[object, str] = {}
    tied = {}
    for name, tensor in tensors.items():
        kept = first.setdefault(_identity(name, tensor), name)
        if kept != name:
            tied[name] = kept
            del entries[name]
    with SafetensorsWriter(
        path, list(entries.items()), shard_bytes, {**tied, **(metadata or {})}, overwrite=overwrite
    ) as writer:
        for name in entries:
            plain = tensors[name].detach().resolve_conj().resolve_neg().cpu().contiguous()
            writer.write_at(name, 0, plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data)
        for name, data in (files or {}).items():
            writer.add_file(name, data)


def _identity(name: str, tensor: torch.Tensor) -> object:
    if not tensor.numel():  # empty tensors all live at address 0
        return name
    return (
        tensor.device,
        tensor.data_ptr(),
        tensor.dtype,
        tensor.shape,
        tensor.stride(),
        tensor.is_conj(),
        tensor.is_neg(),
    )


def _spec(name: str, tensor: object) -> TensorSpec:
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise OutputError(f"Tensor '{name}' is a {type(tensor).__name__}; expected a torch tensor.")
    torch_name = str(tensor.dtype).removeprefix("torch.")
    is_plain = tensor.layout is torch.strided and not hasattr(tensor, "__tensor_flatten__")
    has_type = torch_name in DTYPES_BY_TORCH_NAME and not (torch_name == PAIRED and tensor.dim() == 0)
    if not (is_plain and has_type) or tensor.device.type == "meta":
        raise OutputError(
            f"Tensor '{name}' ({tensor.dtype}, {tensor.layout}, on {tensor.device}) cannot be stored in the "
            f"safetensors format; expected a dense tensor with values, of type {', '.join(DTYPES_BY_TORCH_NAME)}."
        )
    shape = tuple(tensor.shape)
    if torch_name == PAIRED:
        shape = (*shape[:-1], 2 * shape[-1])
    return TensorSpec(shape, DTYPES_BY_TORCH_NAME[torch_name])

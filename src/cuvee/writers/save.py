"""A state dict written as a checkpoint, in one call."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cuvee.sources.memory import Memory
from cuvee.spec import DEFAULT_SHARD_BYTES
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement

if TYPE_CHECKING:
    import torch

__all__ = ["save_state_dict"]

BLOCK_BYTES = 16 << 20


def save_state_dict(
    path: str | os.PathLike[str],
    tensors: "Mapping[str, torch.Tensor]",
    metadata: Mapping[str, str] | None = None,
    *,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    overwrite: bool = False,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write a state dict as safetensors files. The tensors are not changed, and never copied whole.

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
        SourceError: a tensor cannot be stored in the format; names it.
        OutputError: the output cannot be written; nothing of it is left.
    """
    source = Memory(tensors, "the state dict")
    tied = {name: first for first, *others in source.shared for name in others}
    entries = [(name, spec) for name, spec in source.header.items() if name not in tied]
    arrangement, said = Arrangement(shard_bytes=shard_bytes), {**tied, **(metadata or {})}
    with SafetensorsWriter(path, entries, arrangement, said, overwrite=overwrite) as writer:
        for name, spec in entries:
            for offset in range(0, spec.nbytes, BLOCK_BYTES):
                block = memoryview(bytearray(min(BLOCK_BYTES, spec.nbytes - offset)))
                source.read_into(block, name, offset)
                writer.write_at(name, offset, block)
        for name, data in (files or {}).items():
            writer.add_file(name, data)

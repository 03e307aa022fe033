"""Small checkpoints, and ways to spoil them."""

import json
import shutil
from pathlib import Path

import torch

from cuvee.writers.save import save_state_dict

TENSORS = {
    "model.embed_tokens.weight": (4, 2),
    "model.layers.0.mlp.weight": (3, 5),
    "model.layers.1.mlp.weight": (3, 5),
    "model.norm.weight": (2,),
}
WEIGHT = "model.layers.1.mlp.weight"
State = dict[str, torch.Tensor]


def state(seed: int, **changed: torch.Tensor) -> State:
    """A small model; double underscores in a name stand for dots."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in TENSORS.items()}
    return tensors | {name.replace("__", "."): tensor for name, tensor in changed.items()}


def write_file(path: Path, table: object, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file with any header and data."""
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)


def spoil(folder: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    """Put a value at flat index 7 of one weight of a checkpoint."""
    tensors = {key: tensor.to(dtype) for key, tensor in state(["base", "a", "b"].index(name)).items()}
    tensors[WEIGHT].reshape(-1)[7] = value
    shutil.rmtree(folder / name)
    save_state_dict(folder / name, tensors)

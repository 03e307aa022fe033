"""Checkpoints as a judge reads them: every tensor in memory, experts packed, layers found by name."""

import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

__all__ = ["Tensors", "layer_of", "load", "num_layers", "packed"]

Tensors = Mapping[str, Tensor]

LAYER = re.compile(r"^(.*?\.)(\d+)\.(.*)$")
OLD_EXPERT = re.compile(r"^(.*)\.block_sparse_moe\.experts\.(\d+)\.(w[123])\.weight$")
EXPERT = re.compile(r"^(.*\.mlp)\.experts\.(\d+)\.(gate|up|down)_proj\.weight$")
KINDS = {"w1": "gate", "w3": "up", "w2": "down"}


def load(folder: Path) -> Tensors:
    """Read all tensors of a checkpoint, its experts packed."""
    return packed(_files(str(folder), max((file.stat().st_mtime_ns for file in folder.iterdir()), default=0)))


def packed(tensors: Tensors) -> Tensors:
    """Pack experts that lie one by one, as they lie in memory: gate above up, experts along the first axis."""
    found: dict[str, dict[int, dict[str, Tensor]]] = {}
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if match := OLD_EXPERT.match(name):
            found.setdefault(f"{match[1]}.mlp", {}).setdefault(int(match[2]), {})[KINDS[match[3]]] = tensor
        elif match := EXPERT.match(name):
            found.setdefault(match[1], {}).setdefault(int(match[2]), {})[match[3]] = tensor
        else:
            result[name.replace(".block_sparse_moe.", ".mlp.")] = tensor
    for stem, experts in found.items():
        inner = [experts[index] for index in sorted(experts)]
        result[f"{stem}.experts.gate_up_proj"] = torch.stack([torch.cat([one["gate"], one["up"]]) for one in inner])
        result[f"{stem}.experts.down_proj"] = torch.stack([one["down"] for one in inner])
    return result


def layer_of(name: str) -> tuple[str, int, str] | None:
    """Split a name into the stack's name, the layer and the rest; None outside layers."""
    match = LAYER.match(name)
    return (match[1], int(match[2]), match[3]) if match else None


def num_layers(tensors: Tensors, stack: str) -> int:
    """Count the layers of a stack."""
    found = [place[1] for name in tensors if (place := layer_of(name)) and place[0] == stack]
    return max(found, default=-1) + 1


@lru_cache(maxsize=32)
def _files(folder: str, stamp: int) -> Tensors:
    assert stamp >= 0
    return {name: each for file in sorted(Path(folder).glob("*.safetensors")) for name, each in load_file(file).items()}

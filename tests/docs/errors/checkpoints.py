"""Checkpoints that scenarios spoil, and what opens them."""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

import cuvee
from cuvee.spec import Source
from docs.errors.scenarios import Place

__all__ = ["SHARDS", "checkpoint", "listed", "opened", "read", "refuse_to_open", "shards"]

SHARDS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


def opened(place: Place, reference: Any) -> Source:
    """Open a source; it is closed when the scenario is over."""
    source = cuvee.open_source(reference)
    place.stack.callback(source.close)
    return source


def read(source: Source, name: str) -> None:
    """Read a tensor."""
    source.read_into(memoryview(bytearray(source.header[name].nbytes)), name)


def checkpoint(folder: Path, **tensors: torch.Tensor) -> Path:
    """Make a folder with one weight file; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors or {"w": torch.ones(2, 2), "v": torch.zeros(3)}, folder / "model.safetensors")
    return folder


def shards(folder: Path) -> Path:
    """Make a folder with two weight files, of one tensor each, and their index; return it."""
    folder.mkdir()
    for name, file in zip("ab", SHARDS, strict=True):
        safetensors.torch.save_file({name: torch.ones(2)}, folder / file)
    listed(folder, {"a": SHARDS[0], "b": SHARDS[1]})
    return folder


def listed(folder: Path, weight_map: object) -> None:
    """Write an index."""
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def refuse_to_open(place: Place, name: str) -> None:
    """Let the system refuse to open files of a name, as it refuses those of somebody else."""
    open_path = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied", str(path))
        return open_path(path, *arguments, **options)

    place.patch.setattr(Path, "open", refuse)

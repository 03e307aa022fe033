"""Models for a hub and for the cache of what was downloaded from one."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from cuvee.spec import Source

SHARDS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
Opened = Callable[[str], Source]
CARD = b"---\nlicense: mit\n---\n"


def read(source: Source, name: str) -> bytes:
    buffer = bytearray(source.header[name].nbytes)
    source.read_into(memoryview(buffer), name)
    return bytes(buffer)


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a": torch.full((4, 4), value), "b": torch.full((3,), -value)}


def single(value: float = 1.0) -> dict[str, bytes]:
    return {
        "config.json": b'{"hidden_size": 4}',
        "README.md": CARD,
        "model.safetensors": safetensors.torch.save(weights(value)),
    }


def sharded() -> dict[str, bytes]:
    parts = {file: {name: tensor} for file, (name, tensor) in zip(SHARDS, weights().items(), strict=True)}
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    return {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{file: safetensors.torch.save(part) for file, part in parts.items()},
    }


def empty_cache(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    """Let the folder of downloads be one below `folder`, with nothing in it; there is no token."""
    from huggingface_hub import constants

    patch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    patch.delenv("HF_TOKEN", raising=False)
    return folder / "cache"


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session, constants

    close_session()  # a connection that is open would still be used
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def put_in_cache(cache: Path, files: dict[str, bytes], commit: str = "a" * 40, branch: str | None = "main") -> Path:
    """Lay a model out as huggingface_hub does; return the folder of the commit."""
    folder = cache / "models--org--model"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "blobs").mkdir(exist_ok=True)
    for number, (name, data) in enumerate(files.items()):
        (folder / "blobs" / f"{commit[:8]}{number}").write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{commit[:8]}{number}")
    if branch:
        (folder / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / branch).write_text(commit)
    return snapshot

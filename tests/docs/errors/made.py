"""Models for scenarios to merge."""

import json
from collections.abc import Mapping
from typing import Any

import torch

import cuvee
from bad_input.checkpoints import State, state
from cuvee.writers.save import save_state_dict
from docs.errors.scenarios import Place

__all__ = ["merge", "models", "planned", "save"]

CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"]}


def models(place: Place, **changed: State) -> None:
    """Save the checkpoints base, a and b, or others in their place."""
    for seed, name in enumerate(("base", "a", "b")):
        save(place, name, changed.get(name, state(seed)))


def save(place: Place, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
    """Save one checkpoint, with a configuration."""
    save_state_dict(place.folder / name, tensors, files={"config.json": json.dumps(CONFIG).encode()})


def merge(out: str = "out", method: str = "linear", **keys: Any) -> None:
    """Merge the checkpoints a and b; `overwrite`, `limits` and `progress` are of the merge, all else of the recipe."""
    options = {key: keys.pop(key) for key in ("overwrite", "limits", "progress") if key in keys}
    cuvee.merge({"cuvee": 1, "method": method, "models": {"a": "a", "b": "b"}, **keys}, out, **options)


def planned(method: str = "linear", **keys: Any) -> None:
    """Plan a merge of the checkpoints a and b."""
    cuvee.plan({"cuvee": 1, "method": method, "models": {"a": "a", "b": "b"}, **keys})

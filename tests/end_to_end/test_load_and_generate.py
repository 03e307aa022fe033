"""A merged checkpoint is a checkpoint: transformers finds every weight in it and no other, and it runs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cuvee
from cuvee.methods.declare import Method
from end_to_end.recipes import each_method, recipe_for
from models import FAMILIES, ONE_FILE, SHARDS, TOKENS, load, outputs

SHAPES = [(family, tied) for family in FAMILIES for tied in (True, False) if tied or family != "t5"]  # T5 always ties
each_shape = pytest.mark.parametrize(
    ("family", "tied"), SHAPES, ids=[f"{family}-{'tied' if tied else 'untied'}" for family, tied in SHAPES]
)
"""A family, and whether its head is tied."""
each_storage = pytest.mark.parametrize(
    ("dtype", "max_shard_size"),
    [(torch.float32, ONE_FILE), (torch.bfloat16, SHARDS)],
    ids=["float32-one-file", "bfloat16-shards"],
)
"""Element type, and how the inputs are stored."""


def assert_runs(family: str, folder: Path, dtype: torch.dtype) -> None:
    """Load a checkpoint, look at its logits, and let it write a few tokens."""
    model = load(family, folder)
    assert model.dtype == dtype
    assert outputs(model).isfinite().all()
    if FAMILIES[family].generates:
        written = model.generate(TOKENS, max_new_tokens=4, min_new_tokens=4, do_sample=False)
        assert written.shape[0] == len(TOKENS)
        assert written.shape[1] >= 4


@each_storage
@each_shape
def test_merged_checkpoint_of_every_family_loads_and_generates(
    family: str, tied: bool, dtype: torch.dtype, max_shard_size: str, checkpoint: Any, tmp_path: Path
) -> None:
    storage = {"tied": tied, "dtype": dtype, "max_shard_size": max_shard_size}
    base, *experts = (str(checkpoint(family, expert=i, **storage)) for i in range(3))
    recipe = {"cuvee": 1, "method": "ties", "models": experts, "base": base, "parameters": {"density": 0.5}}
    cuvee.merge(recipe, tmp_path / "out")
    assert_runs(family, tmp_path / "out", dtype)


@each_storage
@each_method
def test_merged_checkpoint_of_every_method_loads_and_generates(
    method: Method, dtype: torch.dtype, max_shard_size: str, checkpoint: Any, tmp_path: Path
) -> None:
    storage = {"tied": dtype == torch.bfloat16, "dtype": dtype, "max_shard_size": max_shard_size}
    base, *experts = (checkpoint("llama", expert=i, **storage) for i in range(4))
    cuvee.merge(recipe_for(method, experts, base), tmp_path / "out")
    assert_runs("llama", tmp_path / "out", dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@each_method
def test_identity_recipe_gives_back_equal_weights(
    method: Method, dtype: torch.dtype, checkpoint: Any, tmp_path: Path
) -> None:
    base, model = (checkpoint("qwen3", tied=True, dtype=dtype, expert=i) for i in range(2))
    recipe = recipe_for(method, [model] * 3, base)
    recipe["parameters"] = dict(method.identity(len(recipe["models"])))
    cuvee.merge(recipe, tmp_path / "out")
    assert_same_weights(tmp_path / "out", model, exactly=dtype == torch.bfloat16)


@each_method
def test_identity_recipe_gives_back_the_same_answers(method: Method, checkpoint: Any, tmp_path: Path) -> None:
    base, model = (checkpoint("bert", tied=False, expert=i) for i in range(2))
    recipe = recipe_for(method, [model] * 3, base)
    recipe["parameters"] = dict(method.identity(len(recipe["models"])))
    cuvee.merge(recipe, tmp_path / "out")
    torch.testing.assert_close(
        outputs(load("bert", tmp_path / "out")), outputs(load("bert", model)), rtol=1e-4, atol=1e-5
    )


def assert_same_weights(merged: Path, model: Path, *, exactly: bool) -> None:
    """Compare two checkpoints of one file. In bfloat16, float32 arithmetic on equal models leaves no trace."""
    one, other = (load_file(folder / "model.safetensors") for folder in (merged, model))
    assert one.keys() == other.keys()
    tolerance: Mapping[str, float] = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-6, "atol": 1e-7}
    for name, tensor in other.items():
        torch.testing.assert_close(one[name], tensor, **tolerance, msg=lambda text, name=name: f"{name}: {text}")

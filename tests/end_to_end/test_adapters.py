"""Merges of bases with adapters: what peft would merge first, and then we, comes out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file

import cuvee
from cuvee.plan.limits import Limits
from sources.adapter.adapters import MODELS, make

DTYPES = [torch.float32, torch.bfloat16]
MODULES = {"llama": ["q_proj", "down_proj", "embed_tokens"], "gpt2": ["c_attn", "c_proj"]}


@pytest.fixture(scope="module", params=MODULES)
def family(request: pytest.FixtureRequest) -> str:
    """Return a family of models."""
    name: str = request.param
    return name


def pair(folder: Path, family: str, dtype: torch.dtype) -> tuple[Path, Path]:
    """Make two adapters, one of them with magnitudes, on one base."""
    for number in (0, 1):
        config = LoraConfig(target_modules=MODULES[family], r=4, lora_alpha=6, use_dora=bool(number))
        make(folder / f"{number}", MODELS[family], config, dtype=dtype, seed=3)
    bases = [load_file(folder / f"{number}" / "base" / "model.safetensors") for number in (0, 1)]
    assert all(torch.equal(bases[0][name], bases[1][name]) for name in bases[0])
    return folder / "0", folder / "1"


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint."""
    return load_file(path / "model.safetensors")


@pytest.mark.parametrize("method", ["linear", "task_arithmetic"])
def test_merging_adapters_is_merging_what_peft_merged(method: str, family: str, tmp_path: Path) -> None:
    first, second = pair(tmp_path, family, torch.float32)
    recipe: dict[str, Any] = {"cuvee": 1, "method": method, "parameters": {"weight": [0.75, 0.5]}}
    if method == "task_arithmetic":
        recipe["base"] = first / "base"
    adapted = {"a": f"{first}/base+{first}/adapter", "b": f"{second}/base+{second}/adapter"}
    cuvee.merge({**recipe, "models": adapted}, tmp_path / "adapted")
    cuvee.merge({**recipe, "models": {"a": first / "merged", "b": second / "merged"}}, tmp_path / "merged")
    found, expected = weights(tmp_path / "adapted"), weights(tmp_path / "merged")
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        atol = 2.0**-19 * float(tensor.abs().max())
        torch.testing.assert_close(found[name], tensor, rtol=2.0**-20, atol=atol, msg=lambda t, n=name: f"{n}: {t}")


def test_half_precision_is_rounded_once_and_at_the_end(family: str, tmp_path: Path) -> None:
    """peft's merge is made in float32 and kept so; the mean of both, rounded once, is what we write as bfloat16."""
    first, second = pair(tmp_path, family, torch.bfloat16)
    models = [f"{first}/base+{first}/adapter", f"{second}/base+{second}/adapter"]
    recipe = {"cuvee": 1, "method": "linear", "models": models}
    assert cuvee.plan(recipe).warnings == ()
    cuvee.merge(recipe, tmp_path / "out")
    found = weights(tmp_path / "out")
    merged = [weights(folder / "merged") for folder in (first, second)]
    apart = 0
    for name, tensor in found.items():
        assert tensor.dtype is torch.bfloat16
        expected = ((merged[0][name].double() + merged[1][name].double()) / 2).to(torch.bfloat16)
        torch.testing.assert_close(tensor, expected, rtol=2.0**-7, atol=1e-7)
        apart += int((tensor != expected).sum())
    assert apart <= 3  # where peft's float32 lies on the other side of the middle between two numbers


@pytest.mark.parametrize("limits", [Limits(workers=1), Limits(workers=4, block_bytes=1000)], ids=str)
def test_bytes_do_not_depend_on_blocks_and_workers(limits: Limits, tmp_path: Path) -> None:
    first, second = pair(tmp_path, "llama", torch.bfloat16)
    models = [f"{first}/base+{first}/adapter", f"{second}/base+{second}/adapter"]
    recipe = {"cuvee": 1, "method": "ties", "models": models, "base": first / "base", "parameters": {"density": 0.4}}
    cuvee.merge(recipe, tmp_path / "one")
    cuvee.merge(recipe, tmp_path / "two", limits=limits)
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_copying_an_adapted_base_writes_what_peft_merges(tmp_path: Path) -> None:
    first, _ = pair(tmp_path, "llama", torch.float32)
    cuvee.merge({"cuvee": 1, "method": "copy", "models": [f"{first}/base+{first}/adapter"]}, tmp_path / "out")
    expected, found = weights(first / "merged"), weights(tmp_path / "out")
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=2.0**-22, atol=2.0**-20 * float(tensor.abs().max()))


def test_references_are_relative_to_the_recipe(tmp_path: Path) -> None:
    first, _ = pair(tmp_path, "llama", torch.float32)
    recipe = first / "recipe.yaml"
    recipe.write_text("cuvee: 1\nmethod: linear\nmodels: [base+adapter, base]\n")
    cuvee.merge(recipe, tmp_path / "out")
    name = "model.layers.0.self_attn.q_proj.weight"
    expected = (weights(first / "base")[name].double() + weights(first / "merged")[name].double()) / 2
    torch.testing.assert_close(weights(tmp_path / "out")[name].double(), expected, rtol=2.0**-20, atol=1e-7)

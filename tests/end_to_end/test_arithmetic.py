"""What is in a merged checkpoint, computed a second time from the loaded models: in float64, rounded once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from cuvee.plan.limits import Limits
from end_to_end.uneven import assert_same_bytes, merged
from models import FAMILIES, SHARDS, TOKENS, build, load, outputs

Weights = dict[str, torch.Tensor]
each_family = pytest.mark.parametrize("family", ["llama", "bert", "t5"])
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def combined(models: Sequence[Weights], combine: Callable[..., torch.Tensor], dtype: torch.dtype) -> Weights:
    """Combine the weights of equal name in float64, and round once. (T5 holds some weights in float32 once loaded.)"""
    return {
        name: combine(*(model[name].double() for model in models)).to(dtype).to(tensor.dtype)
        for name, tensor in models[0].items()
    }


def assert_weights(merged: Weights, expected: Weights, dtype: torch.dtype) -> None:
    """Compare. Sums of a few half-precision numbers with binary factors are exact in float32: no bit may differ."""
    rtol, atol = (0, 0) if dtype.itemsize == 2 else (2**-21, 2**-26)
    assert merged.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(merged[name], tensor, rtol=rtol, atol=atol, msg=lambda t, n=name: f"{n}: {t}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each_family
def test_linear_is_the_weighted_average_of_the_loaded_models(
    family: str, dtype: torch.dtype, checkpoint: Any, tmp_path: Path
) -> None:
    folders = [checkpoint(family, tied=True, dtype=dtype, expert=i, max_shard_size=SHARDS) for i in range(3)]
    parameters = {"weight": [0.25, 0.5, 1.25]}
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders, "parameters": parameters}, tmp_path / "out")
    models = [load(family, folder).state_dict() for folder in folders]
    expected = combined(models, lambda a, b, c: 0.125 * a + 0.25 * b + 0.625 * c, dtype)
    assert_weights(load(family, tmp_path / "out").state_dict(), expected, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@each_family
def test_task_arithmetic_adds_the_differences_of_the_loaded_models(
    family: str, dtype: torch.dtype, checkpoint: Any, tmp_path: Path
) -> None:
    base, *experts = (checkpoint(family, tied=True, dtype=dtype, expert=i) for i in range(3))
    recipe = {"cuvee": 1, "method": "task_arithmetic", "models": experts, "base": base}
    cuvee.merge({**recipe, "parameters": {"weight": [1.5, -0.5], "scale": 0.5}}, tmp_path / "out")
    models = [load(family, folder).state_dict() for folder in (base, *experts)]
    expected = combined(models, lambda b, one, two: b + 0.75 * (one - b) - 0.25 * (two - b), dtype)
    assert_weights(load(family, tmp_path / "out").state_dict(), expected, dtype)


def test_linear_of_models_in_two_types_is_rounded_to_the_wider_one(checkpoint: Any, tmp_path: Path) -> None:
    dtypes = (torch.bfloat16, torch.float32)
    folders = [checkpoint("llama", tied=False, dtype=dtype, expert=i) for i, dtype in enumerate(dtypes)]
    report = cuvee.merge({"cuvee": 1, "method": "linear", "models": folders}, tmp_path / "out")
    assert any("different types (BF16, F32); written as F32" in note for note in report.notes)
    merged = load("llama", tmp_path / "out")
    assert merged.dtype == torch.float32  # although the donor's configuration said bfloat16
    models = [load("llama", folder).state_dict() for folder in folders]
    assert_weights(merged.state_dict(), combined(models[::-1], lambda a, b: (a + b) / 2, torch.float32), torch.float32)


def test_merged_logits_are_those_of_the_averaged_model(checkpoint: Any, tmp_path: Path) -> None:
    folders = [checkpoint("qwen3", tied=True, expert=i) for i in range(2)]
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders}, tmp_path / "out")
    averaged = build("qwen3", tied=True)
    with torch.no_grad():
        for parameter, other in zip(
            averaged.parameters(), build("qwen3", tied=True, expert=1).parameters(), strict=True
        ):
            parameter.add_(other).div_(2)
    merged = load("qwen3", tmp_path / "out")
    torch.testing.assert_close(outputs(merged), outputs(averaged), rtol=1e-5, atol=1e-6)
    written = merged.generate(TOKENS, max_new_tokens=5, do_sample=False)
    assert written.equal(averaged.generate(TOKENS, max_new_tokens=5, do_sample=False))


@pytest.mark.parametrize("family", FAMILIES)
def test_state_dicts_of_models_merge_in_memory_and_load_back(family: str) -> None:
    models = [build(family, tied=True, expert=i) for i in range(3)]
    merged = cuvee.merge_state_dicts("linear", [model.state_dict() for model in models])
    fresh = build(family, tied=True)
    assert fresh.load_state_dict(merged) == torch.nn.modules.module._IncompatibleKeys([], [])
    expected = combined([model.state_dict() for model in models], lambda a, b, c: (a + b + c) / 3, torch.float32)
    assert_weights(fresh.state_dict(), expected, torch.float32)
    assert fresh.get_output_embeddings().weight is fresh.get_input_embeddings().weight
    names = FAMILIES[family]
    assert merged[names.head].data_ptr() == merged[names.embedding].data_ptr()


@pytest.mark.parametrize("method", ["slerp", "mlerp"])
def test_whole_model_takes_weights_and_task_vectors_apart(method: str) -> None:
    """Where a rule changes the space for some tensors, angles of the two kinds have nothing to say to each other."""
    generator = torch.Generator().manual_seed(0)
    names = ("a.weight", "b.weight")
    base = {name: torch.randn(50, generator=generator) for name in names}
    models = [{n: t + torch.randn(50, generator=generator) for n, t in base.items()} for _ in range(2)]
    recipe = {"cuvee": 1, "method": method, "models": models, "base": base, "parameters": {"scope": "model"}}
    rule = {"match": "b.weight", "parameters": {"vectors": "task"}}
    together = merged({**recipe, "tensors": [rule]}, Limits())
    for skipped, kept in (names, names[::-1]):
        alone = merged({**recipe, "tensors": [{"match": skipped, "skip": True}, rule]}, Limits())
        assert_same_bytes(alone, {kept: together[kept]})

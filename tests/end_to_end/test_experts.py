"""Mixtures of experts saved one by one and packed are merged with each other, and the result is a model."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.execute.verify import verify
from models import TOKENS, VOCABULARY

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
}
CONFIGS = {
    "mixtral": lambda: transformers.MixtralConfig(**SIZES, num_local_experts=3),
    "qwen3-moe": lambda: transformers.Qwen3MoeConfig(
        **SIZES, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=12, head_dim=8
    ),
}
FIRST = {
    "mixtral": "model.layers.0.block_sparse_moe.experts.0.w1.weight",
    "qwen3-moe": "model.layers.0.mlp.experts.0.gate_proj.weight",
}


def build(family: str, seed: int) -> Any:
    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[family]()).eval()


def save(model: Any, folder: Path, *, packed: bool) -> str:
    """Save a model one expert at a time, as transformers does by default, or as it holds them."""
    model.save_pretrained(folder, save_original_format=not packed)
    return str(folder)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(TOKENS).logits
    return found


def loaded(folder: Path) -> Any:
    """Load a checkpoint; every weight must be found, and no other."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not {what: names for what, names in info.items() if names}
    return model.eval()


def names(folder: Path) -> list[str]:
    return list(load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("first", ["packed", "one by one"])
@pytest.mark.parametrize("family", CONFIGS)
def test_layouts_are_merged_with_each_other(family: str, first: str, tmp_path: Path) -> None:
    one, two = build(family, 1), build(family, 2)
    models = {
        "one": save(one, tmp_path / "one", packed=first == "packed"),
        "two": save(two, tmp_path / "two", packed=first != "packed"),
    }
    assert (FIRST[family] in names(tmp_path / "one")) == (first != "packed")
    recipe = {"cuvee": 1, "method": "linear", "models": models, "parameters": {"weight": {"one": 0.25, "two": 0.75}}}
    label = "one" if first != "packed" else "two"
    note = f"Experts stored one by one are read packed, as another model stores them: models '{label}'."
    assert note in cuvee.plan(recipe).warnings
    out = tmp_path / "out"
    cuvee.merge(recipe, out)
    assert note in json.loads((out / "cuvee.json").read_text())["notes"]
    assert "model.layers.0.mlp.experts.gate_up_proj" in names(out)
    other, merged = two.state_dict(), build(family, 3)
    merged.load_state_dict({name: 0.25 * own + 0.75 * other[name] for name, own in one.state_dict().items()})
    torch.testing.assert_close(logits(loaded(out)), logits(merged), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("family", CONFIGS)
def test_models_of_one_layout_stay_in_it(family: str, packed: bool, tmp_path: Path) -> None:
    models = [save(build(family, i), tmp_path / f"m{i}", packed=packed) for i in range(2)]
    plan = cuvee.plan({"cuvee": 1, "method": "linear", "models": models})
    assert set(plan.outputs[0]) == set(names(tmp_path / "m0"))
    assert not any("xperts" in note for note in plan.warnings)


@pytest.mark.parametrize("dtype", [None, "bfloat16"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_packed_merge_verifies_and_a_change_of_one_expert_is_found(
    family: str, dtype: str | None, tmp_path: Path
) -> None:
    models = [save(build(family, i), tmp_path / f"m{i}", packed=False) for i in range(2)]
    read = {"experts": "packed"} | ({"dtype": dtype} if dtype else {})
    out = tmp_path / "out"
    cuvee.merge({"cuvee": 1, "method": "slerp", "models": models, "parameters": {"t": 0.4}, "input": read}, out)
    assert "model.layers.1.mlp.experts.down_proj" in names(out)
    record = json.loads((out / "cuvee.json").read_text())
    assert record["recipe"]["input"] == read
    assert record["inputs"]["m0"]["unused"] == []
    found = verify(out, replay=True)
    assert [each.part for each in found] == ["output", "m0", "m1", "replay"]
    assert {each.state for each in found} == {"same"}, found
    file = tmp_path / "m1" / "model.safetensors"
    tensors = load_file(file)
    tensors[FIRST[family].replace("experts.0", "experts.2")][1, 1] += 0.5
    save_file(tensors, file, metadata={"format": "pt"})
    states = {each.part: each.state for each in verify(out, replay=True)}
    assert states == {"output": "same", "m0": "same", "m1": "changed", "replay": "changed"}


def test_experts_that_no_rule_reads_are_unused(tmp_path: Path) -> None:
    family = "qwen3-moe"
    models = [save(build(family, i), tmp_path / f"m{i}", packed=bool(i)) for i in range(2)]
    cuvee.merge(
        {"cuvee": 1, "method": "linear", "models": models, "tensors": [{"match": "*gate_up_proj", "copy": "m1"}]},
        tmp_path / "out",
    )
    unused = json.loads((tmp_path / "out" / "cuvee.json").read_text())["inputs"]["m0"]["unused"]
    parts = {name for name in names(tmp_path / "m0") if "gate_proj" in name or "up_proj" in name}
    assert set(unused) == parts
    assert {each.state for each in verify(tmp_path / "out", replay=True)} == {"same"}


def test_tensors_merged_from_fewer_models_are_noted() -> None:
    some, one = torch.ones(2, 2), torch.zeros(2, 2)
    models = {
        "a": {"x": some, "only_b": some, "both": some},
        "b": {"only_b": one, "both": one},
        "c": {"x": one, "both": some},
    }
    del models["a"]["only_b"]
    recipe = {"cuvee": 1, "method": "linear", "models": models, "input": {"missing": "present"}}
    assert (
        "2 tensors merged without the models that lack them: x, only_b ('b' lacks 1, 'a' lacks 1, 'c' lacks 1)."
        in cuvee.plan(recipe).warnings
    )
    whole = {label: {"both": state["both"]} for label, state in models.items()}
    assert not any("lack" in note for note in cuvee.plan(recipe | {"models": whole}).warnings)

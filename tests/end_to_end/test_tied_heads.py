"""Models of one architecture, with the head tied to the embedding in some and not in others."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cuvee
from models import FAMILIES, load, outputs

each_family = pytest.mark.parametrize("family", ["llama", "qwen2", "gpt2", "bert"])
each_order = pytest.mark.parametrize("order", [(True, False), (False, True)], ids=["tied-first", "untied-first"])
"""Whether each of two models is tied; the first lends its configuration."""


def linear(folders: list[Path]) -> dict[str, Any]:
    return {"cuvee": 1, "method": "linear", "models": folders, "parameters": {"weight": [0.75, 0.25]}}


@each_order
@each_family
def test_plan_says_that_a_head_is_tied_in_some_models_only(
    family: str, order: tuple[bool, bool], checkpoint: Any
) -> None:
    folders = [checkpoint(family, tied=tied, expert=i) for i, tied in enumerate(order)]
    plan = cuvee.plan(linear(folders))
    (warning,) = [text for text in plan.warnings if "tied in some models only, so written on their own" in text]
    assert FAMILIES[family].head in warning
    assert FAMILIES[family].head in plan.outputs[0]


@each_order
@each_family
def test_head_of_a_tied_and_an_untied_model_is_merged_and_loads_untied(
    family: str, order: tuple[bool, bool], checkpoint: Any, tmp_path: Path
) -> None:
    folders = [checkpoint(family, tied=tied, expert=i) for i, tied in enumerate(order)]
    cuvee.merge(linear(folders), tmp_path / "out")
    first, second = (load(family, folder) for folder in folders)
    merged = load(family, tmp_path / "out")
    assert not merged.config.tie_word_embeddings
    assert not torch.equal(merged.get_output_embeddings().weight, merged.get_input_embeddings().weight)
    for take in (type(merged).get_output_embeddings, type(merged).get_input_embeddings):
        expected = 0.75 * take(first).weight.double() + 0.25 * take(second).weight.double()
        torch.testing.assert_close(take(merged).weight, expected.float(), rtol=1e-6, atol=1e-8)
    assert outputs(merged).isfinite().all()


@each_family
def test_head_tied_in_every_model_is_stored_once(family: str, checkpoint: Any, tmp_path: Path) -> None:
    folders = [checkpoint(family, tied=True, expert=i) for i in range(2)]
    assert cuvee.plan(linear(folders)).warnings == ()
    cuvee.merge(linear(folders), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert stored.keys() == load_file(folders[0] / "model.safetensors").keys()
    assert FAMILIES[family].head not in stored
    merged = load(family, tmp_path / "out")
    assert merged.config.tie_word_embeddings
    assert merged.get_output_embeddings().weight is merged.get_input_embeddings().weight


@each_family
def test_head_untied_in_every_model_stays_untied(family: str, checkpoint: Any, tmp_path: Path) -> None:
    folders = [checkpoint(family, tied=False, expert=i) for i in range(2)]
    cuvee.merge(linear(folders), tmp_path / "out")
    merged, models = load(family, tmp_path / "out"), [load(family, folder) for folder in folders]
    heads = [model.get_output_embeddings().weight.double() for model in models]
    expected = (0.75 * heads[0] + 0.25 * heads[1]).float()
    torch.testing.assert_close(merged.get_output_embeddings().weight, expected, rtol=1e-6, atol=1e-8)
    assert not torch.equal(merged.get_output_embeddings().weight, merged.get_input_embeddings().weight)


def test_base_that_is_tied_gives_its_embedding_to_untied_experts(checkpoint: Any, tmp_path: Path) -> None:
    base = checkpoint("llama", tied=True)
    experts = [checkpoint("llama", tied=False, expert=i) for i in (1, 2)]
    recipe = {"cuvee": 1, "method": "task_arithmetic", "models": experts, "base": base, "parameters": {"scale": 0.5}}
    cuvee.merge(recipe, tmp_path / "out")
    merged = load("llama", tmp_path / "out")
    embedding = load("llama", base).model.embed_tokens.weight.double()
    heads = [load("llama", expert).lm_head.weight.double() for expert in experts]
    expected = embedding + 0.5 * sum(head - embedding for head in heads)
    torch.testing.assert_close(merged.lm_head.weight, expected.float(), rtol=1e-5, atol=1e-7)


def test_rule_for_the_embedding_holds_for_the_tied_head(checkpoint: Any, tmp_path: Path) -> None:
    folders = [checkpoint("llama", tied=True, expert=i) for i in range(2)]
    rule = {"match": "model.embed_tokens.weight", "copy": "m1"}
    report = cuvee.merge({**linear(folders), "tensors": [rule]}, tmp_path / "out")
    assert not any("lm_head" in note for note in report.notes)
    merged, second = load("llama", tmp_path / "out"), load("llama", folders[1])
    assert merged.lm_head.weight.equal(second.lm_head.weight)

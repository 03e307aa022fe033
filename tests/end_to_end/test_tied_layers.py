"""Layers of models of which some tie the head to the embedding: the head follows the last slice, and is not lost."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

import cuvee
from models import load, outputs

each_pair = pytest.mark.parametrize(
    ("first", "last"),
    list(product((True, False), repeat=2)),
    ids=lambda tied: "tied" if tied else "untied",
)
"""Whether the models of the first and of the last slice tie the head to the embedding."""


def assembled(first: Any, last: Any, head: torch.Tensor) -> torch.Tensor:
    """Return the logits of an untied model of the two layers of one model and the second of another."""
    own, other = first.state_dict(), last.state_dict()
    state = {name: value for name, value in own.items() if not name.startswith(("lm_head", "model.norm"))}
    state |= {
        name.replace(".1.", ".2."): value for name, value in other.items() if name.startswith("model.layers.1.")
    } | {"model.norm.weight": other["model.norm.weight"], "lm_head.weight": head}
    config = LlamaConfig(**{**first.config.to_dict(), "num_hidden_layers": 3, "tie_word_embeddings": False})
    model = LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    return outputs(model)


@each_pair
def test_head_of_layers_of_two_models_is_that_of_the_last_one(
    first: bool, last: bool, checkpoint: Any, tmp_path: Path
) -> None:
    """Where no model has a head of its own, the output has none either: its head is its embedding."""
    one, other = checkpoint("llama", tied=first, expert=1), checkpoint("llama", tied=last, expert=2)
    layers = [{"take": {"one": [0, 2]}}, {"take": {"other": [1, 2]}}]
    recipe = {"cuvee": 1, "method": "copy", "models": {"one": one, "other": other}, "layers": layers}
    cuvee.merge(recipe, tmp_path / "out")
    merged, models = load("llama", tmp_path / "out"), (load("llama", one), load("llama", other))
    head = models[0 if first and last else 1].get_output_embeddings().weight
    assert merged.config.tie_word_embeddings == (first and last)
    torch.testing.assert_close(outputs(merged), assembled(*models, head))


@each_pair
def test_head_of_merged_layers_is_merged_as_the_last_slice_says(
    first: bool, last: bool, checkpoint: Any, tmp_path: Path
) -> None:
    folders = {
        "one": checkpoint("llama", tied=first, expert=1),
        "other": checkpoint("llama", tied=last, expert=2),
        "third": checkpoint("llama", tied=False, expert=3),
    }
    layers = [{"take": {"one": [0, 1], "third": [0, 1]}}, {"take": {"other": [1, 2], "third": [1, 2]}}]
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders, "layers": layers}, tmp_path / "out")
    merged, models = load("llama", tmp_path / "out"), {label: load("llama", at) for label, at in folders.items()}
    for weight, label in (("get_input_embeddings", "one"), ("get_output_embeddings", "other")):
        parts = [getattr(models[each], weight)().weight.double() for each in (label, "third")]
        expected = ((parts[0] + parts[1]) / 2).float()
        torch.testing.assert_close(getattr(merged, weight)().weight, expected, rtol=1e-6, atol=1e-8)
    assert not merged.config.tie_word_embeddings


def test_layers_of_one_tied_model_stay_tied_beside_an_untied_one(checkpoint: Any, tmp_path: Path) -> None:
    """What ends as it begins has the head of a tied model, whatever stands between."""
    folders = {"one": checkpoint("llama", tied=True, expert=1), "other": checkpoint("llama", tied=False, expert=2)}
    layers = [{"take": {label: [0, 1]}} for label in ("one", "other", "one")]
    cuvee.merge({"cuvee": 1, "method": "copy", "models": folders, "layers": layers}, tmp_path / "out")
    merged, one = load("llama", tmp_path / "out"), load("llama", folders["one"])
    assert merged.config.tie_word_embeddings
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    assert torch.equal(merged.lm_head.weight, one.lm_head.weight)


def test_rule_for_the_head_holds_where_another_model_has_a_head_of_its_own(checkpoint: Any, tmp_path: Path) -> None:
    folders = {"tied": checkpoint("llama", tied=True, expert=1), "untied": checkpoint("llama", tied=False, expert=2)}
    rules = [
        {"match": "lm_head.weight", "models": ["tied"]},
        {"match": "model.embed_tokens.weight", "models": ["untied"]},
    ]
    recipe = {"cuvee": 1, "method": "linear", "models": folders, "tensors": rules}
    report = cuvee.merge(recipe, tmp_path / "out")
    merged, models = load("llama", tmp_path / "out"), {label: load("llama", at) for label, at in folders.items()}
    assert torch.equal(merged.lm_head.weight, models["tied"].model.embed_tokens.weight)
    assert torch.equal(merged.model.embed_tokens.weight, models["untied"].model.embed_tokens.weight)
    assert not merged.config.tie_word_embeddings
    assert not any("follows its rule" in note for note in report.notes)


def test_tied_base_that_lends_only_its_configuration_is_untied(checkpoint: Any, tmp_path: Path) -> None:
    base = checkpoint("llama", tied=True)
    experts = [checkpoint("llama", tied=False, expert=i) for i in (1, 2)]
    cuvee.merge({"cuvee": 1, "method": "linear", "models": experts, "base": base}, tmp_path / "out")
    merged, models = load("llama", tmp_path / "out"), [load("llama", at) for at in experts]
    expected = sum(model.lm_head.weight.double() for model in models) / 2
    torch.testing.assert_close(merged.lm_head.weight, expected.float(), rtol=1e-6, atol=1e-8)
    assert not merged.config.tie_word_embeddings

"""Layers put together anew: which tensor comes from where, what the configuration says, and that the result loads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    Qwen2Config,
    T5Config,
    T5ForConditionalGeneration,
)

import cuvee
from cuvee.errors import PlanError

UP = "model.layers.{}.mlp.up_proj.weight"
SMALL: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 32,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models `a`, of four layers, and `b`, of six."""
    folder = tmp_path_factory.mktemp("layers")
    for label, count in (("a", 4), ("b", 6)):
        torch.manual_seed(count)
        config = LlamaConfig(num_hidden_layers=count, **SMALL)
        LlamaForCausalLM(config).save_pretrained(folder / label)
    return folder


def merge(folder: Path, out: Path, layers: Any, **more: Any) -> dict[str, torch.Tensor]:
    models = {label: str(folder / label) for label in ("a", "b")}
    cuvee.merge({"cuvee": 1, "method": "copy", "models": models, "layers": layers, **more}, out)
    return load_file(out / "model.safetensors")


def test_every_layer_comes_from_where_the_slices_say_and_the_model_runs(folder: Path, tmp_path: Path) -> None:
    a, b = (load_file(folder / label / "model.safetensors") for label in ("a", "b"))
    made = merge(folder, tmp_path / "out", [{"take": {"a": [0, 3]}}, {"take": {"b": [1, 5]}}, {"take": {"a": [1, 2]}}])
    origins = [(a, 0), (a, 1), (a, 2), (b, 1), (b, 2), (b, 3), (b, 4), (a, 1)]
    assert sum(name.endswith("mlp.up_proj.weight") for name in made) == len(origins)
    for k, (model, i) in enumerate(origins):
        for rest in ("mlp.up_proj.weight", "self_attn.q_proj.weight", "input_layernorm.weight"):
            assert torch.equal(made[f"model.layers.{k}.{rest}"], model[f"model.layers.{i}.{rest}"])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 8
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.isfinite(loaded(torch.tensor([[1, 2, 3]])).logits).all()


def test_tensors_before_the_layers_follow_the_first_slice_and_those_after_them_the_last(
    folder: Path, tmp_path: Path
) -> None:
    a, b = (load_file(folder / label / "model.safetensors") for label in ("a", "b"))
    made = merge(folder, tmp_path / "out", [{"take": {"b": [0, 2]}}, {"take": {"a": [0, 2]}}])
    assert torch.equal(made["model.embed_tokens.weight"], b["model.embed_tokens.weight"])
    assert torch.equal(made["lm_head.weight"], a["lm_head.weight"])
    ends = [{"take": {"a": [0, 0]}}, {"take": {"b": [0, 2]}}, {"take": {"b": [0, 0]}}]
    made = merge(folder, tmp_path / "ends", ends)
    assert torch.equal(made["model.embed_tokens.weight"], a["model.embed_tokens.weight"])
    assert torch.equal(made["lm_head.weight"], b["lm_head.weight"])


def test_values_over_depth_go_along_each_slice_and_names_are_the_models_own(folder: Path, tmp_path: Path) -> None:
    a, b = (load_file(folder / label / "model.safetensors") for label in ("a", "b"))
    weight = {"a": {"over_depth": [1, 0]}, "b": {"by_name": {"*layers.4.*": 3.0, "*": 1.0}}}
    slices = [{"take": {"a": [1, 4], "b": [3, 6]}, "parameters": {"weight": weight, "normalize": False}}]
    made = merge(folder, tmp_path / "out", slices, method="linear")
    for k, (one, other) in enumerate([(1.0, 1.0), (0.5, 3.0), (0.0, 1.0)]):
        expected = one * a[UP.format(k + 1)] + other * b[UP.format(k + 3)]
        torch.testing.assert_close(made[UP.format(k)], expected)


def test_task_vectors_of_a_slice_are_taken_from_its_base(folder: Path, tmp_path: Path) -> None:
    a, b = (load_file(folder / label / "model.safetensors") for label in ("a", "b"))
    slices = [{"take": {"a": [0, 2], "b": [4, 6]}, "base": "b", "parameters": {"weight": 0.25}}]
    made = merge(folder, tmp_path / "out", slices, method="task_arithmetic")
    torch.testing.assert_close(made[UP.format(1)], b[UP.format(5)] + 0.25 * (a[UP.format(1)] - b[UP.format(5)]))


def test_what_is_listed_for_each_layer_is_put_together_too(folder: Path, tmp_path: Path) -> None:
    types = ["full_attention", "sliding_attention", "full_attention", "full_attention"]
    sliding = {"layer_types": types, "use_sliding_window": True, "sliding_window": 4}
    config = Qwen2Config(num_hidden_layers=4, **SMALL, **sliding)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "a")
    layers = [{"take": {"a": [1, 3]}}, {"take": {"a": [1, 2]}}]
    models = {"a": str(tmp_path / "a")}
    cuvee.merge({"cuvee": 1, "method": "copy", "models": models, "layers": layers}, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["layer_types"] == ["sliding_attention", "full_attention", "sliding_attention"]
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_one_of_two_stacks_is_named_and_the_other_stays(tmp_path: Path) -> None:
    config = T5Config(vocab_size=32, d_model=16, d_kv=4, d_ff=24, num_layers=3, num_decoder_layers=2, num_heads=4)
    model = T5ForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "a")
    recipe = {"cuvee": 1, "method": "copy", "models": {"a": str(tmp_path / "a")}}
    cuvee.merge({**recipe, "layers": {"encoder.block": [{"take": {"a": [0, 2]}}]}}, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (written["num_layers"], written["num_decoder_layers"]) == (2, 2)
    T5ForConditionalGeneration.from_pretrained(tmp_path / "out")
    with pytest.raises(PlanError, match=r"several stacks of layers: decoder\.block, encoder\.block"):
        cuvee.plan({**recipe, "layers": [{"take": {"a": [0, 2]}}]})


def test_text_layers_of_a_model_that_sees_are_counted_in_their_part_and_the_head_follows_them(tmp_path: Path) -> None:
    size = {"num_hidden_layers": 3, "hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    config = LlavaConfig(
        text_config={"model_type": "llama", **SMALL, "num_hidden_layers": 3},
        vision_config={"model_type": "clip_vision_model", **size, "image_size": 8, "patch_size": 4},
        image_token_index=31,
    )
    models = {}
    for label in ("a", "b"):
        models[label] = LlavaForConditionalGeneration(config)
        models[label].save_pretrained(tmp_path / label)
    layers = {"*language_model*": [{"take": {"a": [0, 2]}}, {"take": {"b": [1, 3]}}]}
    recipe = {"cuvee": 1, "method": "copy", "models": {label: str(tmp_path / label) for label in models}}
    with pytest.raises(PlanError, match=r"method 'copy' takes 1 model at most, and here are a, b"):
        cuvee.plan({**recipe, "layers": layers})
    rules = [{"match": ["*vision*", "*projector*"], "copy": "a"}]
    cuvee.merge({**recipe, "layers": layers, "tensors": rules}, tmp_path / "out")
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert [written[part]["num_hidden_layers"] for part in ("text_config", "vision_config")] == [4, 3]
    made, info = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    text, one, other = (each.model.language_model for each in (made, models["a"], models["b"]))
    origins = [one.layers[0], one.layers[1], other.layers[1], other.layers[2]]
    for layer, origin in zip(text.layers, origins, strict=True):
        assert torch.equal(layer.mlp.up_proj.weight, origin.mlp.up_proj.weight)
    assert torch.equal(made.lm_head.weight, models["b"].lm_head.weight)
    assert torch.equal(text.embed_tokens.weight, one.embed_tokens.weight)


def test_layers_that_are_not_taken_are_named(folder: Path) -> None:
    models = {label: str(folder / label) for label in ("a", "b")}
    recipe = {
        "cuvee": 1,
        "method": "copy",
        "models": models,
        "layers": [{"take": {"a": [0, 2]}}, {"take": {"b": [2, 3]}}],
    }
    warnings = cuvee.plan(recipe).warnings
    assert "layers 2-3 of 'a' in 'model.layers' are not taken." in warnings
    assert "layers 0-1, 3-5 of 'b' in 'model.layers' are not taken." in warnings


def test_models_of_two_depths_are_no_models_with_missing_tensors(folder: Path) -> None:
    models = {label: str(folder / label) for label in ("a", "b")}
    with pytest.raises(PlanError, match=r"'b' has 6 layers in 'model\.layers', and 'a' 4"):
        cuvee.plan({"cuvee": 1, "method": "linear", "models": models, "input": {"missing": "present"}})

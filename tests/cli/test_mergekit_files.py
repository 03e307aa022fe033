"""Configurations of mergekit on the command line: where their paths lead."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cuvee.writers.save import save_state_dict

CONFIG = "merge_method: linear\nmodels:\n- model: a\n- model: b\nparameters: {weight: 1}\n"
CHAIN = "name: one\nmerge_method: passthrough\nmodels: [{model: a}]\n---\n" + CONFIG.replace("model: a", "model: one")


def digest(out: str) -> str:
    return hashlib.sha256(Path(out, "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("config", [CONFIG, CHAIN])
def test_a_converted_configuration_merges_alike_wherever_it_lands(config: str, cuvee: Any, models: Path) -> None:
    (models / "mk.yml").write_text(config)
    (models / "deep").mkdir()
    assert cuvee("merge", "mk.yml", "--out", "expected").code == 0
    (models / "deep" / "printed.yaml").write_text(cuvee("convert", "mk.yml").out)
    answer = cuvee("convert", "mk.yml", "--out", "deep/written.yaml")
    assert (answer.code, answer.out, answer.err) == (0, "", "Wrote deep/written.yaml.\n")
    for name in ("printed", "written"):
        assert cuvee("merge", f"deep/{name}.yaml", "--out", name).code == 0
        assert digest(name) == digest("expected")


def test_paths_are_printed_absolute_and_written_relative_and_names_on_the_hub_stay(cuvee: Any, models: Path) -> None:
    (models / "mk.yml").write_text(CONFIG.replace("model: b", "model: b+a") + "base_model: o/n@v1\n")
    (models / "deep").mkdir()
    printed = yaml.safe_load(cuvee("convert", "mk.yml").out)["models"]
    assert printed["a"] == str(models / "a")
    assert printed["b-a"] == f"{models / 'b'}+{models / 'a'}"
    assert cuvee("convert", "mk.yml", "--out", "deep/r.yaml").code == 0
    written = yaml.safe_load((models / "deep" / "r.yaml").read_text())
    assert written["models"]["b-a"] == "../b+../a"
    assert "o/n@v1" in [written.get("base"), *written["models"].values()]


def test_convert_replaces_no_file(cuvee: Any, models: Path) -> None:
    (models / "mk.yml").write_text(CONFIG)
    answer = cuvee("convert", "mk.yml", "--out", "mk.yml")
    assert (answer.code, answer.err) == (1, "cuvee: mk.yml: the recipe cannot be written: File exists.\n")
    assert (models / "mk.yml").read_text() == CONFIG


def test_a_model_that_is_not_in_the_current_folder_is_said_where_it_was_looked_for(
    cuvee: Any, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "mk.yml").write_text(CONFIG)
    (models / "other").mkdir()
    monkeypatch.chdir(models / "other")
    said = cuvee("plan", "../mk.yml").err
    assert f"relative to the current folder, '{models / 'other'}'. From the configuration's folder" in said
    monkeypatch.chdir(models)
    (models / "mk.yml").write_text(CONFIG.replace("model: b", "model: nowhere"))
    assert "current folder" not in cuvee("plan", "mk.yml").err


def test_advice_that_only_a_recipe_can_follow_says_how_to_come_by_one(cuvee: Any, models: Path) -> None:
    save_state_dict(models / "x", {"w": torch.zeros(2)})
    save_state_dict(models / "y", {"w": torch.zeros(3)})
    (models / "mk.yml").write_text(CONFIG.replace("model: a", "model: x").replace("model: b", "model: y"))
    assert "shapes differ" in cuvee("plan", "mk.yml").err
    assert "`cuvee convert` makes a recipe" in cuvee("plan", "mk.yml").err
    assert cuvee("convert", "mk.yml", "--out", "r.yaml").code == 0
    assert "cuvee convert" not in cuvee("plan", "r.yaml").err


def test_advice_for_a_weight_that_is_not_finite_says_how_to_come_by_a_recipe(cuvee: Any, models: Path) -> None:
    save_state_dict(models / "b", {"w": torch.tensor([float("nan")])}, overwrite=True)
    save_state_dict(models / "a", {"w": torch.tensor([1.0])}, overwrite=True)
    (models / "mk.yml").write_text(CONFIG)
    answer = cuvee("merge", "mk.yml", "--out", "out")
    assert answer.code == 1
    assert answer.err.endswith("This is of mk.yml. `cuvee convert` makes a recipe of it, which can have rules.\n")
    (models / "recipe.yaml").write_text(cuvee("convert", "mk.yml").out)
    assert "This is of" not in cuvee("merge", "recipe.yaml", "--out", "out").err


def test_seed_and_size_of_files_can_be_said_beside_the_file(cuvee: Any, models: Path) -> None:
    random = CONFIG.replace("linear", "dare_linear\nbase_model: c").replace("weight: 1", "weight: 1, density: 0.5")
    (models / "mk.yml").write_text(random)
    save_state_dict("c", {"w": torch.zeros(8, 8), "v": torch.zeros(8, 8)})
    for name in "ab":
        save_state_dict(name, {"w": torch.ones(8, 8), "v": torch.ones(8, 8)}, overwrite=True)
    for out, *options in (("zero",), ("one", "--seed", "1"), ("again", "--seed", "1")):
        assert cuvee("merge", "mk.yml", "--out", out, *options).code == 0
    assert digest("one") == digest("again") != digest("zero")
    assert json.loads(Path("one", "cuvee.json").read_text())["recipe"]["seed"] == 1
    assert cuvee("merge", "mk.yml", "--out", "small", "--shard-size", "300").code == 0
    assert len(list(Path("small").glob("*.safetensors"))) == 2
    answer = cuvee("merge", "mk.yml", "--out", "wrong", "--shard-size", "much")
    assert (answer.code, Path("wrong").exists()) == (2, False)
    assert "shard_size is 'much'" in answer.err


def test_nothing_is_said_of_rules_that_only_the_translation_has(cuvee: Any, models: Path) -> None:
    modules = {name: {"models": [{"model": each} for each in "ab"]} for name in ("shared", "encoder", "decoder")}
    config = {"merge_method": "linear", "modules": modules, "parameters": {"weight": 1}}
    (models / "mk.yml").write_text(yaml.safe_dump(config))
    tensors = {f"{side}.block.0.weight": torch.ones(2, 2) for side in ("encoder", "decoder")}
    for name in "ab":
        save_state_dict(name, {"shared.weight": torch.ones(3, 2), **tensors}, overwrite=True)
    answer = cuvee("plan", "mk.yml")
    assert answer.code == 0
    assert "no effect" not in answer.out + answer.err
    assert "no embeddings" not in answer.out + answer.err
    assert cuvee("convert", "mk.yml", "--out", "r.yaml").code == 0
    answer = cuvee("plan", "r.yaml")
    assert "no effect" in answer.out + answer.err


@pytest.mark.parametrize("rest", [["out"], ["out", "--out", "there"]])
def test_the_output_as_a_second_argument_is_answered_with_the_option(cuvee: Any, models: Path, rest: list[str]) -> None:
    (models / "mk.yml").write_text(CONFIG)
    answer = cuvee("merge", "mk.yml", *rest)
    assert (answer.code, Path("out").exists()) == (2, False)
    assert "Write: cuvee merge RECIPE --out FOLDER." in answer.err
    assert "--out" not in cuvee("plan").err


def test_a_part_that_modules_do_not_mention_is_named_and_what_the_model_lacks_then(cuvee: Any, models: Path) -> None:
    modules = {name: {"models": [{"model": each} for each in "ab"]} for name in ("encoder", "decoder")}
    config = {"merge_method": "linear", "modules": modules, "parameters": {"weight": 1}}
    (models / "mk.yml").write_text(yaml.safe_dump(config))
    tensors = {f"{side}.block.0.weight": torch.ones(2, 2) for side in ("encoder", "decoder")}
    tensors["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] = torch.ones(4, 2)
    for name in "ab":
        files = {"config.json": b'{"model_type": "t5"}'}
        save_state_dict(name, {"shared.weight": torch.ones(3, 2), **tensors}, files=files, overwrite=True)
    said = " ".join(cuvee("plan", "mk.yml").out.split())
    assert "1 tensor left out, as they belong to none of the parts in 'modules': shared.weight." in said
    assert "The merge will have no embeddings, which are left out: shared.weight." in said

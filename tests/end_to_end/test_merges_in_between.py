"""A merge that another uses writes no files, and still everything is as if it had: configuration, record, card."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import cuvee
from cuvee.cli import main
from cuvee.errors import RecipeError
from cuvee.recipe.recipe import Recipe
from cuvee.writers.save import save_state_dict
from sources.adapter.adapters import MODELS, make

WEIGHTS = "model.safetensors"
PAIR: dict[str, Any] = {"method": "linear", "models": ["0/base", "m1"]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A base with two adapters on it, and a model like it; in a folder with a plus in its name, too."""
    place = tmp_path / "plain"
    for number in (0, 1):
        config = LoraConfig(target_modules=["q_proj", "down_proj"], r=4, lora_alpha=6)
        make(place / f"{number}", MODELS["llama"], config, dtype=torch.bfloat16, seed=3)
    base = load_file(place / "0" / "base" / WEIGHTS)
    generator = torch.Generator().manual_seed(5)
    near = {name: t + (0.05 * torch.randn(t.shape, generator=generator)).to(t.dtype) for name, t in base.items()}
    save_state_dict(place / "m1", near)
    shutil.copy(place / "0" / "base" / "config.json", place / "m1")
    shutil.copytree(place, tmp_path / "x+y")
    monkeypatch.chdir(place)
    return tmp_path


def beside(out: str) -> dict[str, bytes]:
    """Return the files beside the weights, but the card and the record, which tell how it was merged."""
    return {
        path.name: path.read_bytes()
        for path in Path(out).iterdir()
        if path.name not in (WEIGHTS, "README.md", "cuvee.json")
    }


def weights(out: str) -> dict[str, bytes]:
    read = load_file(Path(out, WEIGHTS)).items()
    return {name: t.contiguous().view(torch.uint8).numpy().tobytes() for name, t in read}


def states(out: str) -> set[str]:
    return {each.state for each in cuvee.verify(out, replay=True)}


def front(out: str) -> dict[str, Any]:
    return yaml.safe_load(Path(out, "README.md").read_text().split("---")[1])


STACK = {
    "method": "linear",
    "models": {"a": "0/base", "b": "m1"},
    "layers": [{"take": {"a": [0, 2]}}, {"take": {"b": [0, 1]}}],
    "output": {"dtype": "float16"},
}


@pytest.mark.parametrize(
    "outer",
    [
        {"method": "linear", "models": ["INNER"]},
        {"method": "linear", "models": [{"model": "INNER", "adapters": ["0/adapter"]}]},
        {"method": "ties", "models": [{"model": "INNER", "adapters": ["0/adapter"]}], "base": "INNER"},
        {"method": "linear", "models": ["INNER"], "output": {"dtype": "float32"}},
    ],
    ids=["alone", "with an adapter", "as base", "of another type"],
)
@pytest.mark.usefixtures("folder")
def test_layers_put_together_in_between_are_in_the_configuration(outer: dict[str, Any]) -> None:
    def filled(inner: object) -> dict[str, Any]:
        return json.loads(json.dumps({"cuvee": 1, **outer}).replace('"INNER"', json.dumps(inner)))

    cuvee.merge({"cuvee": 1, **STACK}, "between")
    cuvee.merge(filled("between"), "twice")
    cuvee.merge(filled(STACK), "at-once")
    assert weights("at-once") == weights("twice")
    assert beside("at-once") == beside("twice")
    assert json.loads(Path("at-once/config.json").read_text())["num_hidden_layers"] == 3
    assert states("at-once") == {"same"}
    model = AutoModelForCausalLM.from_pretrained("at-once")
    assert {f"{name}" for name, _ in model.named_parameters()} >= weights("at-once").keys() - {"lm_head.weight"}


@pytest.mark.usefixtures("folder")
def test_an_inner_recipe_writes_no_files_however_it_is_given() -> None:
    inner = Recipe.from_mapping({"cuvee": 1, **PAIR, "output": {"dtype": "bfloat16", "shard_size": "20KB"}})
    named = {"cuvee": 1, "recipes": {"a": inner.to_mapping(), "b": {"method": "linear", "models": ["a+0/adapter"]}}}
    del named["recipes"]["a"]["cuvee"]  # type: ignore[attr-defined]
    for recipe in (
        named,
        {"cuvee": 1, "method": "linear", "models": [inner]},
        {"cuvee": 1, "method": "linear", "models": [{"model": inner, "adapters": ["0/adapter"]}]},
    ):
        with pytest.raises(RecipeError, match="stands for a model writes no files"):
            cuvee.merge(recipe, "out")


@pytest.mark.usefixtures("folder")
def test_two_ways_to_write_a_model_with_adapters_are_one_recipe() -> None:
    """And so is the recipe that the record has: merged again, it gives the same file."""
    for out, model in (("text", "0/base+0/adapter"), ("full", {"model": "0/base", "adapters": ["0/adapter"]})):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": [model, "m1"]}, out)
    recorded = json.loads(Path("full/cuvee.json").read_text())["recipe"]
    cuvee.merge(recorded, "again")
    files = [Path(out, WEIGHTS).read_bytes() for out in ("text", "full", "again")]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize(("adapter", "most"), [("", 25), ("+0/adapter", 17)])
@pytest.mark.usefixtures("folder")
def test_adapters_take_no_level_of_recipes(adapter: str, most: int) -> None:
    """What is too deep is what could not be read back: up to there, it can."""

    def chain(length: int) -> dict[str, Any]:
        links = [f"r{i - 1}{adapter}" if i else "0/base" for i in range(length)]
        return {
            "cuvee": 1,
            "recipes": {f"r{i}": {"method": "linear", "models": [each, "m1"]} for i, each in enumerate(links)},
        }

    recipe = Recipe.of(chain(1)["recipes"]["r0"] | {"cuvee": 1})
    Path("deep.yaml").write_text(yaml.safe_dump(chain(most)))
    cuvee.merge("deep.yaml", "out")
    Path("back.yaml").write_text(yaml.safe_dump(json.loads(Path("out/cuvee.json").read_text())["recipe"]))
    assert Recipe.load("back.yaml").method == recipe.method
    Path("deeper.yaml").write_text(yaml.safe_dump(chain(most + 1)))
    with pytest.raises(RecipeError, match="more than 24 levels of recipes stand within this one, or 16"):
        cuvee.merge("deeper.yaml", "deeper")


def licence(folder: str, name: str) -> None:
    Path(folder, "README.md").write_text(f"---\nlicense: {name}\n---\n")


@pytest.mark.usefixtures("folder")
def test_a_licence_is_stated_if_all_that_went_in_has_it() -> None:
    for place in ("0/base", "m1", "0/adapter"):
        licence(place, "mit")
    within = {"method": "linear", "models": [{"model": "0/base", "adapters": ["0/adapter"]}, "m1"]}
    recipe = {"cuvee": 1, "method": "linear", "models": [within, "0/base"]}
    cuvee.merge(recipe, "out")
    assert front("out")["license"] == "mit"
    licence("0/adapter", "cc-by-nc-4.0")
    cuvee.merge(recipe, "out", overwrite=True)
    assert "license" not in front("out")
    record = json.loads(Path("out/cuvee.json").read_text())
    adapters = record["inputs"]["m0"]["inputs"]["m0"]["adapters"]
    assert [each["licence"] for each in adapters] == ["cc-by-nc-4.0"]
    assert any("licences differ" in note and "0/adapter' cc-by-nc-4.0" in note for note in record["notes"])
    assert record["inputs"]["m0"]["licence"] is None


@pytest.mark.usefixtures("folder")
def test_a_licence_of_one_that_states_none_is_not_known() -> None:
    licence("0/base", "mit")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["0/base+0/adapter"]}, "out")
    assert "license" not in front("out")


def test_paths_with_a_plus_are_converted_and_replayed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "x+y")
    Path("mk.yml").write_text(
        "merge_method: linear\nparameters: {weight: 1}\nmodels:\n- model: 0/base+0/adapter\n- model: m1\n"
    )
    cuvee.merge("mk.yml", "out")
    for recipe in ("native.yaml", "../plain/native.yaml"):
        monkeypatch.setattr("sys.argv", ["cuvee", "convert", "mk.yml", "--out", recipe])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        cuvee.merge(recipe, "native", overwrite=True)
        assert weights("native") == weights("out")
    assert states("out") == {"same"}


@pytest.mark.parametrize(
    ("models", "base"),
    [
        (["0/base+0/adapter", "0/base+1/adapter"], None),
        ([{"model": "../x+y/0/base", "adapters": ["0/adapter"]}, "0/base+1/adapter"], "../x+y/0/base"),
        (
            [{"model": "../x+y/0/base", "adapters": ["0/adapter", each]} for each in ("0/adapter", "1/adapter")],
            {"model": "../x+y/0/base", "adapters": ["0/adapter"]},
        ),
    ],
    ids=["text", "in full", "a base with an adapter"],
)
def test_adapters_merged_as_adapters_are_replayed(
    models: list[Any], base: object, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "x+y")
    recipe = {"cuvee": 1, "method": "task_arithmetic", "models": models, "output": {"adapter": True, "rank": 8}}
    cuvee.merge({**recipe, **({} if base is None else {"base": base})}, "out")
    assert states("out") == {"same"}
    record = json.loads(Path("out/cuvee.json").read_text())
    assert "WithAdapters" not in json.dumps(record)
    assert json.loads(Path("out/adapter_config.json").read_text())["base_model_name_or_path"]


@pytest.mark.usefixtures("folder")
def test_what_was_in_memory_under_an_adapter_is_said_to_have_been() -> None:
    state = load_file(Path("0/base", WEIGHTS))
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [{"model": state, "adapters": ["0/adapter"]}]}, "out")
    found = {each.part: (each.state, each.text) for each in cuvee.verify("out", replay=True)}
    assert found["m0"][0] == found["replay"][0] == "unknown"
    assert "held in memory was 'm0'" in found["replay"][1]


@pytest.mark.usefixtures("folder")
def test_a_path_in_full_is_looked_for_as_it_is() -> None:
    Path("sub/ba+se").mkdir(parents=True)
    Path("sub/c.yml").write_text(
        "merge_method: linear\nparameters: {weight: 1}\n"
        "models:\n- model: {model: {path: ba+se}, lora: {path: 0/adapter}}\n"
    )
    with pytest.raises(cuvee.errors.SourceError, match=r"'ba\+se' is not a local folder") as caught:
        cuvee.merge("sub/c.yml", "out")
    assert "From the configuration's folder there is such a path" in str(caught.value)

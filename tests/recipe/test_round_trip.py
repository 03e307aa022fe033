"""A recipe means the same after it was written and read: every feature, every odd text."""

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuvee.errors import OutputError, RecipeError
from cuvee.recipe.parameters import OverDepth
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule
from cuvee.sources.open import open_source
from strategies import recipes

few = settings(max_examples=25)  # the first test looks at many


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("recipes")


@given(recipe=recipes())
@example(recipe=Recipe(method="linear", models={"1e5": "1e-3", "010": "010", "true": "null", "-": "~", ".5": "1:30"}))
@example(recipe=Recipe(method="linear", models=["a\x85b", "a\u2028b", "\ufeff", "line\nbreak\ttab"]))
@example(recipe=Recipe(method="linear", models=["2020-01-01", "*", "&x", "# no comment"], base=": "))
@example(recipe=Recipe(method="linear", models=["a"], parameters={"weight": 1e-320}))
def test_saved_recipe_loads_as_the_same_recipe(recipe: Recipe, folder: Path) -> None:
    recipe.save(folder / "recipe.yaml")
    assert Recipe.load(folder / "recipe.yaml") == recipe


@few
@given(recipe=recipes())
def test_plain_values_give_the_same_recipe(recipe: Recipe) -> None:
    assert Recipe.from_mapping(recipe.to_mapping()) == recipe


@few
@given(recipe=recipes())
def test_saving_what_was_loaded_gives_the_same_bytes(recipe: Recipe, folder: Path) -> None:
    recipe.save(folder / "first.yaml")
    Recipe.load(folder / "first.yaml").save(folder / "second.yaml")
    assert (folder / "first.yaml").read_bytes() == (folder / "second.yaml").read_bytes()


@few
@given(recipe=recipes(), paths=st.text(min_size=1, max_size=3))
def test_canonical_form_holds_no_path(recipe: Recipe, paths: str) -> None:
    moved = Recipe(
        method=recipe.method,
        models=dict.fromkeys(recipe.models, f"elsewhere/{paths}"),
        base=None if recipe.base is None else "elsewhere/base",
        parameters=recipe.parameters,
        tensors=recipe.tensors,
        seed=recipe.seed,
        output=recipe.output,
    )
    assert moved.canonical() == recipe.canonical()
    assert list(moved.canonical()) == list(recipe.canonical())


def test_paths_given_as_path_objects_are_the_same_recipe() -> None:
    assert Recipe(method="linear", models=[Path("a/b")], base=Path("c")) == Recipe(
        method="linear", models=["a/b"], base="c"
    )


def test_sources_and_state_dicts_are_kept_as_they_are() -> None:
    state = {"w": torch.zeros(1), "step": 3}  # opening it will refuse the step
    source = open_source({"w": torch.zeros(1)})
    recipe = Recipe(method="linear", models=[state, source], base=state)
    assert (recipe.models["m0"], recipe.models["m1"], recipe.base) == (state, source, state)


def test_numbers_of_numpy_are_the_same_recipe(folder: Path) -> None:
    recipe = Recipe(
        method="ties",
        models=["a", "b"],
        base="c",
        parameters={
            "density": np.float32(0.5),
            "weight": [np.int64(1), {"over_depth": [np.float64(0.25), 1]}],
            "scale": OverDepth((np.float16(0.5), 2)),  # type: ignore[arg-type]
        },
        tensors=[Rule(match="x", parts=np.int64(2), parameters={"density": np.float64(0.75)})],  # type: ignore[arg-type]
        seed=np.int64(7),  # type: ignore[arg-type]
        output=Output(shard_size=np.int32(10)),  # type: ignore[arg-type]
    )
    assert recipe == Recipe(
        method="ties",
        models=["a", "b"],
        base="c",
        parameters={
            "density": 0.5,
            "weight": [1, {"over_depth": [0.25, 1]}],
            "scale": {"over_depth": [0.5, 2]},
        },
        tensors=[Rule(match="x", parts=2, parameters={"density": 0.75})],
        seed=7,
        output=Output(shard_size=10),
    )
    recipe.save(folder / "numpy.yaml")
    assert Recipe.load(folder / "numpy.yaml") == recipe


def test_recipe_from_python_equals_the_one_from_yaml(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(
        "cuvee: 1\n"
        "method: ties\n"
        "models: {math: ./math, code: ./code}\n"
        "base: ./base\n"
        "parameters:\n"
        "  density: {math: 0.2, code: {over_depth: [0.1, 0.3]}}\n"
        "  weight: [1, 0.5]\n"
        "tensors:\n"
        "- {match: '*norm*', method: linear}\n"
        "- {match: [lm_head.weight, '*.bias'], copy: math}\n"
        "- {match: '*.rotary.*', skip: true}\n"
        "- {match: '*qkv*', parameters: {scale: 0.7}, parts: 3}\n"
        "seed: 7\n"
        "output: {dtype: bfloat16, shard_size: 2GiB, custom_code: true}\n"
    )
    assert Recipe.load(tmp_path / "recipe.yaml") == Recipe(
        method="ties",
        models={"math": "./math", "code": "./code"},
        base="./base",
        parameters={"density": {"math": 0.2, "code": {"over_depth": [0.1, 0.3]}}, "weight": [1, 0.5]},
        tensors=[
            Rule(match=("*norm*",), method="linear"),
            Rule(match=("lm_head.weight", "*.bias"), copy="math"),
            Rule(match=("*.rotary.*",), skip=True),
            Rule(match=("*qkv*",), parameters={"scale": 0.7}, parts=3),
        ],
        seed=7,
        output=Output(dtype="bfloat16", shard_size=2 << 30, custom_code=True),
    )


def test_order_of_models_is_kept(tmp_path: Path) -> None:
    recipe = Recipe(method="linear", models={"z": "1", "a": "2", "m": "3"})
    recipe.save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml").labels == ("z", "a", "m")


def test_order_of_models_is_part_of_what_the_canonical_form_says() -> None:
    one, other = (Recipe(method="linear", models=models) for models in ({"a": "x", "b": "y"}, {"b": "y", "a": "x"}))
    assert json.dumps(one.canonical()) != json.dumps(other.canonical())


def test_recipe_does_not_change_with_the_values_it_was_made_of() -> None:
    parameters: dict[str, Any] = {"weight": {"m0": 1.0, "m1": 2.0}}
    models = ["a", "b"]
    recipe = Recipe(method="linear", models=models, parameters=parameters)
    parameters["weight"]["m0"] = 5.0
    models.append("c")
    assert recipe == Recipe(method="linear", models=["a", "b"], parameters={"weight": {"m0": 1.0, "m1": 2.0}})
    with pytest.raises(TypeError):
        recipe.parameters["weight"]["m0"] = 5.0


def test_but_changes_parameters_and_nothing_else() -> None:
    recipe = Recipe(method="ties", models=["a", "b"], base="c", parameters={"density": 0.5, "scale": 2.0}, seed=3)
    changed = recipe.but(density=0.1)
    assert changed == Recipe(
        method="ties", models=["a", "b"], base="c", parameters={"density": 0.1, "scale": 2.0}, seed=3
    )
    assert recipe.parameters["density"] == 0.5
    with pytest.raises(RecipeError, match="Did you mean 'density'"):
        recipe.but(densty=0.1)


@few
@given(recipe=recipes())
def test_recipe_travels_between_processes(recipe: Recipe) -> None:
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert copy.deepcopy(recipe) == recipe


def test_recipe_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere/recipe\.yaml: the recipe cannot be written: No such file"):
        Recipe(method="linear", models=["a"]).save(tmp_path / "nowhere" / "recipe.yaml")


def test_recipe_of_models_in_memory_is_not_saved(tmp_path: Path) -> None:
    recipe = Recipe(method="linear", models={"one": "a", "two": {"w": torch.zeros(1)}})
    with pytest.raises(RecipeError, match="model 'two' is held in memory"):
        recipe.save(tmp_path / "recipe.yaml")
    assert not list(tmp_path.iterdir())
    assert "(held in memory)" in recipe.to_yaml()


def test_anything_that_describes_a_recipe_is_taken(tmp_path: Path) -> None:
    recipe = Recipe(method="linear", models=["a"])
    recipe.save(tmp_path / "recipe.yaml")
    path = tmp_path / "recipe.yaml"
    assert Recipe.of(recipe) is recipe
    assert Recipe.of(path) == Recipe.of(str(path)) == Recipe.of({"cuvee": 1, "method": "linear", "models": ["a"]})


def test_relative_paths_belong_to_the_folder_of_the_file(tmp_path: Path) -> None:
    Recipe(method="linear", models=["a"]).save(tmp_path / "recipe.yaml")
    assert Recipe.load(tmp_path / "recipe.yaml").folder == tmp_path
    assert Recipe.from_mapping({"cuvee": 1, "method": "linear", "models": ["a"]}).folder is None


def test_what_is_written_into_files_is_a_recipe_without_paths() -> None:
    recipe = Recipe(
        method="ties",
        models={"x": "/secret/a", "y": "/secret/b"},
        base="/secret/base",
        parameters={"weight": {"x": 1.0, "y": 0.5}},
        tensors=[Rule(match=("head",), copy="x")],
        seed=3,
    )
    canonical = recipe.canonical()
    assert "secret" not in json.dumps(canonical)
    again = Recipe.from_mapping({**canonical, "models": dict(recipe.models), "base": recipe.base})
    assert again == recipe

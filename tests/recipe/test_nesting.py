"""Recipes within recipes: those that use each other take no time that grows without end, and limits are told."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee import Recipe
from cuvee.errors import RecipeError
from cuvee.execute.merged import open_sources
from cuvee.execute.verify import verify
from cuvee.recipe import several
from cuvee.recipe.several import recipes_of

LEVELS = 24
TOO_DEEP = "more than 24 levels of recipes"


def chain(count: int, uses: int = 1, *, backwards: bool = False) -> str:
    """Recipes of which each uses the one before."""
    lines = ["  r0: {method: linear, models: [m0.safetensors, m0.safetensors]}"]
    lines += [f"  r{i}: {{method: linear, models: [{', '.join([f'r{i - 1}'] * uses)}]}}" for i in range(1, count)]
    return "\n".join(["cuvee: 1", "recipes:", *(reversed(lines) if backwards else lines)]) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_file({"w": torch.arange(4.0)}, tmp_path / "m0.safetensors")
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_recipes_that_use_each_other_twice_are_refused_at_once(folder: Path) -> None:
    """Written out, the last of 50 would hold 2^50 recipes; the ninth is the first with more than a thousand."""
    with pytest.raises(RecipeError, match=r"recipe\.yaml:12: .*1,022 recipes stand within") as caught:
        recipes_of(written(folder, chain(50, uses=2)))
    assert caught.value.where[:2] == ("recipes", "r9")


def test_recipes_within_are_counted_as_often_as_they_are_used(folder: Path) -> None:
    (recipe,) = recipes_of(written(folder, chain(4, uses=3))).values()
    assert (recipe.extent.levels, recipe.extent.recipes) == (3, 3 + 9 + 27)


def test_opening_recipes_that_share_others_writes_none_out_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Naming the runs of ten merges takes each recipe once, not the 1,022 that they are written out."""
    calls = []
    plain = Recipe.to_mapping
    monkeypatch.setattr(Recipe, "to_mapping", lambda it, *a: (calls.append(it), plain(it, *a))[1])
    (recipe,) = recipes_of(written(folder, chain(9, uses=2))).values()
    with open_sources() as sources:
        sources.resolve(recipe)
    assert len(calls) <= 2 * 9


def test_the_name_of_a_run_depends_on_the_recipes_within(folder: Path) -> None:
    names = set()
    for weight in (0.25, 0.5):
        inner = {"method": "linear", "models": [str(folder / "m0.safetensors")] * 2, "seed": int(4 * weight)}
        recipe = Recipe.of({"cuvee": 1, "method": "linear", "models": [{"method": "linear", "models": [inner]}]})
        with open_sources() as sources:
            (source,) = sources.resolve(recipe).sources.values()
            names.add(source.identity)
    assert len(names) == 2
    assert all(names)


@pytest.mark.parametrize("backwards", [False, True])
def test_as_many_levels_as_are_read_can_be_merged_saved_and_verified(folder: Path, backwards: bool) -> None:
    path = written(folder, chain(LEVELS + 1, backwards=backwards))
    (recipe,) = recipes_of(path).values()
    assert recipe.extent.levels == LEVELS
    recipe.save(folder / "again.yaml")
    assert Recipe.load(folder / "again.yaml") == recipe
    cuvee.merge(path, folder / "out")
    torch.testing.assert_close(load_file(folder / "out" / "model.safetensors"), {"w": torch.arange(4.0)})
    assert {finding.state for finding in verify(folder / "out", replay=True)} == {"same"}


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("count", [LEVELS + 2, 2000])
def test_more_levels_are_refused(folder: Path, backwards: bool, count: int) -> None:
    with pytest.raises(RecipeError, match=rf"recipe\.yaml:\d+: recipe 'r\d+': {TOO_DEEP}"):
        recipes_of(written(folder, chain(count, backwards=backwards)))


@pytest.mark.parametrize("key", ["models", "base"])
def test_plain_values_of_more_levels_are_refused(key: str) -> None:
    def nested(levels: int) -> dict[str, Any]:
        content: dict[str, Any] = {"method": "linear", "models": ["a", "b"]}
        for _ in range(levels):
            content = {"method": "linear", "models": ["a", "b"]} | {key: [content] if key == "models" else content}
        return content

    assert Recipe.of({"cuvee": 1, **nested(LEVELS)}).extent.levels == LEVELS
    for levels in (LEVELS + 1, 2000):
        with pytest.raises(RecipeError, match=TOO_DEEP):
            Recipe.of({"cuvee": 1, **nested(levels)})
        with pytest.raises(RecipeError, match=TOO_DEEP):
            recipes_of({"cuvee": 1, "recipes": {"deep": nested(levels)}})
        with pytest.raises(RecipeError, match=TOO_DEEP):
            Recipe(method="linear", models=[nested(levels)])


def test_plain_values_that_hold_themselves_are_refused() -> None:
    content: dict[str, Any] = {"method": "linear"}
    content["models"] = [content]
    with pytest.raises(RecipeError, match=TOO_DEEP):
        Recipe.of({"cuvee": 1, **content})


def test_a_label_means_nothing_where_names_are_looked_up() -> None:
    """A model may be called `models`, `method` or `base` where a key is; what it names is looked up all the same."""
    for label in ("models", "method", "pair"):
        inner = {"method": "linear", "models": ["a", "b"]}
        outer = {"method": "linear", "models": {label: "one", "other": "c"}}
        found = several.recipes_of({"cuvee": 1, "recipes": {"one": inner, "two": outer}})
        assert list(found) == ["two"]
        assert found["two"].models[label] == Recipe.of({"cuvee": 1, **inner})
        assert found["two"].models["other"] == "c"


def test_names_are_looked_up_in_recipes_that_stand_for_models() -> None:
    inner = {"method": "linear", "models": ["a", "b"]}
    within = {"method": "ties", "models": {"models": "one"}, "base": "one"}
    found = several.recipes_of(
        {"cuvee": 1, "recipes": {"one": inner, "two": {"method": "linear", "models": [within], "base": "one"}}}
    )
    assert list(found) == ["two"]
    one = Recipe.of({"cuvee": 1, **inner})
    (model,) = found["two"].models.values()
    assert isinstance(model, Recipe)
    assert (model.models["models"], model.base, found["two"].base) == (one, one, one)

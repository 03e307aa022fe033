"""Several merges made in one reading of the same models: each is what it would be alone."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.errors import NonFiniteError, PlanError
from cuvee.execute.merged import open_sources
from cuvee.execute.run import execute
from cuvee.plan import planner
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.writers.memory import MemoryWriter
from end_to_end.recipes import METHODS, recipe_for, scopes
from end_to_end.uneven import Weights, assert_same_bytes, merged, models

SMALL = 1 << 10
"""Elements in a cell of a grid made finer for the test."""

Recipes = list[Mapping[str, Any]]


@pytest.fixture(autouse=True)
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", SMALL)


def together(recipes: Recipes, limits: Limits) -> list[Weights]:
    """Merge several recipes in memory as one run."""
    with open_sources() as sources:
        plan = make_plan([sources.resolve(Recipe.of(recipe)) for recipe in recipes])
        writers = [MemoryWriter(list(outputs.items())) for outputs in plan.outputs]
        execute(plan, writers, budget_of(plan, limits))
    return [writer.tensors() for writer in writers]


def every_recipe(base: Any, others: list[Any]) -> Recipes:
    """Return a recipe for every method in every scope."""
    return [recipe_for(m, others, base, **settings) for m in METHODS for settings in scopes(m)]


@pytest.mark.parametrize("workers", [1, 8])
def test_every_method_in_every_scope_at_once_gives_what_each_gives_alone(workers: int) -> None:
    base, *others = models(SMALL, torch.bfloat16)
    recipes = every_recipe(base, others)
    for one, recipe in zip(together(recipes, Limits(workers=workers)), recipes, strict=True):
        assert_same_bytes(one, merged(recipe, Limits(workers=1)))


@pytest.mark.parametrize("seed", range(6))
def test_any_mixture_of_methods_and_scopes_gives_what_each_gives_alone(seed: int) -> None:
    draw = random.Random(seed)
    base, *others = models(SMALL, draw.choice([torch.bfloat16, torch.float32]))
    recipes = draw.sample(every_recipe(base, others), 5)
    limits = Limits(workers=draw.choice([2, 3, 8]), block_bytes=SMALL * draw.choice([1, 4, 9]))
    for one, recipe in zip(together(recipes, limits), recipes, strict=True):
        assert_same_bytes(one, merged(recipe, Limits(workers=1)))


def test_variants_may_take_the_models_in_other_orders_and_numbers() -> None:
    base, *others = models(SMALL, torch.bfloat16)
    subsets = [others, others[::-1], others[1:], [others[2], base, others[0]], [others[0], others[0]]]
    recipes: Recipes = [
        {"cuvee": 1, "method": "ties", "models": subset, "base": reference, "parameters": {"density": 0.5}}
        for subset in subsets
        for reference in (base, others[1])
    ]
    for one, recipe in zip(together(recipes, Limits(workers=3)), recipes, strict=True):
        assert_same_bytes(one, merged(recipe, Limits(workers=1)))


def test_variants_may_have_rules_seeds_and_types_of_their_own() -> None:
    base, *others = models(SMALL, torch.bfloat16)
    plain = {"cuvee": 1, "method": "dare_ties", "models": others, "base": base}
    recipes: Recipes = [
        plain,
        {**plain, "seed": 1},
        {**plain, "output": {"dtype": "float32"}},
        {**plain, "tensors": [{"match": "layers.*", "copy": "m1"}, {"match": "embed*", "skip": True}]},
        {**plain, "tensors": [{"match": "layers.1.weight", "method": "linear", "parts": 3}]},
        {**plain, "models": dict(zip("abc", others, strict=True))},
        {**plain, "parameters": {"weight": {"over_depth": [0.1, 0.9]}}},
    ]
    results = together(recipes, Limits(workers=3))
    for one, recipe in zip(results, recipes, strict=True):
        assert_same_bytes(one, merged(recipe, Limits(workers=1)))
    assert not results[0]["embed.weight"].equal(results[1]["embed.weight"])
    assert not results[0]["embed.weight"].equal(results[5]["embed.weight"])  # other labels, other draws
    assert results[2]["embed.weight"].dtype == torch.float32
    assert "embed.weight" not in results[3]


def test_files_of_several_outputs_are_those_of_each_alone(tmp_path: Path) -> None:
    base, *others = saved(tmp_path)
    recipes = every_recipe(base, others)[::2]
    outputs = {tmp_path / f"together-{i}": recipe for i, recipe in enumerate(recipes)}
    report = cuvee.merge_variants(outputs)
    for out, recipe in outputs.items():
        alone = tmp_path / out.name.replace("together", "alone")
        cuvee.merge(recipe, alone)
        assert (out / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
        assert (out / "README.md").exists()
    assert report.bytes_written == sum(tensor.nbytes for out in outputs for tensor in weights(out).values())


def test_models_are_read_once_for_all_variants(tmp_path: Path) -> None:
    base, *others = saved(tmp_path)
    sweep = [{"cuvee": 1, "method": "task_arithmetic", "models": others, "base": base} for _ in range(4)]
    recipes = [{**recipe, "parameters": {"scale": 0.25 * i}} for i, recipe in enumerate(sweep)]
    one = cuvee.merge(recipes[0], tmp_path / "alone")
    four = cuvee.merge_variants({tmp_path / f"{i}": recipe for i, recipe in enumerate(recipes)})
    assert four.bytes_read == one.bytes_read
    assert four.bytes_written == 4 * one.bytes_written


def test_no_output_appears_if_one_recipe_is_wrong(tmp_path: Path) -> None:
    base, *others = saved(tmp_path)
    good = {"cuvee": 1, "method": "ties", "models": others, "base": base}
    bad = {key: value for key, value in good.items() if key != "base"}
    before = set(tmp_path.iterdir())
    with pytest.raises(PlanError, match="base"):
        cuvee.merge_variants({tmp_path / "good": good, tmp_path / "bad": bad})
    assert set(tmp_path.iterdir()) == before


def test_no_output_appears_if_one_merge_fails(tmp_path: Path) -> None:
    _, *others = saved(tmp_path)
    good = {"cuvee": 1, "method": "linear", "models": others, "parameters": {"weight": 10.0, "normalize": False}}
    bad = {**good, "output": {"dtype": "float8_e4m3fn"}, "models": others * 100}
    before = set(tmp_path.iterdir())
    with pytest.raises(NonFiniteError, match="does not fit into F8_E4M3"):
        cuvee.merge_variants({tmp_path / "good": good, tmp_path / "bad": bad})
    assert set(tmp_path.iterdir()) == before


def saved(folder: Path) -> list[Path]:
    """Save models; return their paths, the base first."""
    paths = [folder / f"m{i}.safetensors" for i in range(4)]
    for path, model in zip(paths, models(SMALL, torch.bfloat16), strict=True):
        save_file(model, path)
    return paths


def weights(path: Path) -> Weights:
    """Load a file, or a folder of one file."""
    return load_file(path / "model.safetensors" if path.is_dir() else path)

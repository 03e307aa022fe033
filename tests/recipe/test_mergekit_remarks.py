"""What is told of values in a configuration of mergekit that are no error there."""

from typing import Any

import pytest

from cuvee.recipe.recipe import Recipe
from cuvee.recipe.several import recipes_of


def made(method: str, **parameters: Any) -> Recipe:
    models = [{"model": "a"}, {"model": "b", "parameters": parameters}]
    (recipe,) = recipes_of(
        {"merge_method": method, "base_model": "c", "models": models, "parameters": {"weight": 1, "density": 0.5}}
    ).values()
    return recipe


def test_a_condition_after_one_for_all_tensors_is_named_once() -> None:
    weight = [{"value": 1}, {"filter": "mlp", "value": 2}, {"filter": "attn", "value": 2}]
    recipe = made("ties", weight=weight)
    assert recipe.parameters["weight"] == 1.0
    (note,) = recipe.notes
    assert note.startswith("models[1].parameters.weight[1]: no tensor comes to what stands here")


@pytest.mark.parametrize("filtered", [[{"filter": "mlp", "value": 2}, {"value": 1}], [{"filter": "x", "value": 1}], 1])
def test_nothing_is_said_of_conditions_in_good_order(filtered: object) -> None:
    assert not made("ties", weight=filtered).notes


@pytest.mark.parametrize(
    ("density", "kept", "place"),
    [(1.5, "all", ""), (-1, "none", ""), ([0.3, 1.5], "all", ""), ([{"filter": "mlp", "value": "-1"}], "none", "[0]")],
)
def test_a_share_beyond_none_and_all_is_named(density: object, kept: str, place: str) -> None:
    (note,) = made("ties", density=density).notes
    assert note.startswith(f"models[1].parameters.density{place}: 'density' is ")
    assert note.endswith(f"a share lies between 0 and 1; mergekit, and so cuvee, keeps {kept}.")


@pytest.mark.parametrize("density", [0, 1, 0.5, "0.5"])
def test_nothing_is_said_of_a_share_within_them(density: object) -> None:
    assert not made("ties", density=density).notes


def test_a_weight_may_have_any_size() -> None:
    assert not made("ties", weight=[-1, 7]).notes

"""Whole-model passes that are not taken over the whole model are told of."""

import torch

import cuvee

MODELS = [{f"layers.{i}.w": torch.ones(4) for i in range(3)}] * 2
BASE = {f"layers.{i}.w": torch.zeros(4) for i in range(3)}


def warnings_of(**parameters: object) -> list[str]:
    recipe = cuvee.Recipe(method="ties", models=MODELS, base=BASE, parameters=parameters)
    return list(cuvee.plan(recipe).warnings)


def test_a_density_over_depth_splits_the_model_and_the_plan_says_so() -> None:
    (warning,) = warnings_of(density={"over_depth": [0.1, 0.9]})
    assert warning == (
        "method 'ties' takes its whole-model passes over 3 groups of tensors, each by itself, because density varies."
    )


def test_nothing_is_said_where_passes_do_not_depend_on_what_varies_or_are_taken_by_tensor() -> None:
    assert warnings_of(scale={"over_depth": [0.1, 0.9]}) == []
    assert warnings_of(density={"over_depth": [0.1, 0.9]}, trim_scope="tensor") == []

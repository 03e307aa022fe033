"""Models that do not fit together, and recipes that fit no models."""

from pathlib import Path
from typing import Any

import pytest
import torch

from bad_input.checkpoints import WEIGHT, state
from bad_input.merges import Refused, merged_by, recipe_of
from cuvee.writers.save import save_state_dict


def test_different_shapes_are_refused(folder: Path, assert_refused: Refused) -> None:
    save_state_dict(folder / "other", state(1, **{WEIGHT: torch.zeros(5, 3)}))
    words = (WEIGHT, "shapes differ: 'one' (3, 5), 'two' (5, 3)", "'one' is a", "'two' is other", "skip it")
    assert_refused(recipe_of(models={"one": "a", "two": "other"}), *words, code=2)
    assert_refused(
        recipe_of("ties", models={"one": "a"}, base="other"), WEIGHT, "'base' (5, 3)", "'base' is other", code=2
    )


@pytest.mark.parametrize(("models", "lacking"), [(["a", "less"], "m1"), (["less", "a"], "m0")])
def test_missing_tensors_are_named(folder: Path, assert_refused: Refused, models: list[str], lacking: str) -> None:
    save_state_dict(folder / "less", {name: tensor for name, tensor in state(1).items() if name != WEIGHT})
    words = (f"'{lacking}' has no {WEIGHT}", f"'{lacking}' is less", "Give a rule for them")
    assert_refused(recipe_of(models=models), *words, code=2)


def test_tensors_missing_from_the_base_are_named(folder: Path, assert_refused: Refused) -> None:
    save_state_dict(folder / "less", {name: tensor for name, tensor in state(1).items() if name != WEIGHT})
    assert_refused(recipe_of("ties", base="less"), f"'base' has no {WEIGHT}", "'base' is less", code=2)


def test_numbers_and_whole_numbers_under_one_name_are_refused(folder: Path, assert_refused: Refused) -> None:
    save_state_dict(folder / "whole", state(1, **{"model.norm.weight": torch.tensor([1, 2])}))
    words = ("model.norm.weight: element types differ in kind: 'one' F32, 'two' I64", "Give a rule to copy or skip it")
    assert_refused(recipe_of(models={"one": "a", "two": "whole"}), *words, code=2)


def test_no_models_are_refused(assert_refused: Refused) -> None:
    assert_refused(recipe_of(models=[]), "'models' is empty; name at least one model", code=2)
    assert_refused(recipe_of(models={}), "'models' is empty; name at least one model", code=2)


@pytest.mark.parametrize("weight", [[1, -1], [0, 0], [1e-320, -1e-320], {"over_depth": [1, 0]}, 0])
def test_weights_that_add_up_to_zero_are_refused(assert_refused: Refused, weight: Any) -> None:
    words = ("method 'linear': the weights [", "add up to zero and cannot be normalised; set normalize: false")
    assert_refused(recipe_of(parameters={"weight": weight}), *words, code=2)


def test_weights_that_add_up_to_zero_are_fine_if_not_normalised(folder: Path) -> None:
    merged = merged_by(folder, recipe_of(parameters={"weight": [1, -1], "normalize": False}))
    torch.testing.assert_close(merged[WEIGHT], state(1)[WEIGHT] - state(2)[WEIGHT])


def test_wrong_recipe_fails_before_a_model_is_opened(assert_refused: Refused) -> None:
    assert_refused(recipe_of(models=["nothing", "here"], parameters={"weigt": 1}), "Did you mean 'weight'?", code=2)

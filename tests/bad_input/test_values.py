"""NaN and infinity, in the models and in the result."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bad_input.checkpoints import WEIGHT, spoil, state
from bad_input.merges import Refused, merged_by, recipe_of
from cuvee.methods.registry import methods

WHERE = {"one": "a", "two": "b", "base": "base"}
# Settings under which a method has no use for the weights that are bad: it must look at them all the same.
HIDING = [
    ("linear", {"weight": {"one": 0, "two": 1}}, "one"),
    ("linear", {"weight": {"one": 0, "two": 0}, "normalize": False}, "two"),
    ("task_arithmetic", {"weight": 0}, "two"),
    ("task_arithmetic", {"scale": 0}, "base"),
    ("slerp", {"t": 0}, "two"),
    ("slerp", {"t": 1, "scope": "row"}, "one"),
    ("ties", {"density": 0}, "one"),
    ("ties", {"density": 0, "trim_scope": "tensor"}, "base"),
    ("ties", {"density": 1, "weight": 0}, "two"),
    ("ties", {"density": 0.05}, "one"),
    ("ties", {"density": 0.05, "rule": "reference"}, "two"),
    ("dare_linear", {"density": 0}, "one"),
    ("dare_linear", {"density": 0}, "base"),
    ("dare_linear", {"density": 0.01}, "two"),
    ("dare_linear", {"weight": 0}, "two"),
    ("dare_ties", {"density": 0}, "one"),
    ("dare_ties", {"density": 0}, "base"),
    ("dare_ties", {"density": 0.01, "trim_density": 0.1}, "two"),
    ("della", {"density": 0}, "one"),
    ("della", {"density": 0.2, "rescale": "l1"}, "base"),
    ("della_linear", {"density": 0}, "base"),
    ("sce", {"density": 0}, "two"),
    ("sce", {"density": 0.01}, "base"),
    ("ram", {"threshold": 1}, "one"),
    ("ramplus", {"threshold": 1}, "base"),
    ("arcee_fusion", {"fence": 10}, "one"),
    ("arcee_fusion", {"fence": 10, "precision": "single"}, "base"),
    ("breadcrumbs", {"density": 0, "outliers": 0}, "one"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.5}, "two"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.9, "scope": "row"}, "base"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.5, "scope": "model"}, "one"),
]
VALUES = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def merging_methods() -> Iterator[Any]:
    """Each method with each label it reads."""
    for name, method in methods().items():
        if not method.any_dtype:
            for label in (*("one", "two")[: method.models[1]], *(["base"] if method.operands == "deltas" else [])):
                yield pytest.param(name, label, id=f"{name} {label}")


@pytest.mark.parametrize(("method", "label"), [*merging_methods()])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weight_that_is_not_finite_is_refused(
    folder: Path, assert_refused: Refused, method: str, label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    place = f"{WHERE[label]}/model.safetensors: tensor '{WEIGHT}' of model '{label}' is {value} at flat index 7"
    assert_refused(recipe_of(method), place, "repair that model, or give a rule for this tensor", cli=False)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("label", WHERE)
def test_command_line_names_the_weight_that_is_not_finite(
    folder: Path, assert_refused: Refused, label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    assert_refused(recipe_of("ties"), f"tensor '{WEIGHT}' of model '{label}' is {value} at flat index 7")


@pytest.mark.parametrize(("method", "parameters", "label"), HIDING, ids=[f"{m} {p} {w}" for m, p, w in HIDING])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_mask_does_not_hide_a_weight_that_is_not_finite(
    folder: Path, assert_refused: Refused, method: str, parameters: dict[str, Any], label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    words = (WHERE[label], WEIGHT, f"of model '{label}' is {value} at flat index 7")
    assert_refused(recipe_of(method, parameters=parameters), *words, cli=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_weight_that_is_not_finite_is_found_in_every_type(
    folder: Path, assert_refused: Refused, dtype: torch.dtype
) -> None:
    spoil(folder, "b", float("inf"), dtype)
    assert_refused(recipe_of(), "b/model.safetensors", WEIGHT, "of model 'two' is inf at flat index 7")


def test_rule_gets_around_a_weight_that_is_not_finite(folder: Path) -> None:
    spoil(folder, "b", float("nan"))
    copied = merged_by(folder, recipe_of(tensors=[{"match": WEIGHT, "copy": "one"}]), "copied")
    assert torch.equal(copied[WEIGHT], state(1)[WEIGHT])
    assert WEIGHT not in merged_by(folder, recipe_of(tensors=[{"match": WEIGHT, "skip": True}]), "skipped")


def test_copy_moves_bytes_whatever_they_mean(folder: Path) -> None:
    spoil(folder, "a", float("nan"))
    merged_by(folder, recipe_of("copy"))
    merged, model = ((folder / name / "model.safetensors").read_bytes() for name in ("out", "a"))
    length = [int.from_bytes(raw[:8], "little") + 8 for raw in (merged, model)]
    assert merged[length[0] :] == model[length[1] :]


def test_first_of_several_workers_that_fails_stops_the_rest(folder: Path, assert_refused: Refused) -> None:
    for name in ("base", "a", "b"):
        spoil(folder, name, float("nan"))
    assert_refused(recipe_of("ties"), WEIGHT, "is nan at flat index 7")


def test_result_too_large_for_the_output_type_is_refused(folder: Path, assert_refused: Refused) -> None:
    spoil(folder, "b", 3e5)
    words = (
        f"{WEIGHT}: method 'linear' gives ",
        "at flat index 7, which does not fit into F16; choose a wider output dtype",
        "Models: one, two.",
    )
    assert_refused(recipe_of(output={"dtype": "float16"}), *words)
    assert torch.isfinite(merged_by(folder, recipe_of(output={"dtype": "bfloat16"}))[WEIGHT]).all()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_result_too_large_for_eight_bits_is_refused(folder: Path, assert_refused: Refused, dtype: str) -> None:
    spoil(folder, "b", 3e5)
    assert_refused(recipe_of(output={"dtype": dtype}), WEIGHT, "does not fit into F8_", "choose a wider output dtype")


def test_result_too_large_for_any_type_is_refused(folder: Path, assert_refused: Refused) -> None:
    spoil(folder, "b", 3e38)
    words = (f"{WEIGHT}: method 'linear' gives inf at flat index 7", "comes of finite inputs; lower the weights")
    assert_refused(recipe_of(parameters={"weight": 10, "normalize": False}), *words)


def test_doubles_too_large_for_float32_arithmetic_are_refused(folder: Path, assert_refused: Refused) -> None:
    spoil(folder, "b", 1e300, torch.float64)
    assert_refused(recipe_of(), "b/model.safetensors", WEIGHT, "of model 'two'", "1e+300", "flat index 7")

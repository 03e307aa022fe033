"""Odd, but right: shares of none and all, tensors of one entry or none, names that are no text."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bad_input.checkpoints import WEIGHT, state, write_file
from bad_input.merges import merged_by, recipe_of
from cuvee.methods.registry import find_method, methods
from cuvee.writers.save import save_state_dict


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("ties", {}),
        ("ties", {"rule": "reference", "trim_scope": "tensor"}),
        ("dare_linear", {}),
        ("dare_ties", {}),
        ("dare_ties", {"density": 1, "trim_density": 0}),
        ("breadcrumbs", {}),
        ("breadcrumbs", {"scope": "row"}),
    ],
    ids=str,
)
def test_density_0_leaves_the_base(folder: Path, method: str, parameters: dict[str, Any]) -> None:
    outliers = {"outliers": 0} if method == "breadcrumbs" else {}
    merged = merged_by(folder, recipe_of(method, parameters={"density": 0, **outliers, **parameters}))
    for name, tensor in state(0).items():
        if parameters.get("rule") == "reference":
            assert (merged[name] != tensor).sum() <= 2  # the authors' code keeps one entry more than asked for
        else:
            assert torch.equal(merged[name], tensor), name


@pytest.mark.parametrize("method", ["dare_linear", "breadcrumbs"])
def test_density_1_is_task_arithmetic(folder: Path, method: str) -> None:
    outliers = {"outliers": 0} if method == "breadcrumbs" else {}
    whole = merged_by(folder, recipe_of(method, parameters={"density": 1, **outliers}), "whole")
    expected = merged_by(folder, recipe_of("task_arithmetic"), "expected")
    for name, tensor in expected.items():
        assert torch.equal(whole[name], tensor), name


def test_density_1_is_the_same_ties_with_and_without_drawing(folder: Path) -> None:
    ties = merged_by(folder, recipe_of("ties", parameters={"density": 1}), "ties")
    drawn = merged_by(folder, recipe_of("dare_ties", parameters={"density": 1}), "drawn")
    for name, tensor in ties.items():
        assert torch.equal(drawn[name], tensor), name


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_and_empty_tensors_go_through_every_method(folder: Path, method: str, dtype: torch.dtype) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "scalar": (),
        "one": (1,),
        "one_of_each": (1, 1, 1),
        "empty": (0,),
        "no_rows": (0, 3),
        "no_columns": (3, 0),
        "column": (3, 1),
    }
    sources = {}
    for seed, name in enumerate(("base", "a", "b")):
        generator = torch.Generator().manual_seed(seed)
        sources[name] = {key: torch.randn(shape, generator=generator).to(dtype) for key, shape in shapes.items()}
        save_state_dict(folder / name, sources[name], overwrite=True)
    for scope in scopes(method):
        merged = merged_by(folder, recipe_of(method, parameters=scope), f"out {scope}")
        assert {key: tuple(tensor.shape) for key, tensor in merged.items()} == shapes
        assert all(torch.isfinite(tensor.float()).all() for tensor in merged.values())
        assert {tensor.dtype for tensor in merged.values()} == {dtype}


def scopes(method: str) -> list[dict[str, str]]:
    """Every scope a method's passes can have."""
    found = [p for p in find_method(method).parameters.values() if p.role == "scope"]
    return [{p.name: word} for p in found for word in p.choices] or [{}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_output_may_have_a_name_that_is_no_text(folder: Path) -> None:
    name = os.fsdecode(b"out\xff")
    assert WEIGHT in merged_by(folder, recipe_of(), name)
    assert b"# out?\n" in (folder / name / "README.md").read_bytes()


def test_checkpoint_without_tensors_makes_one_without_tensors(folder: Path) -> None:
    for name in ("base", "a", "b"):
        write_file(folder / name / "model.safetensors", {})
    for method in methods():
        assert merged_by(folder, recipe_of(method), method) == {}

"""Rules for some tensors, and what the output looks like."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.errors import RecipeError
from cuvee.recipe.intake import Intake
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule
from cuvee.spec import DTYPES


@pytest.mark.parametrize(
    ("written", "nbytes"),
    [
        ("5GB", 5_000_000_000),
        ("5 gb", 5_000_000_000),
        ("1.5GiB", 3 << 29),
        ("500MB", 500_000_000),
        ("2 MiB", 2 << 20),
        ("7kB", 7_000),
        ("1KiB", 1024),
        ("10B", 10),
        (" 10 ", 10),
        (1, 1),
        (5e9, 5_000_000_000),
    ],
)
def test_shard_sizes_are_read_as_people_write_them(written: Any, nbytes: int) -> None:
    assert Output.from_mapping({"shard_size": written}).shard_size == nbytes
    assert Output(shard_size=written) == Output(shard_size=nbytes)


def test_output_without_a_word_is_the_default() -> None:
    assert Output.from_mapping(None) == Output.from_mapping({}) == Output()
    assert Output().to_mapping() == {}
    assert Output().dtype_name is None


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_type_of_numbers_can_be_written_and_no_other(dtype: Any) -> None:
    if dtype.kind == "float":
        assert Output(dtype=dtype.torch_name).dtype_name == dtype.name
    else:
        with pytest.raises(RecipeError, match="is not known"):
            Output(dtype=dtype.torch_name)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_torchs_own_types_are_taken_by_their_names(dtype: Any) -> None:
    if dtype.kind == "float":
        assert Output(dtype=getattr(torch, dtype.torch_name)) == Output(dtype=dtype.torch_name)
        pickle.dumps(Output(dtype=getattr(torch, dtype.torch_name)))
    elif hasattr(torch, dtype.torch_name):
        with pytest.raises(RecipeError, match=f"output dtype '{dtype.torch_name}' is not known"):
            Output(dtype=getattr(torch, dtype.torch_name))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("bf16", "bfloat16"),
        ("BF16", "bfloat16"),
        ("fp16", "float16"),
        ("half", "float16"),
        ("F16", "float16"),
        ("fp32", "float32"),
        ("float", "float32"),
        ("single", "float32"),
        ("fp64", "float64"),
        ("double", "float64"),
        ("F8_E4M3", "float8_e4m3fn"),
        ("torch.bfloat16", "bfloat16"),
        ("torch.half", "float16"),
        (np.dtype("float16"), "float16"),
    ],
)
def test_other_names_of_types_are_refused_with_ours(written: Any, meant: str) -> None:
    with pytest.raises(RecipeError) as caught:
        Output(dtype=written)
    assert f"output dtype {written!r} is not known. Did you mean '{meant}'?" in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "any.name", True),
        ("*.weight", "layer.weight", True),
        ("*.weight", "layer.weight_scale", False),
        ("weight", "layer.weight", False),
        ("*.WEIGHT", "layer.weight", False),
        ("layers.?.weight", "layers.1.weight", True),
        ("layers.?.weight", "layers.11.weight", False),
        ("layers.[0-2].weight", "layers.2.weight", True),
        ("layers.[!0-2].weight", "layers.2.weight", False),
        ("layers.*.weight", "layers.1.mlp.up.weight", True),
    ],
)
def test_patterns_match_whole_names(pattern: str, name: str, matches: bool) -> None:
    assert Rule(match=(pattern,)).matches(name) == matches


def test_any_of_several_patterns_may_match() -> None:
    rule = Rule(match=("a", "b*"))
    assert [rule.matches(name) for name in ("a", "bc", "ac")] == [True, True, False]


def test_first_rule_that_matches_is_found() -> None:
    first, second = Rule(match=("*.bias",), skip=True), Rule(match=("*",), copy="m0")
    recipe = Recipe(method="linear", models=["x"], tensors=[first, second])
    assert recipe.rule_for("a.bias") is first
    assert recipe.rule_for("a.weight") is second
    assert Recipe(method="linear", models=["x"], tensors=[first]).rule_for("a.weight") is None


def test_one_pattern_may_stand_without_a_list() -> None:
    assert Rule.from_mapping({"match": "a"}) == Rule.from_mapping({"match": ["a"]}) == Rule(match=("a",))
    assert Rule(match="a").match == ("a",)
    assert Rule(match=("a",)).to_mapping() == {"match": "a"}
    assert Rule(match=("a", "b"), parts=2).to_mapping() == {"match": ["a", "b"], "parts": 2}


@pytest.mark.parametrize("key", ["missing", "experts"])
def test_a_way_to_read_models_that_is_none_is_refused(key: str) -> None:
    for value in ("presnt", 3, None):
        with pytest.raises(RecipeError, match=f"'{key}' is .*; it can be: "):
            Intake.from_mapping({key: value})


def test_ways_to_read_models_are_written_as_they_are_read() -> None:
    assert Intake.from_mapping(None).to_mapping() == {}
    given = {"dtype": "bfloat16", "missing": "present", "experts": "packed"}
    assert Intake.from_mapping(given).to_mapping() == given

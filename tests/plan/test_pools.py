"""Which tensors take their passes together; whole-model passes that are not taken over the whole model are told of."""

from collections.abc import Mapping
from typing import Any

import torch

import cuvee
from cuvee.methods.registry import find_method
from cuvee.plan.pools import Pools
from cuvee.plan.treatment import Treatment

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


def test_every_parameter_that_varies_is_named() -> None:
    rules = [
        cuvee.Rule(match=("layers.1.*",), parameters={"density": 0.5}),
        cuvee.Rule(match=("layers.2.*",), parameters={"zero_sign": "zero"}),
    ]
    recipe = cuvee.Recipe(method="ties", models=MODELS, base=BASE, tensors=rules)
    (warning,) = cuvee.plan(recipe).warnings
    assert "over 3 groups of tensors, each by itself, because density and zero_sign var" in warning


# Domains


def treated(method: str, **parameters: Any) -> Treatment:
    found = find_method(method)
    return Treatment(method=found, parameters={**found.defaults(2), **parameters}, labels=("a", "b"))


def domains_of(treatments: Mapping[str, Treatment], first: int = 0) -> dict[str, int]:
    pools = Pools(first)
    return {name: pools.domain_for(treatment) for name, treatment in treatments.items()}


def test_treatments_that_agree_in_what_passes_depend_on_share_a_domain() -> None:
    same = treated("ties")
    assert domains_of(
        {
            "one": same,
            "again": same,
            "equal": treated("ties"),
            "other weight": treated("ties", weight=[2.0, 3.0], scale=0.5, merge="sum"),
            "other density": treated("ties", density=[0.5, 0.2]),
            "other method": treated("dare_ties"),
            "last": same,
        }
    ) == {"one": 0, "again": 0, "equal": 0, "other weight": 0, "other density": 1, "other method": 2, "last": 0}


def test_the_space_of_the_operands_is_something_that_passes_depend_on() -> None:
    spaces = {space: treated("mlerp", scope="model", vectors=space) for space in ("parameters", "task")}
    assert domains_of(spaces) == {"parameters": 0, "task": 1}


def test_each_tensor_has_a_domain_of_its_own_where_passes_are_taken_by_tensor_or_row() -> None:
    for scope in ("tensor", "row"):
        one = treated("mlerp", scope=scope)
        assert domains_of({"a": one, "b": one, "c": treated("mlerp", scope=scope)}) == {"a": 0, "b": 1, "c": 2}


def test_domains_of_a_second_variant_follow_those_of_the_first() -> None:
    model, tensor = treated("mlerp", scope="model"), treated("mlerp", scope="tensor")
    assert domains_of({"a": model, "b": tensor, "c": model, "d": tensor}, first=5) == {"a": 5, "b": 6, "c": 5, "d": 7}


def test_size_and_cells_of_a_domain_are_those_of_its_tensors(plan_of: Any, header: Any) -> None:
    model = header({"a": (3, 4), "b": (5,), "c": (0, 2), "ids": ((7,), "I64")})
    recipes = [
        cuvee.Recipe(method="mlerp", models=[model, model], parameters={"scope": scope}) for scope in ("model", "row")
    ]
    plan = plan_of(*recipes)
    found = [(domain.scope, domain.size, domain.cells) for domain in plan.domains]
    copied, pooled = [("tensor", 7, 1)], [("model", 17, 2)]
    assert [domain for domain in found if domain[0] != "row"] == [*pooled, *copied, *copied]
    assert [domain[1:] for domain in found if domain[0] == "row"] == [(4, 1), (5, 1), (2, 0)]

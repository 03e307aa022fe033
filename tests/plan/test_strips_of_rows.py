"""Tensors that are joined as the rows of a matrix: what their methods are told, and what stays apart of it."""

from typing import Any, Literal

import pytest
import torch

from cuvee.methods.declare import Scope, Weights, method
from cuvee.methods.registry import methods
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL
from cuvee.recipe.recipe import Recipe
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, Position, total
from end_to_end.uneven import assert_same_bytes
from execute.alone import merged, merged_alone

pytestmark = pytest.mark.usefixtures("forget")


@pytest.fixture
def told() -> list[tuple[str, tuple[int, ...], int, bool]]:
    """What a method, "listens", is told each time: scope, shape of its operands, size and whole; see there."""
    calls: list[tuple[str, tuple[int, ...], int, bool]] = []

    @method(passes=lambda _: 1)
    def listens(
        weights: Weights,
        position: Position,
        *,
        scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
        factor: float = 1.0,
    ) -> Passes[Operand]:
        """Multiply the first model by the squared norm of its domain.

        Args:
            weights: models.
            position: where the cell lies.
            scope: what the norm is taken over.
            factor: a factor.
        """
        calls.append((scope, tuple(weights[0].tensor.shape), position.size, position.whole))
        gram = yield from total(gram_matrix, weights[:1])
        return weighted_sum(weights[:1], gram[None, :, 0, 0] * factor)

    return calls


def joined(plan: Plan) -> list[str]:
    """The names of each strip's rows, which are letters, in one word."""
    return ["".join(row.name for row in strip.rows) for strip in plan.strips]


def filled(**shapes: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """A model with tensors of these shapes: a of ones, b of twos, and so on."""
    return {name: torch.full(shape, float(i + 1)) for i, (name, shape) in enumerate(shapes.items())}


def recipe(model: Any, **parameters: Any) -> dict[str, Any]:
    return {"cuvee": 1, "method": "listens", "models": [model], "parameters": parameters}


# What a method is told


def test_tensors_that_are_joined_as_rows_are_told_so(told: Any) -> None:
    model = filled(a=(2, 3), b=(6,), c=(3, 2))
    (found,), _ = merged(recipe(model, factor=0.5))
    assert told == [("row", (3, 6), 6, True)]
    assert_same_bytes(found, {name: t * 0.5 * 6 * t[..., 0].flatten()[0] ** 2 for name, t in model.items()})


def test_a_tensor_that_is_alone_is_told_its_own_scope(told: Any) -> None:
    model = filled(a=(2, 3), b=(7,))
    merged(recipe(model))
    assert told == [("tensor", (1, 6), 6, True), ("tensor", (1, 7), 7, True)]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ("tensor", {("row", (2, 6), 6, True)}),
        ("row", {("row", (4, 3), 3, True)}),
        ("model", {("model", (1, 12), 12, False)}),
    ],
)
def test_each_scope_is_told_as_it_is_worked_on(scope: str, expected: Any, told: Any) -> None:
    merged(recipe(filled(a=(2, 3), b=(2, 3)), scope=scope))
    assert set(told) == expected


def test_what_is_told_changes_nothing(told: Any) -> None:
    model = filled(a=(2, 3), b=(2, 3))
    alone = merged_alone(recipe(model))[0][0]
    assert told == [("tensor", (1, 6), 6, True)] * 2
    assert_same_bytes(merged(recipe(model))[0][0], alone)


def test_the_plans_own_parameters_stay_as_they_are(told: Any, plan_of: Any, header: Any) -> None:
    model = header({"a": (2, 3), "b": (6,)})
    plan = plan_of(method="listens", models=[model], parameters={"factor": 3.0})
    (strip,) = plan.strips
    assert dict(strip.joined.jobs[0].parameters) == {"scope": "row", "factor": 3.0}
    assert [dict(row.jobs[0].parameters) for row in plan.rows] == [{"scope": "tensor", "factor": 3.0}] * 2
    (domain,) = strip.domains
    assert (domain.scope, domain.size, domain.whole) == ("row", 6, True)
    assert [(d.scope, d.size) for d in plan.domains] == [("tensor", 6)] * 2


def test_only_the_job_that_has_passes_of_its_own_is_told_that_they_are_rows(
    told: Any, plan_of: Any, header: Any
) -> None:
    model = header({"a": (2, 3), "b": (6,)})
    scopes = ["tensor", "model"]
    plan = plan_of(*(Recipe(method="listens", models=[model], parameters={"scope": scope}) for scope in scopes))
    (strip,) = plan.strips
    assert [job.parameters["scope"] for job in strip.joined.jobs] == ["row", "model"]


@pytest.mark.parametrize("name", ["ties", "dare_ties", "breadcrumbs", "slerp", "mlerp"])
def test_methods_of_ours_are_told_so_too(name: str, plan_of: Any, header: Any) -> None:
    model = header({"a": (2, 3), "b": (6,)})
    (scope,) = (p.name for p in methods()[name].parameters.values() if p.role == "scope")
    plan = plan_of(method=name, models=[model, model], base=model, parameters={scope: "tensor"})
    (strip,) = plan.strips
    assert strip.joined.jobs[0].parameters == {**plan.rows[0].jobs[0].parameters, scope: "row"}


# Variants with other cells


def together(plan_of: Any, header: Any, shapes: dict[str, tuple[int, ...]], *scopes: str) -> Plan:
    """Plan merges of one model as one run, each with passes over one scope."""
    model = header(shapes)
    plan: Plan = plan_of(*(Recipe(method="listens", models=[model], parameters={"scope": scope}) for scope in scopes))
    return plan


@pytest.mark.parametrize("other", ["tensor", "model"])
def test_variants_with_other_cells_form_strips_each(other: str, told: Any, plan_of: Any, header: Any) -> None:
    assert CELL % 6
    shapes = dict.fromkeys("abc", (4, 6))
    plan = together(plan_of, header, shapes, "row", other)
    assert joined(plan) == ["abc", "abc"]
    assert [[job.variant for job in strip.joined.jobs] for strip in plan.strips] == [[0], [1]]
    assert [strip.rows[0].cell for strip in plan.strips] == [CELL // 6 * 6, CELL]
    assert [domain.scope for strip in plan.strips for domain in strip.domains] == [
        "row",
        "row" if other == "tensor" else other,
    ]
    assert [domain.size for strip in plan.strips for domain in strip.domains] == [6, 24 if other == "tensor" else 72]


def test_variants_with_equal_cells_share_their_rows(told: Any, plan_of: Any, header: Any) -> None:
    assert CELL % 8 == 0
    shapes = dict.fromkeys("abc", (4, 8))
    assert joined(together(plan_of, header, shapes, "row", "model")) == ["abc"]
    assert joined(together(plan_of, header, shapes, "row", "tensor")) == ["a", "b", "c"]  # they cut rows otherwise


def test_only_tensors_whose_cells_differ_are_read_for_each_variant(told: Any, plan_of: Any, header: Any) -> None:
    shapes = {"a": (4, 6), "b": (4, 8), "c": (4, 8), "d": (4, 6), "e": (4, 6)}
    plan = together(plan_of, header, shapes, "row", "model")
    assert joined(plan) == ["ade", "bc", "a", "de"]
    assert [len(strip.joined.jobs) for strip in plan.strips] == [1, 2, 1, 1]


@pytest.mark.parametrize("others", [("row", "model"), ("model", "row"), ("row", "tensor", "model")])
@pytest.mark.parametrize("width", [5, 6, 8])
def test_merges_together_give_what_each_gives_by_itself(width: int, others: tuple[str, ...], told: Any) -> None:
    model = {name: torch.randint(-3, 4, (4, width)).float() for name in "abcde"}  # sums are exact in any order
    merges = [recipe(model, scope=scope) for scope in others]
    for found, own in zip(merged(*merges, workers=2)[0], merges, strict=True):
        assert_same_bytes(found, merged(own)[0][0])

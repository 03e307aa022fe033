"""Rehearsals: each kind of job once, on few elements, however many there will be."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pytest

from cuvee.execute import rehearsal
from cuvee.execute.merged import open_sources
from cuvee.execute.rehearsal import Rehearsal, Rehearsals
from cuvee.methods.declare import Scope, Weights, method
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import CELL, Domain, Job, Row
from cuvee.recipe.recipe import Recipe
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, total
from plan.conftest import HeaderOnly

Planner = Callable[..., Plan]
BILLION = 10**9

pytestmark = pytest.mark.usefixtures("forget")


@pytest.fixture
def plan_of() -> Iterator[Planner]:
    """Return a function that plans a merge of two models of which only headers are known."""
    with open_sources() as sources:

        def make(tensors: Mapping[str, Any], name: str, **more: Any) -> Plan:
            models = {label: HeaderOnly(tensors) for label in ("one", "two")}
            return make_plan([sources.resolve(Recipe(method=name, models=models, base=HeaderOnly(tensors), **more))])

        yield make


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is made up; what would take gigabytes is not made."""
    sizes: list[int] = []
    make = rehearsal._made_up

    def watched(dtype: Any, size: int, model: int) -> Any:
        sizes.append(size)
        assert size < BILLION // 10
        return make(dtype, size, model)

    monkeypatch.setattr(rehearsal, "_made_up", watched)
    return sizes


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the rows whose jobs are rehearsed."""
    names: list[str] = []
    rehearse = rehearsal._rehearse

    def watched(row: Row, job: Job, domain: Domain) -> Rehearsal:
        names.append(row.name)
        return rehearse(row, job, domain)

    monkeypatch.setattr(rehearsal, "_rehearse", watched)
    return names


def rehearse_all(plan: Plan) -> list[Rehearsal]:
    rehearsals = Rehearsals()
    return [rehearsals.of(strip, j) for strip in plan.strips for j in range(len(strip.joined.jobs))]


# How much is made up


def declare_summing(locality: Any, shapes: set[tuple[int, ...]]) -> None:
    """Declare a method, "sums", that notes the shapes it sees."""

    @method(locality=locality, passes=lambda _: 1)
    def sums(weights: Weights) -> Passes[Operand]:
        """Add the models up after a pass.

        Args:
            weights: models.
        """
        yield from total(gram_matrix, weights)
        shapes.add(tuple(weights[0].tensor.shape))
        return weighted_sum(weights, [1.0] * len(weights))


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
@pytest.mark.parametrize(
    "shape", [(100_000, 10_000), (BILLION // 3, 3), (1000, 1000, 1000), (2 * BILLION // CELL, CELL // 2)]
)
@pytest.mark.parametrize("locality", ["block", "rows", "matrix"])
def test_of_a_billion_elements_no_more_than_a_few_cells_are_made_up(
    locality: str, shape: tuple[int, ...], dtype: str, plan_of: Planner, made_up: list[int]
) -> None:
    shapes: set[tuple[int, ...]] = set()
    declare_summing(locality, shapes)
    plan = plan_of({"w": (shape, dtype)}, "sums")
    assert plan.rows[0].size > 0.99 * BILLION
    (found,) = rehearse_all(plan)
    assert found.lane == "tensors"
    assert found is not rehearsal.UNKNOWN
    assert 0 < max(made_up) <= CELL
    assert all(shape[-1] == own[-1] for own in shapes) == (locality != "block")


def test_a_cell_of_every_size_up_to_the_whole_is_made_up(plan_of: Planner, made_up: list[int]) -> None:
    declare_summing("matrix", set())
    for size in (1, 5, 4096, 4097, CELL // 4):
        made_up.clear()
        rehearse_all(plan_of({"w": (size, 1)}, "sums"))
        assert max(made_up) == size


# What is alike


@pytest.mark.parametrize("name", ["ties", "breadcrumbs", "slerp", "mlerp"])
def test_rows_of_about_one_width_are_rehearsed_once(name: str, plan_of: Planner, tried: list[str]) -> None:
    scope = {"trim_scope" if name == "ties" else "scope": "row"}
    tensors = {f"w{width}": (300, width) for width in range(65, 128)}
    plan = plan_of(tensors, name, parameters=scope)
    assert len(plan.strips) == 63
    assert len(set(map(id, rehearse_all(plan)))) == 1
    assert len(tried) == 1


def test_rows_of_other_widths_are_rehearsed_for_themselves(plan_of: Planner, tried: list[str]) -> None:
    widths = {f"w{width:04}": (3, width) for width in (1, 2, 3, 4, 7, 8, 63, 64, 127, 128, 255, 1023)}
    rehearse_all(plan_of(widths, "mlerp", parameters={"scope": "row"}))
    assert sorted(tried) == ["w0001", "w0002", "w0004", "w0008", "w0063", "w0064", "w0128", "w1023"]


def test_of_what_takes_its_passes_over_tensors_widths_do_not_matter(plan_of: Planner, tried: list[str]) -> None:
    tensors = {f"w{width}": (300, width) for width in (1, 2, 65, 700)}
    rehearse_all(plan_of(tensors, "mlerp", parameters={"scope": "model"}))
    assert len(tried) == 1


def test_scopes_are_rehearsed_each_by_itself(plan_of: Planner, tried: list[str]) -> None:
    @method(passes=lambda _: 1)
    def scoped(weights: Weights, *, scope: Scope[Literal["tensor", "row"]] = "row") -> Passes[Operand]:
        """Take the first model after a pass.

        Args:
            weights: models.
            scope: what the pass is taken over.
        """
        yield from total(gram_matrix, weights)
        return weights[0]

    tensors = dict.fromkeys("ab", (300, 70))
    for own in ("row", "tensor"):
        rehearse_all(plan_of(tensors, "scoped", parameters={"scope": own}))
    assert tried == ["a", "a"]

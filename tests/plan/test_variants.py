"""Several recipes planned as one run: what they share is read once."""

from typing import Any

import pytest

from cuvee.execute.describe import plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import CELL
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule

TENSORS = {"w": (6, 4), "v": (5,)}


@pytest.fixture
def models(header: Any) -> dict[str, Any]:
    return {label: header(TENSORS) for label in ("a", "b", "c")}


def some(models: Any, labels: str) -> dict[str, Any]:
    return {label: models[label] for label in labels}


def test_variants_share_rows_and_inputs(plan_of: Any, models: Any) -> None:
    recipes = [Recipe(method="linear", models=models, parameters={"weight": [w, 1, 1]}) for w in (1, 2, 3)]
    planned = plan_of(*recipes)
    assert [row.name for row in planned.rows] == ["w", "v"]
    for row in planned.rows:
        assert len(row.inputs) == 3
        assert [job.variant for job in row.jobs] == [0, 1, 2]
        assert [job.operands for job in row.jobs] == [(0, 1, 2)] * 3
        assert [job.parameters["weight"][0] for job in row.jobs] == [1, 2, 3]
    single = plan_of(recipes[0])
    assert planned.bytes_read == single.bytes_read
    assert planned.bytes_written == 3 * single.bytes_written
    assert len(planned.outputs) == len(planned.config) == len(planned.variants) == 3


def test_operands_point_to_the_right_models_whatever_the_order(plan_of: Any, models: Any) -> None:
    first = Recipe(method="linear", models=some(models, "ab"))
    second = Recipe(method="task_arithmetic", models=some(models, "cb"), base=models["a"])
    planned = plan_of(first, second)
    for row in planned.rows:
        sources = [item.source for item in row.inputs]
        assert sources == [models["a"], models["b"], models["c"]]
        job = row.jobs[1]
        assert [sources[i] for i in job.operands] == [models["c"], models["b"]]
        assert job.base is not None
        assert sources[job.base] is models["a"]


def test_comparisons_point_to_the_right_models_too(plan_of: Any, header: Any) -> None:
    models = {label: header({"ids": ((3,), "I64")}) for label in "abc"}
    planned = plan_of(
        Recipe(method="linear", models=some(models, "cab")), Recipe(method="linear", models=some(models, "abc"))
    )
    (row,) = planned.rows
    sources = [item.source for item in row.inputs]
    kept = [[sources[i] for i in (*job.operands, *job.compare)] for job in row.jobs]
    assert kept == [[models[label] for label in "cab"], [models[label] for label in "abc"]]


def test_most_readings_of_an_input_are_what_is_counted(plan_of: Any, header: Any) -> None:
    models = {label: header({"w": (2 * CELL,)}) for label in "abc"}
    average = Recipe(method="linear", models=models)
    arc = Recipe(method="slerp", models=some(models, "ab"), parameters={"scope": "model"})
    assert plan_of(average, arc).bytes_read == (2 + 2 + 1) * 4 * 2 * CELL


def test_variants_have_domains_of_their_own(plan_of: Any, models: Any) -> None:
    planned = plan_of(*(Recipe(method="mlerp", models=some(models, pair)) for pair in ("ab", "bc")))
    assert [[job.domain for job in row.jobs] for row in planned.rows] == [[0, 1], [0, 1]]
    assert [domain.size for domain in planned.domains] == [29, 29]


def test_rows_that_are_cut_otherwise_are_not_shared(plan_of: Any, models: Any) -> None:
    whole = Recipe(method="linear", models=models)
    parts = Recipe(method="linear", models=models, tensors=[Rule(match=("w",), parts=2)])
    by_rows = Recipe(method="mlerp", models=models, parameters={"scope": "row"})
    planned = plan_of(whole, parts, by_rows)
    tiles = {(row.name, row.start, row.size, row.cell): len(row.jobs) for row in planned.rows}
    assert tiles == {
        ("w", 0, 24, CELL): 2,
        ("v", 0, 5, CELL): 2,
        ("w", 0, 12, CELL): 1,
        ("w", 12, 12, CELL): 1,
        ("v", 0, 5, CELL // 5 * 5): 1,  # whole rows
    }


def test_equal_sizes_of_other_widths_are_not_shared(plan_of: Any, header: Any) -> None:
    tall, wide = header({"w": (6, 4)}), header({"w": (4, 6)})
    planned = plan_of(*(Recipe(method="linear", models=[model]) for model in (tall, wide)))
    assert [(row.width, len(row.jobs)) for row in planned.rows] == [(4, 1), (6, 1)]
    assert [spec["w"].shape for spec in planned.outputs] == [(6, 4), (4, 6)]


def test_each_variant_has_its_own_output(plan_of: Any, models: Any) -> None:
    planned = plan_of(
        Recipe(method="linear", models=models, output=Output(dtype="bfloat16")),
        Recipe(method="linear", models=models, tensors=[Rule(match=("v",), skip=True)]),
    )
    assert [{name: str(spec.dtype) for name, spec in out.items()} for out in planned.outputs] == [
        {"w": "BF16", "v": "BF16"},
        {"w": "F32"},
    ]


def test_what_several_variants_warn_of_is_said_once(plan_of: Any, models: Any, header: Any) -> None:
    recipes = [Recipe(method="linear", models=models, base=header(TENSORS), seed=seed) for seed in range(3)]
    assert len(plan_of(*recipes).warnings) == 1


def test_no_variant_is_no_row(plan_of: Any) -> None:
    empty = make_plan([])
    assert (empty.rows, empty.bytes_read, empty.bytes_written) == ((), 0, 0)


def test_plan_closes_what_it_opened_and_nothing_else(models: Any) -> None:
    closed: list[str] = []
    for label, source in models.items():
        source.close = lambda label=label: closed.append(label)
    planned = plan(Recipe(method="linear", models=models))
    assert len(planned.rows) == 2
    assert closed == []


def test_what_is_read_is_told_of_each_variant_and_of_all(plan_of: Any, models: Any) -> None:
    rule = Rule(match=("v",), copy="a")
    first = Recipe(method="linear", models=some(models, "ab"), tensors=[rule])
    second = Recipe(method="linear", models=some(models, "bc"), tensors=[Rule(match=("w",), skip=True)])
    planned = plan_of(first, second)
    a, b, c = (id(models[label]) for label in "abc")
    expected = {
        0: {a: {"w", "v"}, b: {"w"}, c: set()},
        1: {a: set(), b: {"v"}, c: {"v"}},
        None: {a: {"w", "v"}, b: {"w", "v"}, c: {"v"}},
    }
    for variant, names in expected.items():
        assert {source: set(own) for source, own in planned.reads(variant).items()} == names

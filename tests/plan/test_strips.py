"""Strips: which rows are worked on as one, and where a run of a strip's elements lies in its rows."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from cuvee.methods.declare import Weights, method
from cuvee.methods.registry import find_method
from cuvee.plan import planner
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL
from cuvee.plan.strips import Strip, strips_of
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output, Rule
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Position
from end_to_end.recipes import recipe_for

HALF = CELL // 2
ALIKE = dict.fromkeys("abcde", (6,))
SHAPES = {"a": (2, 6), "b": (3, 4), "c": (5, 4), "d": (4, 5), "e": (7, 5), "f": (7, 5)}
"""Some of equal size, 12, 20 or 35, and some of equal width, 4 or 5."""


def joined(plan: Plan) -> list[str]:
    """The names of each strip's rows, which are letters, in one word."""
    return ["".join(row.name for row in strip.rows) for strip in plan.strips]


@pytest.fixture
def strips(plan_of: Any, header: Any) -> Any:
    """Return a function that merges two models of some tensors on paper; what is joined then."""

    def make(tensors: Mapping[str, Any], name: str = "linear", rules: Sequence[Rule] = (), **parameters: Any) -> Any:
        models = {label: header(tensors) for label in ("one", "two")}
        _, most = find_method(name).models
        some = dict(list(models.items())[:most])
        base = header(tensors)
        return joined(plan_of(method=name, models=some, base=base, tensors=list(rules), parameters=parameters))

    return make


# What joins


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("linear", {}),
        ("copy", {}),
        ("task_arithmetic", {}),
        ("ties", {"trim_scope": "model"}),
        ("breadcrumbs", {"scope": "model"}),
        ("slerp", {"scope": "model"}),
        ("mlerp", {"scope": "model"}),
    ],
)
def test_rows_of_any_size_join_where_none_has_passes_of_its_own(strips: Any, name: str, parameters: Any) -> None:
    assert strips(SHAPES, name, **parameters) == ["abcdef"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ties", {"trim_scope": "tensor"}),
        ("ties", {"trim_scope": "tensor", "density": 1.0, "elect": False}),  # no passes, but its size is asked for
        ("dare_ties", {"trim_scope": "tensor"}),
        ("breadcrumbs", {"scope": "tensor"}),
        ("slerp", {"scope": "tensor"}),
        ("mlerp", {"scope": "tensor"}),
    ],
)
def test_rows_with_passes_of_their_own_join_those_of_equal_size(strips: Any, name: str, parameters: Any) -> None:
    assert strips(SHAPES, name, **parameters) == ["ab", "cd", "ef"]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ties", {"trim_scope": "row"}),
        ("breadcrumbs", {"scope": "row"}),
        ("slerp", {"scope": "row"}),
        ("mlerp", {"scope": "row"}),
    ],
)
def test_in_row_scope_those_of_equal_width_join(strips: Any, name: str, parameters: Any) -> None:
    assert strips(SHAPES, name, **parameters) == ["a", "bc", "def"]


def test_rows_that_draw_join_those_of_equal_size(strips: Any) -> None:
    assert strips(SHAPES, "dare_linear") == ["ab", "cd", "ef"]
    assert strips(SHAPES, "dare_ties", trim_scope="model") == ["ab", "cd", "ef"]
    assert strips(SHAPES, "dare_ties", trim_scope="row") == ["a", "b", "c", "d", "ef"]


def test_a_number_and_a_vector_of_one_element_join(strips: Any) -> None:
    for parameters in ({"trim_scope": "tensor"}, {"trim_scope": "row"}):
        assert strips({"a": (), "b": (1,), "c": (1, 1)}, "ties", **parameters) == ["abc"]


# What does not


@pytest.mark.parametrize(
    "rule",
    [
        Rule(match=("c", "d"), method="task_arithmetic"),
        Rule(match=("c", "d"), method="slerp"),
        Rule(match=("c", "d"), parameters={"weight": [1.0, 2.0]}),
        Rule(match=("c", "d"), copy="one"),
    ],
)
def test_what_a_rule_treats_otherwise_stays_apart(strips: Any, rule: Rule) -> None:
    assert strips(ALIKE, rules=[rule]) == ["ab", "cd", "e"]


def test_copies_of_different_models_stay_apart(strips: Any) -> None:
    rules = [Rule(match=("a", "b"), copy="one"), Rule(match=("c", "d"), copy="two")]
    assert strips(ALIKE, rules=rules) == ["ab", "cd", "e"]


def test_what_a_rule_leaves_out_parts_nothing(strips: Any) -> None:
    assert strips(ALIKE, rules=[Rule(match=("c",), skip=True)]) == ["abde"]


def test_only_rows_that_follow_one_another_by_name_join(strips: Any) -> None:
    assert strips(ALIKE, rules=[Rule(match=("b", "d"), copy="one")]) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("dtype", ["F16", "BF16", "F64"])
@pytest.mark.parametrize("output", [None, "float32"])
def test_element_types_that_differ_in_any_model_keep_rows_apart(
    plan_of: Any, header: Any, place: int, dtype: str, output: str | None
) -> None:
    models = [header(ALIKE), header(ALIKE)]
    models[place] = header({**ALIKE, "c": ((6,), dtype)})
    assert joined(plan_of(method="linear", models=models, output=Output(dtype=output))) == ["ab", "c", "de"]


@pytest.mark.parametrize(("size", "expected"), [(HALF, ["abc"]), (HALF + 1, ["a", "b", "c"])])
def test_a_row_of_more_than_half_a_cell_is_alone(strips: Any, size: int, expected: list[str]) -> None:
    assert strips({"a": (3,), "b": (size,), "c": (3,)}) == expected


def test_a_run_is_cut_where_it_would_exceed_a_cell(strips: Any) -> None:
    tensors = {"a": (HALF,), "b": (HALF,), "c": (1,), "d": (HALF,), "e": (HALF,), "f": (HALF - 1,)}
    assert strips(tensors) == ["ab", "cd", "ef"]


def test_in_row_scope_a_cell_holds_whole_rows(strips: Any) -> None:
    tensors = dict.fromkeys("abc", (CELL // 20, 10))  # two of them fill it
    assert CELL % 10
    assert strips(tensors, "mlerp", scope="row") == ["ab", "c"]
    assert strips(tensors | {"b": (CELL // 20 + 1, 10)}, "mlerp", scope="row") == ["a", "b", "c"]


def test_empty_rows_are_alone(strips: Any) -> None:
    assert strips({"a": (3,), "b": (0, 7), "c": (0, 7), "d": (3,)}) == ["a", "b", "c", "d"]


def test_copies_that_are_compared_are_alone(plan_of: Any, header: Any) -> None:
    model = header(dict.fromkeys("abc", ((6,), "I64")))
    assert joined(plan_of(method="linear", models=[model, model])) == ["a", "b", "c"]
    assert joined(plan_of(method="linear", models=[model])) == ["abc"]
    rule = Rule(match=("*",), copy="m0")
    assert joined(plan_of(method="linear", models=[model, model], tensors=[rule])) == ["abc"]


def declare_one(**declared: Any) -> None:
    @method(**declared)
    def fresh(weights: Weights) -> Operand:
        """Take the first model.

        Args:
            weights: models.
        """
        return weights[0]


def test_a_method_that_takes_no_passes_joins_rows(forget: None, strips: Any) -> None:
    declare_one()
    assert strips(SHAPES, "fresh") == ["abcdef"]


def test_methods_without_parameters_stay_apart_too(forget: None, strips: Any) -> None:
    declare_one(models=(1, 1))
    assert strips(ALIKE, "fresh", [Rule(match=("c", "d"), copy="one")]) == ["ab", "cd", "e"]


@pytest.mark.parametrize("locality", ["rows", "matrix"])
def test_a_method_of_whole_rows_or_matrices_never_joins(forget: None, strips: Any, locality: str) -> None:
    declare_one(locality=locality)
    assert strips(ALIKE, "fresh") == [*"abcde"]


def test_a_method_with_passes_that_knows_no_rows_never_joins(forget: None, strips: Any) -> None:
    declare_one(passes=lambda _: 1)
    assert strips(ALIKE, "fresh") == [*"abcde"]


def test_a_method_that_asks_for_a_size_and_knows_no_rows_never_joins(forget: None, strips: Any) -> None:
    @method()
    def placed(weights: Weights, position: Position) -> Operand:
        """Take the first model.

        Args:
            weights: models.
            position: where the cell lies.
        """
        return weights[0]

    assert strips(ALIKE, "placed") == [*"abcde"]


def test_values_over_depth_join_rows_of_a_layer(plan_of: Any, header: Any) -> None:
    names = [f"layers.{layer}.{name}" for layer in range(3) for name in "abc"]
    model = header(dict.fromkeys(names, (6,)))
    plan = plan_of(method="slerp", models=[model, model], parameters={"t": {"over_depth": [0.0, 1.0]}})
    assert [[row.name for row in strip.rows] for strip in plan.strips] == [names[:3], names[3:6], names[6:]]


def test_in_model_scope_only_rows_that_take_their_passes_together_join(plan_of: Any, header: Any) -> None:
    model = header(ALIKE)
    rule = Rule(match=("c", "d"), parameters={"density": 0.5})
    plan = plan_of(method="ties", models=[model, model], base=model, tensors=[rule])
    assert joined(plan) == ["ab", "cd", "e"]
    assert [{row.jobs[0].domain for row in strip.rows} for strip in plan.strips] == [{0}, {1}, {0}]
    assert [list(strip.domains) for strip in plan.strips] == [[plan.domains[i]] for i in (0, 1, 0)]


# Several merges at once


def recipe(name: str, models: Sequence[Any], **parameters: Any) -> Recipe:
    return Recipe.of(recipe_for(find_method(name), models, models[0], **parameters))


@pytest.fixture
def together(plan_of: Any, header: Any) -> Any:
    """Return a function that plans merges of the same two models as one run."""

    def make(tensors: Mapping[str, Any], *merges: tuple[str, Mapping[str, Any]]) -> Plan:
        models = [header(tensors), header(tensors)]
        plan: Plan = plan_of(*(recipe(name, models, **parameters) for name, parameters in merges))
        return plan

    return make


TENSOR, ROW, MODEL = ({"trim_scope": scope} for scope in ("tensor", "row", "model"))


def test_rows_join_if_they_do_so_for_every_variant(together: Any) -> None:
    linear = ("linear", {})
    assert joined(together(SHAPES, linear, linear)) == ["abcdef"]
    assert joined(together(SHAPES, linear, ("ties", TENSOR))) == ["ab", "cd", "ef"]
    assert joined(together(SHAPES, ("dare_linear", {}), ("ties", MODEL))) == ["ab", "cd", "ef"]


def test_variants_that_cut_rows_otherwise_keep_them_apart(together: Any) -> None:
    squares = {"a": (4, 4), "b": (4, 4), "c": (16,), "d": (16,)}
    assert joined(together(squares, ("ties", TENSOR))) == ["abcd"]
    assert joined(together(squares, ("ties", ROW))) == ["ab", "cd"]
    assert joined(together(squares, ("ties", TENSOR), ("ties", ROW))) == ["a", "b", "cd"]


def test_rows_that_only_one_variant_makes_stay_apart(plan_of: Any, header: Any) -> None:
    models = {"one": header(ALIKE)}
    some = [Rule(match=("c", "d"), skip=True)]
    plan = plan_of(Recipe(method="linear", models=models), Recipe(method="linear", models=models, tensors=some))
    assert joined(plan) == ["ab", "cd", "e"]
    assert [len(strip.joined.jobs) for strip in plan.strips] == [2, 1, 2]
    others = [Rule(match=("a", "b", "e"), skip=True)]
    apart = plan_of(*(Recipe(method="copy", models=models, tensors=rules) for rules in (some, others)))
    assert joined(apart) == ["ab", "e", "cd"]


def test_each_job_of_a_strip_has_what_its_passes_are_taken_over(together: Any) -> None:
    merges = [("linear", {}), ("ties", TENSOR), ("ties", MODEL)]
    plan = together({"a": (2, 3), "b": (6,), "c": (3, 2)}, *merges)
    (strip,) = plan.strips
    assert [(domain.scope, domain.size) for domain in strip.domains] == [("tensor", 6), ("row", 6), ("model", 18)]
    assert strip.joined.width == 6
    assert strip.domains[2] is plan.domains[strip.rows[1].jobs[2].domain]


# What a strip is


def test_a_strip_is_like_its_first_row_but_of_their_size(plan_of: Any, header: Any) -> None:
    model = header({"a": ((2, 3), "BF16"), "b": ((5,), "BF16"), "c": ((), "BF16")})
    (strip,) = plan_of(method="linear", models=[model, model], output=Output(dtype="float32")).strips
    whole, first = strip.joined, strip.rows[0]
    assert (whole.name, whole.start, whole.size, whole.cell, whole.cells) == ("a", 0, 12, 12, 1)
    assert (whole.inputs, whole.jobs) == (first.inputs, first.jobs)
    assert [strip.nbytes(i) for i in range(2)] == [24, 24]


def test_a_row_of_its_own_is_a_strip_as_it_is(plan_of: Any, header: Any) -> None:
    plan = plan_of(method="linear", models=[header({"w": (CELL + 3,)})])
    (strip,) = plan.strips
    assert strip.joined is plan.rows[0]
    assert (list(strip.rows), list(strip.domains)) == (list(plan.rows), list(plan.domains))


def test_parts_of_a_tensor_lie_in_order(plan_of: Any, header: Any) -> None:
    model = header({"w": (12, 5)})
    plan = plan_of(method="linear", models=[model], tensors=[Rule(match=("w",), parts=12)])
    for rows in (plan.rows, plan.rows[::-1]):
        (strip,) = strips_of(rows, plan.domains)
        assert [row.start for row in strip.rows] == list(range(0, 60, 5))


def test_strips_come_in_the_order_of_their_first_rows(plan_of: Any, header: Any) -> None:
    model = header(dict.fromkeys("eadbc", (6,)))
    rule = Rule(match=("c", "d"), copy="m0")
    assert joined(plan_of(method="linear", models=[model], tensors=[rule])) == ["e", "ab", "cd"]


def many(draw: random.Random, plan_of: Any, header: Any) -> Plan:
    """Plan a merge of tensors of many sizes, stored in any order, some of them treated otherwise."""
    names = [f"{i:02}" for i in range(40)]
    draw.shuffle(names)
    model = header({name: (draw.choice([0, 1, 5, 8, 8, 8, 30, 32, 33, 200]),) for name in names})
    some = tuple(draw.sample(names, 6))
    scope = draw.choice(["model", "tensor"])
    rules = [Rule(match=some[:3], copy="m0"), Rule(match=some[3:], method="mlerp", parameters={"scope": scope})]
    plan: Plan = plan_of(method=draw.choice(["linear", "mlerp"]), models=[model, model], tensors=rules)
    return plan


@pytest.mark.parametrize("seed", range(15))
def test_every_row_lies_in_one_strip_and_no_strip_exceeds_a_cell(
    seed: int, plan_of: Any, header: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CELL", 64)
    plan = many(random.Random(seed), plan_of, header)
    places = {id(row): place for place, row in enumerate(plan.rows)}
    assert sorted(places[id(row)] for strip in plan.strips for row in strip.rows) == list(range(len(plan.rows)))
    assert (firsts := [places[id(strip.rows[0])] for strip in plan.strips]) == sorted(firsts)
    for strip in plan.strips:
        assert strip.joined.size == sum(row.size for row in strip.rows)
        assert len(strip.rows) == 1 or (strip.joined.size <= 64 and max(row.size for row in strip.rows) <= 32)
    assert 1 < max(len(strip.rows) for strip in plan.strips) < len(plan.rows)


@pytest.mark.parametrize("seed", range(5))
def test_which_rows_join_does_not_depend_on_their_stored_order(
    seed: int, plan_of: Any, header: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CELL", 64)
    plan = many(random.Random(seed), plan_of, header)
    shuffled = list(plan.rows)
    random.Random(seed).shuffle(shuffled)
    found = {tuple(row.name for row in strip.rows) for strip in strips_of(shuffled, plan.domains)}
    assert found == {tuple(row.name for row in strip.rows) for strip in plan.strips}
    assert all(list(names) == sorted(names) for names in found)


# Pieces


@pytest.fixture
def strip(plan_of: Any, header: Any) -> Strip:
    """Four rows that are one strip."""
    (strip,) = plan_of(method="linear", models=[header({"a": (3,), "b": (1,), "c": (2, 2), "d": (5,)})]).strips
    assert isinstance(strip, Strip)
    return strip


def test_a_run_of_elements_is_cut_where_rows_meet(strip: Strip) -> None:
    elements = [(row.name, i) for row in strip.rows for i in range(row.size)]
    assert len(elements) == strip.joined.size == 13
    for first in range(13):
        for size in range(1, 14 - first):
            pieces = list(strip.pieces(first, size))
            assert [(row.name, start + i) for row, start, n in pieces for i in range(n)] == elements[first:][:size]
            assert len({row.name for row, _, _ in pieces}) == len(pieces)
            assert all(n for _, _, n in pieces)


def test_a_run_of_a_single_row_is_left_as_it_is(strip: Strip) -> None:
    row = strip.rows[2]
    alone = Strip(joined=row, rows=(row,), domains=strip.domains)
    assert list(alone.pieces(1, 2)) == [(row, 1, 2)]

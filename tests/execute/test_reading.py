"""Raw elements: read from the sources, or kept since an earlier sweep. What is merged is the same."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.execute.merged import open_sources
from cuvee.execute.reading import Buffers, Kept, read
from cuvee.execute.run import execute
from cuvee.execute.shelf import Shelf
from cuvee.methods.declare import Method
from cuvee.plan import planner
from cuvee.plan.limits import PLACE, Limits, budget_of
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.strips import Strip
from cuvee.recipe.recipe import Recipe
from cuvee.resolve import Sources
from cuvee.writers.memory import MemoryWriter
from end_to_end.recipes import each_scope, recipe_for
from end_to_end.uneven import Weights, assert_same_bytes, models
from execute.sampled import sampled_bytes

SMALL = 1 << 8
"""Elements in a cell of a grid made finer for the test."""
ROOM = 1 << 20

State = Mapping[str, torch.Tensor]


@pytest.fixture(autouse=True)
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", SMALL)


@pytest.fixture
def sources() -> Iterator[Sources]:
    """Sources that stay open during a test."""
    with open_sources() as opened:
        yield opened


def numbered(tensors: Mapping[str, int], first: int) -> State:
    """A model whose elements count up, in float32."""
    return {name: torch.arange(first, first + size, dtype=torch.float32) for name, size in tensors.items()}


def plan_of(sources: Sources, *recipes: Mapping[str, Any]) -> Plan:
    return make_plan([sources.resolve(Recipe.of(recipe)) for recipe in recipes])


def strip_of(plan: Plan, name: str) -> Strip:
    (strip,) = [strip for strip in plan.strips if strip.joined.name == name]
    return strip


def floats(data: Any) -> list[float]:
    return data.view(np.float32).tolist()


LONG, SHORT = 3 * SMALL, 10
TWO: Sequence[State] = [numbered({"long": LONG, "short": SHORT}, first) for first in (0, 10_000)]
SLERP = {"cuvee": 1, "method": "slerp", "models": TWO}  # a pass over what is longer than a cell
LINEAR = {"cuvee": 1, "method": "linear", "models": TWO}


# Buffers


def test_a_buffer_is_used_again_and_grows_when_it_must() -> None:
    buffers = Buffers()
    first = buffers.get("in", 0, 100)
    smaller, larger = buffers.get("in", 0, 50), buffers.get("in", 0, 200)
    assert (first.nbytes, smaller.nbytes, larger.nbytes) == (100, 50, 200)
    assert np.shares_memory(first, smaller)
    assert not np.shares_memory(first, larger)
    assert np.shares_memory(buffers.get("in", 0, 150), larger)


def test_each_use_and_each_input_has_a_buffer_of_its_own() -> None:
    buffers = Buffers()
    held = [buffers.get(use, index, 10) for use in ("in", "out") for index in (0, 1)]
    for number, buffer in enumerate(held):
        buffer[:] = number
    assert [buffer.tolist() for buffer in held] == [[number] * 10 for number in range(4)]


# Reading


def test_what_is_needed_is_read_and_counted(sources: Sources, reads: list[tuple[str, int, int]]) -> None:
    strip = strip_of(plan_of(sources, LINEAR), "long")
    raw, moved = read(strip, [0, 1], 5, 3, Buffers(), None)
    assert [floats(data) for data in raw] == [[5, 6, 7], [10_005, 10_006, 10_007]]
    assert (moved, reads) == (24, [("long", 20, 12)] * 2)


def test_what_is_not_needed_is_not_read(sources: Sources, reads: list[tuple[str, int, int]]) -> None:
    strip = strip_of(plan_of(sources, LINEAR), "long")
    raw, moved = read(strip, [1], 0, 2, Buffers(), None)
    assert raw[0] is None
    assert floats(raw[1]) == [10_000, 10_001]
    assert (moved, len(reads)) == (8, 1)


def test_parts_of_a_tensor_are_read_from_where_they_lie(sources: Sources) -> None:
    plan = plan_of(sources, {**LINEAR, "tensors": [{"match": "long", "parts": 3}]})
    rows = sorted((row for row in plan.rows if row.name == "long"), key=lambda row: row.start)
    parts = [Strip.of(row, plan.domains) for row in rows]
    assert [floats(read(strip, [0], 1, 2, Buffers(), None)[0][0]) for strip in parts] == [
        [start + 1, start + 2] for start in (0, SMALL, 2 * SMALL)
    ]


# Keeping


def test_what_is_kept_is_read_in_the_first_sweep_and_never_again(
    sources: Sources, reads: list[tuple[str, int, int]]
) -> None:
    plan = plan_of(sources, SLERP)
    strip = strip_of(plan, "long")
    kept = Kept.of(plan, [strip], Shelf(ROOM))
    assert kept is not None
    before = [read(strip, [0, 1], first, SMALL, Buffers(), kept) for first in range(0, LONG, SMALL)]
    assert [moved for _, moved in before] == [2 * 4 * SMALL] * 3
    assert len(reads) == 6
    kept.full = True
    after = [read(strip, [0, 1], first, SMALL, Buffers(), kept) for first in range(0, LONG, SMALL)]
    assert [moved for _, moved in after] == [0] * 3
    assert len(reads) == 6
    assert [floats(raw[1]) for raw, _ in after] == [floats(raw[1]) for raw, _ in before]
    assert floats(after[2][0][0]) == list(range(2 * SMALL, LONG))


def test_inputs_that_are_read_once_are_not_kept(sources: Sources) -> None:
    shelf = Shelf(ROOM)
    plan = plan_of(sources, SLERP)
    assert Kept.of(plan, [strip_of(plan, "short")], shelf) is None
    linear = plan_of(sources, LINEAR)
    assert Kept.of(linear, linear.strips, shelf) is None
    assert shelf.take(ROOM) is not None  # nothing of it was taken


def test_of_several_merges_only_what_one_reads_again_is_kept(sources: Sources) -> None:
    third = numbered({"long": LONG, "short": SHORT}, 20_000)
    plan = plan_of(sources, SLERP, {**LINEAR, "models": [*TWO, third]})
    strip = strip_of(plan, "long")
    kept = Kept.of(plan, [strip], Shelf(ROOM))
    assert kept is not None
    assert [kept.part(strip, i, 0, 4) is not None for i in range(3)] == [True, True, False]
    kept.full = True
    for _ in range(2):
        assert read(strip, range(3), 0, 5, Buffers(), Kept.of(plan, [strip], Shelf(0)))[1] == 60
        assert read(strip, [2], 0, 5, Buffers(), kept)[1] == 20


@pytest.mark.parametrize("capacity", [0, 4 * LONG, 2 * 4 * LONG - 1])
def test_where_there_is_no_room_for_all_nothing_is_kept_nor_held(sources: Sources, capacity: int) -> None:
    plan, shelf = plan_of(sources, SLERP), Shelf(capacity)
    assert Kept.of(plan, [strip_of(plan, "long")], shelf) is None
    assert shelf.take(capacity // PLACE * PLACE) is not None


def test_memory_that_is_released_is_lent_again(sources: Sources) -> None:
    plan, shelf = plan_of(sources, SLERP), Shelf(2 * 4 * LONG)
    strip = strip_of(plan, "long")
    for _ in range(3):
        kept = Kept.of(plan, [strip], shelf)
        assert kept is not None
        assert Kept.of(plan, [strip], shelf) is None
        kept.release()
    assert shelf.take(2 * 4 * LONG) is not None


# Whole runs


def run(plan: Plan, keep_bytes: int, workers: int) -> tuple[Weights, int]:
    """Merge in memory; return the result and the bytes read."""
    writer = MemoryWriter(list(plan.outputs[0].items()))
    budget = budget_of(plan, Limits(workers=workers, block_bytes=4 * SMALL))
    report = execute(plan, [writer], replace(budget, keep_bytes=keep_bytes))
    return writer.tensors(), report.bytes_read


@each_scope
def test_what_is_kept_gives_the_same_bytes_as_what_is_read_again(
    method: Method, settings: Mapping[str, Any], sources: Sources
) -> None:
    base, *others = models(SMALL, torch.bfloat16)
    plan = plan_of(sources, recipe_for(method, others, base, **settings))
    once = sum(item.nbytes for row in plan.rows for item in row.inputs) + sampled_bytes(plan)
    expected, all_read = run(plan, 0, workers=1)
    for workers in (1, 4):
        for keep_bytes in (budget_of(plan, Limits()).keep_bytes, 4 * SMALL, 0):
            merged, bytes_read = run(plan, keep_bytes, workers)
            assert_same_bytes(merged, expected)
            assert once <= bytes_read <= all_read


@each_scope
def test_where_there_is_room_for_all_each_input_is_read_once(
    method: Method, settings: Mapping[str, Any], sources: Sources
) -> None:
    base, *others = models(SMALL, torch.float32)  # of some tensors the bytes fill no whole number of places
    plan = plan_of(sources, recipe_for(method, others, base, **settings))
    keep_bytes = budget_of(plan, Limits()).keep_bytes
    assert (keep_bytes > 0) == (max(plan.readings(row.jobs[0]) for row in plan.rows) > 1)
    once = sum(item.nbytes for row in plan.rows for item in row.inputs)
    assert run(plan, keep_bytes, workers=2)[1] == once + sampled_bytes(plan)
    again = run(plan, 0, workers=2)[1] - sampled_bytes(plan)
    assert plan.bytes_read <= again <= plan.bytes_read_at_most

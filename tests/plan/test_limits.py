"""What a run may use of the machine, and what it will use of that."""

import re
from collections.abc import Callable
from math import nan
from typing import Any

import pytest

from cuvee.errors import PlanError, RecipeError
from cuvee.plan import limits as limits_module
from cuvee.plan import planner
from cuvee.plan.limits import (
    FRAMEWORK,
    INTERPRETER,
    KEPT,
    LOADED,
    PLACE,
    SMALLEST_BLOCK,
    Budget,
    Limits,
    budget_of,
    cells_per_block,
)
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL
from cuvee.recipe.rule import Rule

MB = 1_000_000
LARGE = 1 << 24


def in_kernels(plan: Plan, limits: Limits) -> Budget:
    """A budget for a run that never makes a torch tensor."""
    return budget_of(plan, limits, lambda _row, _job: False)


def needed(plan: Plan, **limits: int) -> int:
    """The memory that a run of compiled kernels takes where it keeps nothing."""
    budget = in_kernels(plan, Limits(**limits))
    return budget.peak_memory - budget.keep_bytes


@pytest.fixture
def linear(plan_of: Any, header: Any) -> Callable[..., Plan]:
    """Return a function that plans an average of models of one tensor, in bfloat16."""

    def make(size: int = LARGE, count: int = 2) -> Plan:
        return plan_of(method="linear", models=[header({"model.weight": ((size,), "BF16")}) for _ in range(count)])

    return make


@pytest.fixture
def ties(plan_of: Any, header: Any) -> Plan:
    """A plan that reads its inputs several times: of two large tensors, a small one, and one that is copied."""
    tensors = {"a": ((LARGE,), "BF16"), "b": ((LARGE // 4,), "BF16"), "c": ((5,), "BF16"), "ids": ((3,), "I64")}
    return plan_of(method="ties", models=[header(tensors), header(tensors)], base=header(tensors))


# Limits


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": -1}, {"block_bytes": 0}, {"memory": 0}, {"memory": -1}, {"block_bytes": -5}]
)
def test_limits_must_be_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="must be at least 1, not") as caught:
        Limits(**wrong)
    assert f"not {next(iter(wrong.values()))}." in str(caught.value)


NO_NUMBERS = [{"workers": "2"}, {"workers": 1.5}, {"workers": None}, {"block_bytes": 1e6}, {"memory": "300MB"}]


@pytest.mark.parametrize("wrong", [*NO_NUMBERS, {"memory": nan}, {"memory": True}])
def test_limits_are_whole_numbers(wrong: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="must be a whole number, not"):
        Limits(**wrong)


def test_memory_counts_what_the_process_holds_already(plan_of: Any, header: Any) -> None:
    model = header({"w": ((LARGE,), "BF16")})
    plan = plan_of(method="slerp", models=[model, model])
    fresh, large = (budget_of(plan, Limits(workers=1), lambda *_: False, held) for held in (0, 1 << 30))
    assert large.peak_memory - fresh.peak_memory == (1 << 30) + LOADED - INTERPRETER
    assert large.keep_bytes == fresh.keep_bytes > 0
    with pytest.raises(PlanError, match=r"of which this process holds 1,074 MB already"):
        budget_of(plan, Limits(memory=900 << 20), lambda *_: False, 1 << 30)


def test_there_is_no_limit_of_memory_by_default_and_blocks_are_of_a_mebibyte() -> None:
    assert Limits().memory is None
    assert Limits().block_bytes == 1 << 20


def test_there_is_a_worker_for_each_core_by_default_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert Limits().workers == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert Limits().workers == 8
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert Limits().workers == 5
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert Limits().workers == 1


# What a run takes


def test_more_workers_and_larger_blocks_take_more_memory(linear: Callable[..., Plan]) -> None:
    peaks = [needed(linear(), workers=w, block_bytes=b) for w, b in ((1, 1 << 20), (1, 1 << 22), (4, 1 << 22))]
    assert peaks == sorted(set(peaks))


def test_more_models_take_more_memory(linear: Callable[..., Plan]) -> None:
    peaks = [needed(linear(count=count), workers=1) for count in (2, 4, 40)]
    assert peaks == sorted(set(peaks))


def test_what_is_larger_than_a_block_takes_no_more_memory(linear: Callable[..., Plan]) -> None:
    assert needed(linear(1 << 21), workers=2) == needed(linear(1 << 33), workers=2)


def test_without_a_limit_nothing_is_made_smaller(linear: Callable[..., Plan], ties: Plan) -> None:
    for plan in (linear(), linear(count=100), ties):
        budget = budget_of(plan, Limits(workers=8, block_bytes=1 << 24))
        assert (budget.workers, budget.block_bytes) == (8, 1 << 24)


def test_moving_bytes_takes_no_memory_for_torch(plan_of: Any, header: Any) -> None:
    model = header({"w": (1 << 20,)})
    limits = Limits(workers=1)
    assert INTERPRETER < budget_of(plan_of(method="copy", models=[model]), limits).peak_memory < INTERPRETER + FRAMEWORK
    assert budget_of(plan_of(method="linear", models=[model]), limits).peak_memory > INTERPRETER + FRAMEWORK


def test_compiled_kernels_take_no_memory_for_torch(linear: Callable[..., Plan]) -> None:
    kernels, torch = (budget_of(linear(), Limits(workers=1), lambda *_, to=to: to).peak_memory for to in (False, True))
    assert kernels < INTERPRETER + FRAMEWORK < torch


def test_one_job_on_torch_tensors_is_enough_to_count_torch(plan_of: Any, header: Any) -> None:
    model = header({"w": (10,), "v": (10,)})
    plan = plan_of(method="linear", models=[model, model])
    budget = budget_of(plan, Limits(workers=1), lambda row, _: row.name == "v")
    assert budget.peak_memory - in_kernels(plan, Limits(workers=1)).peak_memory > FRAMEWORK


def test_every_tensor_takes_a_little_memory(plan_of: Any, header: Any) -> None:
    few, many = (header({f"w{i}": (4,) for i in range(count)}) for count in (100, 10_100))
    peaks = [needed(plan_of(method="linear", models=[model, model]), workers=1) for model in (few, many)]
    assert 10 * MB < peaks[1] - peaks[0] < 100 * MB


def test_empty_plan_has_a_budget_too(plan_of: Any, header: Any) -> None:
    plan = plan_of(method="linear", models=[header({})])
    assert plan.rows == ()
    budget = budget_of(plan, Limits(workers=1))
    assert budget.peak_memory > 0
    assert budget.keep_bytes == 0
    with pytest.raises(PlanError, match="Allow"):
        budget_of(plan, Limits(workers=1, memory=1))


def test_blocks_are_whole_cells_and_one_at_least(plan_of: Any, header: Any) -> None:
    (row,) = plan_of(method="linear", models=[header({"w": (1 << 20,)})]).rows
    assert cells_per_block(row, 1) == 1
    assert cells_per_block(row, 4 * row.cell) == 1
    assert cells_per_block(row, 8 * row.cell - 1) == 1
    assert cells_per_block(row, 8 * row.cell) == 2


def test_the_widest_type_read_or_written_decides_how_many_cells_fit(plan_of: Any, header: Any) -> None:
    models = [header({"w": ((8 * CELL,), dtype)}) for dtype in ("BF16", "F32", "BF16")]
    narrow, mixed = (plan_of(method="linear", models=own).rows[0] for own in (models[::2], models))
    assert cells_per_block(narrow, 8 * CELL) == 4
    assert cells_per_block(mixed, 8 * CELL) == 2


# Where memory is short


def test_a_limit_that_suffices_changes_nothing_but_what_is_kept(ties: Plan) -> None:
    most = needed(ties, workers=4)
    budget = in_kernels(ties, Limits(workers=4, memory=most))
    assert budget == Budget(workers=4, block_bytes=1 << 20, keep_bytes=0, peak_memory=most)


def test_blocks_get_smaller_before_workers_get_fewer(
    linear: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planner, "CELL", 1 << 12)  # so small that blocks can be as small as they may be
    plan = linear(count=8)
    seen = []
    for memory in range(needed(plan, workers=4), 0, -MB):
        try:
            budget = in_kernels(plan, Limits(workers=4, memory=memory))
        except PlanError:
            break
        assert budget.peak_memory <= memory
        seen.append((budget.workers, budget.block_bytes))
    assert seen == sorted(seen, reverse=True)
    assert {workers for workers, _ in seen} == {1, 2, 3, 4}
    assert {block for workers, block in seen if workers < 4} == {SMALLEST_BLOCK}
    assert {block for workers, block in seen if workers == 4} == {1 << 20, 1 << 19, 1 << 18, 1 << 17, SMALLEST_BLOCK}


def test_blocks_that_are_asked_for_small_do_not_get_larger(ties: Plan) -> None:
    with pytest.raises(PlanError):
        in_kernels(ties, Limits(workers=1, block_bytes=1, memory=INTERPRETER))
    assert in_kernels(ties, Limits(workers=1, block_bytes=1)).block_bytes == 1


@pytest.mark.parametrize("to_torch", [True, False])
def test_too_little_memory_is_refused_with_the_tensor_that_needs_most_and_what_suffices(
    plan_of: Any, header: Any, to_torch: bool
) -> None:
    model = header({"small": (10,), "model.large": (LARGE,), "medium": (CELL // 2,)})
    plan = plan_of(method="linear", models=[model] * 3)
    with pytest.raises(PlanError) as caught:
        budget_of(plan, Limits(workers=4, memory=50 * MB), lambda *_: to_torch)
    said = str(caught.value)
    assert said.startswith("model.large: this tensor needs ")
    assert "\n" not in said
    assert "the limit is 50 MB" in said
    enough = int(re.findall(r"Allow (\d+) MB or more\.", said)[0])
    budget = budget_of(plan, Limits(workers=4, memory=enough * MB), lambda *_: to_torch)
    assert budget.workers == 1
    assert budget.peak_memory <= enough * MB
    with pytest.raises(PlanError):
        budget_of(plan, Limits(workers=4, memory=(enough - 1) * MB), lambda *_: to_torch)


# What is kept


def test_what_is_read_once_is_not_kept(linear: Callable[..., Plan], ties: Plan) -> None:
    assert in_kernels(linear(), Limits()).keep_bytes == 0
    assert in_kernels(linear(), Limits(memory=10_000 * MB)).keep_bytes == 0
    assert in_kernels(ties, Limits()).keep_bytes > 0


def test_what_is_read_again_is_kept_and_counted(ties: Plan) -> None:
    read_again = 3 * 2 * (LARGE + LARGE // 4)
    budget = in_kernels(ties, Limits(workers=1))
    assert read_again < budget.keep_bytes <= read_again + 3 * PLACE
    assert budget.peak_memory == needed(ties, workers=1) + budget.keep_bytes


def test_every_input_that_is_kept_has_whole_places(plan_of: Any, header: Any) -> None:
    model = header({"w": (CELL + 1,), "v": (1,)})
    plan = plan_of(method="slerp", models=[model, model], parameters={"scope": "model"})
    assert in_kernels(plan, Limits()).keep_bytes == 2 * (4 * CELL + PLACE + PLACE)


def test_by_default_a_run_keeps_what_brings_it_to_half_a_gigabyte(ties: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KEPT == 512 << 20
    everything = in_kernels(ties, Limits(workers=1, memory=100_000 * MB)).keep_bytes
    monkeypatch.setattr(limits_module, "KEPT", needed(ties, workers=1) + everything)
    assert in_kernels(ties, Limits(workers=1)).keep_bytes == everything > 0
    monkeypatch.setattr(limits_module, "KEPT", 1000)
    assert in_kernels(ties, Limits(workers=1)).keep_bytes == 0


def test_what_takes_its_passes_together_is_kept_whole_or_not_at_all(ties: Plan) -> None:
    most = needed(ties, workers=1)
    everything = in_kernels(ties, Limits(workers=1, memory=100_000 * MB)).keep_bytes
    for spare, kept in ((0, 0), (everything - 1, 0), (everything, everything), (everything + 1, everything)):
        budget = in_kernels(ties, Limits(workers=1, memory=most + spare))
        assert (budget.keep_bytes, budget.peak_memory) == (kept, most + kept)
    assert in_kernels(ties, Limits(workers=1, memory=100_000 * MB)) == in_kernels(ties, Limits(workers=1))


def test_a_large_limit_keeps_more_than_is_kept_by_default(plan_of: Any, header: Any) -> None:
    model = header({"w": (1 << 28,)})
    plan = plan_of(method="slerp", models=[model, model])
    assert in_kernels(plan, Limits(workers=1)).keep_bytes == 0
    assert in_kernels(plan, Limits(workers=1)).peak_memory < KEPT
    assert in_kernels(plan, Limits(workers=1, memory=10_000 * MB)).keep_bytes == 2 * 4 << 28


def test_a_rule_can_make_a_tensor_be_read_once_and_so_not_be_kept(plan_of: Any, header: Any) -> None:
    model = header({"w": (LARGE,), "v": (LARGE,)})
    both, one = (
        plan_of(method="slerp", models=[model, model], tensors=rules)
        for rules in ([], [Rule(match=("v",), method="linear")])
    )
    assert in_kernels(both, Limits()).keep_bytes == 2 * in_kernels(one, Limits()).keep_bytes > 0


def test_what_sources_take_to_read_counts_for_each_worker(plan_of: Any, header: Any) -> None:
    models = {label: header({"w": (1 << 11, 1 << 10)}, reference=label) for label in "ab"}  # four cells
    plan = plan_of(method="linear", models=models)
    before = {workers: needed(plan, workers=workers) for workers in (1, 3)}
    models["a"].memory, models["b"].memory = 20 * MB, 5 * MB
    assert {workers: needed(plan, workers=workers) - nbytes for workers, nbytes in before.items()} == {
        1: 25 * MB,
        3: 75 * MB,
    }

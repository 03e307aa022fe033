"""The memory of what a run learns: answers for each row, samples, counts, and what every job of a tensor takes."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pytest

from cuvee.plan import limits as limits_module
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL
from cuvee.plan.sample import num_pieces
from cuvee.recipe.recipe import Recipe
from cuvee.tensors.passes import PIECE

MB = 1_000_000


def needed(plan: Plan, *, workers: int = 1, in_torch: bool = False) -> int:
    """The memory that a run takes where it keeps nothing."""
    budget = budget_of(plan, Limits(workers=workers), lambda _row, _job: in_torch)
    return budget.peak_memory - budget.keep_bytes


@pytest.fixture
def planned(plan_of: Any, header: Any) -> Any:
    """Return a function that plans a merge of some models of some tensors, in bfloat16."""

    def make(tensors: Mapping[str, tuple[int, ...]], name: str, count: int = 2, **parameters: Any) -> Plan:
        specs = {tensor: (shape, "BF16") for tensor, shape in tensors.items()}
        models = [header(specs) for _ in range(count)]
        base = header(specs) if name in ("ties", "breadcrumbs") else None
        plan: Plan = plan_of(method=name, models=models, base=base, parameters=parameters)
        return plan

    return make


# Variants


def variants(plan_of: Any, header: Any, count: int, names: Sequence[str]) -> Plan:
    """Plan several merges of the same models as one run."""
    models = [header(dict.fromkeys(names, (4,))) for _ in range(2)]
    merges = [Recipe(method="linear", models=models, parameters={"weight": k + 1.0}) for k in range(count)]
    plan: Plan = plan_of(*merges)
    assert [len(row.jobs) for row in plan.rows] == [count] * len(names)
    return plan


def test_more_variants_take_more_memory(plan_of: Any, header: Any) -> None:
    names = [f"w{i}" for i in range(500)]
    peaks = [needed(variants(plan_of, header, count, names)) for count in (1, 2, 3, 4)]
    assert peaks == sorted(set(peaks))
    each = [(more - less) / len(names) for less, more in pairwise(peaks)]
    assert all(500 < own < 5000 for own in each)


def test_each_variant_of_one_tensor_has_a_buffer_of_its_own(plan_of: Any, header: Any) -> None:
    models = [header({"w": (4 * CELL,)}) for _ in range(2)]
    one, three = (
        plan_of(*(Recipe(method="linear", models=models, parameters={"weight": k + 1.0}) for k in range(count)))
        for count in (1, 3)
    )
    for workers in (1, 4):
        assert (
            4 * CELL * 2 * workers <= needed(three, workers=workers) - needed(one, workers=workers) < 5 * CELL * 2 * 4
        )


# Rows


@pytest.mark.parametrize("in_torch", [False, True])
@pytest.mark.parametrize("name", ["ties", "breadcrumbs", "slerp", "mlerp"])
def test_narrower_rows_take_more_memory(name: str, in_torch: bool, planned: Any) -> None:
    scope = "trim_scope" if name == "ties" else "scope"
    peaks = [
        needed(planned({"w": (4 * CELL // width, width)}, name, **{scope: "row"}), in_torch=in_torch)
        for width in (4096, 512, 64, 8, 1)
    ]
    assert peaks == sorted(set(peaks))
    assert peaks[-1] - peaks[0] > 8 * CELL * 2 * 2  # inner products of two models, at least


def test_more_models_take_more_memory_for_narrow_rows(planned: Any) -> None:
    def narrow(count: int) -> int:
        rows, one = (planned({"w": shape}, "mlerp", count, scope="row") for shape in ((CELL, 2), (2, CELL)))
        return needed(rows) - needed(one)

    extra = [narrow(count) for count in (2, 4, 8)]
    assert extra == sorted(set(extra))
    assert extra[-1] >= CELL // 2 * 8 * 8**2  # of eight models


def test_rows_are_counted_for_every_worker(planned: Any) -> None:
    wide, narrow = (planned({"w": (4 * CELL // w, w)}, "mlerp", scope="row") for w in (4096, 4))
    extra = [needed(narrow, workers=workers) - needed(wide, workers=workers) for workers in (1, 2, 4)]
    assert extra == [extra[0], 2 * extra[0], 4 * extra[0]]
    assert extra[0] > 0


def test_where_passes_are_taken_over_tensors_narrow_rows_take_no_more(planned: Any) -> None:
    for scope in ("tensor", "model"):
        peaks = {needed(planned({"w": (4 * CELL // width, width)}, "mlerp", scope=scope)) for width in (4096, 4, 1)}
        assert len(peaks) == 1


def test_small_tensors_with_passes_of_their_own_are_counted_as_rows_are(planned: Any) -> None:
    few, many = (
        planned({f"w{i:05}": (4096 // count,) for i in range(count)}, "mlerp", scope="tensor") for count in (4, 1024)
    )
    assert [len(plan.strips) for plan in (few, many)] == [1, 1]
    each = (needed(many) - needed(few)) / 1020
    assert each > 4 << 10  # beyond what a tensor takes anyway: inner products


# Samples


def with_size(planned: Any, size: int, count: int = 2) -> int:
    return needed(planned({"w": (size,)}, "ties", count, density=0.5))


def test_samples_are_counted(planned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for size, count in ((8 * CELL, 2), (10**10, 2), (10**10, 5)):
        before = with_size(planned, size, count)
        with monkeypatch.context() as patch:
            patch.setattr(limits_module, "PIECE", 2 * PIECE)
            more = with_size(planned, size, count) - before
        assert more >= num_pieces(size) * PIECE * 4 * count


def test_samples_and_counts_grow_with_the_domain_up_to_a_bound(planned: Any) -> None:
    sizes = [8 * CELL, 10**8, 10**9, 10**10]
    peaks = [with_size(planned, size) for size in sizes]
    assert peaks == sorted(set(peaks))
    assert with_size(planned, 10**12) - with_size(planned, 10**11) < 200 * MB


@pytest.mark.parametrize(("name", "size"), [("linear", 10**10), ("mlerp", 7), ("ties", CELL // 2)])
def test_what_takes_no_pass_takes_no_sample(
    name: str, size: int, planned: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = needed(planned({"w": (size,)}, name))
    monkeypatch.setattr(limits_module, "PIECE", 100 * PIECE)
    assert needed(planned({"w": (size,)}, name)) == before

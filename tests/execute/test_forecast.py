"""What a run is expected to cost: bytes exactly, the rest within reason, and nothing by the clock."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from cuvee.errors import PlanError, SourceError
from cuvee.execute import forecast as forecast_module
from cuvee.execute import rehearsal
from cuvee.execute.forecast import READ_BYTES, READS, Rate, forecast
from cuvee.execute.merged import open_sources
from cuvee.execute.rehearsal import Rehearsals
from cuvee.methods import declare
from cuvee.methods.declare import Method, Weights
from cuvee.plan import limits
from cuvee.plan.limits import FRAMEWORK, INTERPRETER, Limits
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import CELL
from cuvee.recipe.recipe import Recipe
from cuvee.sources.memory import Memory
from cuvee.spec import DTYPES
from cuvee.tensors.passes import Passes, total
from cuvee.writers.save import save_state_dict
from end_to_end.recipes import active, each_method, each_scope, recipe_for

LARGE = CELL + 1000
FLOATS = [dtype for dtype in DTYPES.values() if dtype.kind == "float"]
FUSED = {"F32", "F16", "BF16"}
"""Types that compiled kernels know."""
IN_TORCH = {"della", "della_linear", "sce", "ramplus", "arcee_fusion"}
"""Methods that they do not: those need ranks in a row, variances over models, divergences."""

Planner = Callable[..., Plan]


@pytest.fixture
def plan_of() -> Iterator[Planner]:
    """Return a function that plans recipes; their sources stay open during the test."""
    with open_sources() as sources:
        yield lambda *recipes: make_plan([sources.resolve(Recipe.of(recipe)) for recipe in recipes])


@pytest.fixture
def theirs(forget: None) -> Method:
    """Declare a method that takes a pass and computes in torch."""

    @declare.method(passes=lambda _: 1)
    def theirs(weights: Weights) -> Passes[torch.Tensor]:
        """Divide by the sum.

        Args:
            weights: models.
        """
        (value,) = yield from total(lambda: weights[0].tensor.double().sum().reshape(1).numpy())
        return weights[0].tensor / float(value)

    return cuvee.methods()["theirs"]


def models(size: int = LARGE, count: int = 3, dtype: torch.dtype = torch.bfloat16) -> list[dict[str, torch.Tensor]]:
    """Models with a tensor of this size, a small one, and one that is copied."""
    return [
        {"w": torch.full((size,), 1.0 + i).to(dtype), "v": torch.ones(7, dtype=dtype), "ids": torch.arange(3)}
        for i in range(count)
    ]


def recipe(method: str = "linear", given: Any = None, **more: Any) -> dict[str, Any]:
    return {"cuvee": 1, "method": method, "models": given or models(), **more}


# Bytes, seconds, memory


@each_scope
def test_bytes_are_those_of_the_plan_and_seconds_are_some(
    method: Method, settings: Mapping[str, Any], plan_of: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, *others = models(4)
    plan = plan_of(recipe_for(method, others, base, **settings))
    expected = forecast(plan, Limits(workers=2))
    once = sum(item.nbytes for row in plan.rows for item in row.inputs)
    assert (expected.bytes_read, expected.bytes_read_at_most) == (once, plan.bytes_read_at_most)
    with monkeypatch.context() as patch:
        patch.setattr(limits, "KEPT", 0)
        assert forecast(plan, Limits(workers=2)).bytes_read == plan.bytes_read
    assert expected.bytes_written == plan.bytes_written
    assert isfinite(expected.seconds)
    assert expected.seconds > 0
    assert isfinite(expected.compute_seconds)
    assert expected.compute_seconds >= 0
    for rate in (expected.reading, expected.writing):
        assert isfinite(rate.seconds)
        assert rate.seconds > 0
        assert rate.cpu_seconds >= 0
    assert expected.budget.workers == 2


def test_a_plan_without_rows_costs_nothing_to_speak_of(plan_of: Planner) -> None:
    expected = forecast(plan_of(recipe(given=[Memory({}), Memory({})])), Limits())
    assert (expected.bytes_read, expected.bytes_written, expected.lanes) == (0, 0, [])
    assert expected.reading == Rate(0.0, 0.0)
    assert expected.seconds == 0


def test_empty_tensors_are_no_trouble(plan_of: Planner) -> None:
    expected = forecast(plan_of(recipe("slerp", [{"w": torch.empty(0, 3)}] * 2)), Limits())
    assert expected.reading == Rate(0.0, 0.0)
    assert expected.bytes_read == 0


def test_too_little_memory_is_refused_before_anything_is_read(
    plan_of: Planner, reads: list[tuple[str, int, int]]
) -> None:
    with pytest.raises(PlanError, match=r"^w: this tensor needs .* Allow \d+ MB or more\.$"):
        forecast(plan_of(recipe()), Limits(memory=1_000_000))
    assert reads == []


def test_an_input_that_cannot_be_read_is_an_error(plan_of: Planner, tmp_path: Path) -> None:
    save_state_dict(tmp_path / "m", {"w": torch.ones(100_000)})
    plan = plan_of(recipe(given=[str(tmp_path / "m")] * 2))
    with (tmp_path / "m" / "model.safetensors").open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        forecast(plan, Limits())


# How fast inputs are read, and files written


def test_few_blocks_are_read_and_they_lie_all_over_the_inputs(
    plan_of: Planner, reads: list[tuple[str, int, int]]
) -> None:
    large = [{f"w{i}": torch.zeros(READ_BYTES // 2 + 5000, dtype=torch.uint8) for i in range(50)} for _ in range(2)]
    forecast(plan_of(recipe("copy", large[:1])), Limits())
    assert 1 < len(reads) <= 1 + READS
    assert all(0 < nbytes <= READ_BYTES for _, _, nbytes in reads)
    assert {name for name, _, _ in reads} >= {"w0", "w46"}


def test_of_one_large_input_a_part_is_read(plan_of: Planner, reads: list[tuple[str, int, int]]) -> None:
    forecast(plan_of(recipe("copy", [{"w": torch.zeros(3 * READ_BYTES, dtype=torch.uint8)}])), Limits())
    assert reads == [("w", 0, 1), ("w", 0, READ_BYTES)]  # the first one opens the file


def test_parts_are_read_from_where_they_lie(plan_of: Planner, reads: list[tuple[str, int, int]]) -> None:
    fused = {"w": torch.zeros(4, 100)}
    forecast(plan_of(recipe(given=[fused], tensors=[{"match": "w", "parts": 4}])), Limits())
    assert sorted(reads[1:]) == [("w", offset, 400) for offset in (0, 400, 800, 1200)]


def test_a_slow_disk_is_not_read_for_long(
    plan_of: Planner, reads: list[tuple[str, int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forecast_module, "READ_SECONDS", 0.0)
    expected = forecast(plan_of(recipe()), Limits())
    assert len(reads) == 2  # one to open the file
    assert expected.reading.seconds > 0


@pytest.mark.parametrize("folder", [".", "new", "new/folder", "file"])
def test_writing_is_tried_where_the_output_would_lie_and_leaves_nothing(
    plan_of: Planner, tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("something")
    places: list[Path | None] = []
    temporary = forecast_module.tempfile.TemporaryFile

    def watched(dir: Path | None = None) -> Any:
        places.append(dir)
        return temporary(dir=dir)

    monkeypatch.setattr(forecast_module.tempfile, "TemporaryFile", watched)
    assert forecast(plan_of(recipe()), Limits(), tmp_path / folder).writing.seconds > 0
    assert places == [tmp_path]
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_place_that_cannot_be_written_is_found_out_by_the_run_alone(
    plan_of: Planner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(dir: Path | None = None) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(forecast_module.tempfile, "TemporaryFile", full)
    assert forecast(plan_of(recipe()), Limits(), tmp_path).writing == Rate(0.0, 0.0)


# How each job computes


def lanes(plan: Plan) -> dict[str, list[str]]:
    """Lanes of the jobs of each row."""
    return dict(zip((row.name for row in plan.rows), map(list, forecast(plan, Limits()).lanes), strict=True))


def test_lanes_are_told_for_every_job_of_every_row(plan_of: Planner, theirs: Method) -> None:
    given = models()
    plan = plan_of(recipe(given=given), recipe("theirs", given, tensors=[{"match": "v", "copy": "m1"}]))
    assert lanes(plan) == {"w": ["fused", "tensors"], "v": ["fused", "bytes"], "ids": ["bytes", "bytes"]}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@each_method
def test_every_method_is_rehearsed_on_every_element_type(method: Method, dtype: Any, plan_of: Planner) -> None:
    base, *others = models(9, dtype=getattr(torch, dtype.torch_name))
    plan = plan_of(recipe_for(method, others, base, **active(method)))
    fused = dtype.name in FUSED and method.name not in IN_TORCH
    fastest = "bytes" if method.any_dtype else "fused" if fused else "tensors"
    assert lanes(plan) == {"w": [fastest], "v": [fastest], "ids": ["bytes"]}


def test_torch_is_counted_where_a_job_needs_it(
    plan_of: Planner, theirs: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuvee.execute.forecast.resident_memory", lambda: 0)
    with_torch, without = (forecast(plan_of(recipe(name)), Limits(workers=1)).budget for name in ("theirs", "linear"))
    assert without.peak_memory - without.keep_bytes < INTERPRETER + FRAMEWORK
    assert with_torch.peak_memory - with_torch.keep_bytes > INTERPRETER + FRAMEWORK


def test_torch_is_counted_where_it_was_loaded_by_the_rehearsal(
    plan_of: Planner, theirs: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cuvee.execute.forecast.resident_memory", lambda: 200 << 20)
    peaks = []
    for was_there in (False, True):
        monkeypatch.setattr("cuvee.execute.forecast.has_torch", lambda: was_there)  # noqa: B023 - asked at once
        budget = forecast(plan_of(recipe("theirs")), Limits(workers=1)).budget
        peaks.append(budget.peak_memory - budget.keep_bytes)
    assert peaks[0] - peaks[1] == FRAMEWORK


def test_where_kernels_are_missing_all_is_computed_in_torch(plan_of: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cuvee.tensors.kernels.program.kernel", lambda: None)
    assert lanes(plan_of(recipe())) == {"w": ["tensors"], "v": ["tensors"], "ids": ["bytes"]}


def test_jobs_of_a_kind_are_rehearsed_once(plan_of: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    rehearse = rehearsal._rehearse
    monkeypatch.setattr(
        rehearsal, "_rehearse", lambda row, job, domain: tried.append(row.name) or rehearse(row, job, domain)
    )
    given = [
        {**{f"w{i}": torch.ones(5) for i in range(20)}, "half": torch.ones(5).half(), "z": torch.ones(5)}
        for _ in range(2)
    ]
    rules = [{"match": "z", "method": "slerp"}, {"match": "w1*", "parameters": {"weight": [2, 3]}}]
    forecast(plan_of(recipe(given=given, tensors=rules)), Limits())
    assert sorted(tried) == ["half", "w0", "z"]


@each_method
def test_a_rehearsal_leaves_no_trace(method: Method, plan_of: Planner, reads: list[tuple[str, int, int]]) -> None:
    base, *others = models()
    plan = plan_of(recipe_for(method, others, base, **active(method)))
    rehearsals = Rehearsals()
    for strip in plan.strips:
        before = replace(strip.joined)
        found = rehearsals.of(strip, 0)
        assert strip.joined == before
        assert min(found.per_cell, found.per_element) >= 0
    assert reads == []

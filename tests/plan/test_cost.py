"""What a plan says a run will cost, and what the run then costs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cuvee.errors import RecipeError
from cuvee.execute.merge import merge, merge_variants
from cuvee.methods.registry import find_method
from cuvee.plan.describe import describe
from cuvee.plan.limits import Limits, cells_per_block, peak_memory
from cuvee.plan.planner import plan
from cuvee.recipe.recipe import Recipe
from cuvee.sources.checkpoint import Checkpoint
from cuvee.writers.save import save_state_dict

ROWS, WIDTH = 150, 1000  # more than a cell of the grid, so that passes take readings of their own


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three checkpoints of several kinds of tensors."""
    folder = tmp_path_factory.mktemp("checkpoints")
    for number, name in enumerate(("base", "a", "b")):
        generator = torch.Generator().manual_seed(number)
        tensors = {
            "model.layers.0.mlp.weight": torch.randn(ROWS, WIDTH, generator=generator),
            "model.layers.1.mlp.weight": torch.randn(7, 3, generator=generator).bfloat16(),
            "model.norm.weight": torch.randn(5, generator=generator),
            "model.norm.running_mean": torch.randn(5, generator=generator),
            "model.position_ids": torch.arange(9),
            "model.logit_scale": torch.randn((), generator=generator),
            "model.nothing": torch.empty(0, 4),
        }
        save_state_dict(folder / name, tensors)
    return folder


# Method and parameters with which the number of passes is known beforehand.
EXACT: list[tuple[str, dict[str, Any]]] = [
    ("linear", {}),
    ("linear", {"normalize": False}),
    ("task_arithmetic", {}),
    ("slerp", {}),
    ("slerp", {"scope": "model"}),
    ("slerp", {"scope": "row", "vectors": "task"}),
    ("mlerp", {}),
    ("mlerp", {"scope": "tensor", "vectors": "task"}),
    ("ties", {"trim_scope": "tensor", "rule": "reference", "zero_sign": "zero"}),
    ("ties", {"density": 1.0}),
    ("dare_linear", {}),
    ("dare_ties", {}),
    ("dare_ties", {"trim_density": 0.5, "trim_scope": "tensor", "rule": "reference"}),
    ("breadcrumbs", {"scope": "row"}),
]
# With these, entries that lie exactly on a cut ask for one pass more; the plan says the most there can be.
AT_MOST: list[tuple[str, dict[str, Any]]] = [
    ("ties", {}),
    ("dare_ties", {"trim_density": 0.5}),
    ("breadcrumbs", {}),
    ("breadcrumbs", {"scope": "model"}),
]


def recipe(folder: Path, method: str, **parameters: Any) -> Recipe:
    return Recipe(
        method=method, models=[str(folder / "a"), str(folder / "b")], base=str(folder / "base"), parameters=parameters
    )


@pytest.mark.parametrize(("method", "parameters"), EXACT, ids=[f"{m} {p}" for m, p in EXACT])
def test_run_moves_as_many_bytes_as_the_plan_says(
    checkpoints: Path, tmp_path: Path, method: str, parameters: dict[str, Any]
) -> None:
    planned = plan(recipe(checkpoints, method, **parameters))
    moved: list[tuple[int, int]] = []
    report = merge(
        recipe(checkpoints, method, **parameters),
        tmp_path / "out.safetensors",
        limits=Limits(workers=1),
        progress=lambda nbytes, total: moved.append((nbytes, total)),
    )
    assert report.bytes_written == planned.bytes_written
    assert report.bytes_read == planned.bytes_read
    assert sum(nbytes for nbytes, _ in moved) == planned.bytes_read + planned.bytes_written
    assert {total for _, total in moved} == {planned.bytes_read + planned.bytes_written}


@pytest.mark.parametrize(("method", "parameters"), AT_MOST, ids=[f"{m} {p}" for m, p in AT_MOST])
def test_run_moves_no_more_bytes_than_the_plan_says(
    checkpoints: Path, tmp_path: Path, method: str, parameters: dict[str, Any]
) -> None:
    planned = plan(recipe(checkpoints, method, **parameters))
    report = merge(recipe(checkpoints, method, **parameters), tmp_path / "out.safetensors")
    assert report.bytes_written == planned.bytes_written
    assert planned.bytes_written * 3 * 2 < report.bytes_read <= planned.bytes_read


def test_variants_move_as_many_bytes_as_the_plan_says(checkpoints: Path, tmp_path: Path, plan_of: Any) -> None:
    recipes = {
        tmp_path / "one": recipe(checkpoints, "linear"),
        tmp_path / "two": recipe(checkpoints, "slerp", scope="model"),
        tmp_path / "three": recipe(checkpoints, "ties", rule="reference"),
    }
    planned = plan_of(*recipes.values())
    report = merge_variants(recipes, limits=Limits(workers=2))
    assert (report.bytes_read, report.bytes_written) == (planned.bytes_read, planned.bytes_written)


def test_plan_of_a_checkpoint_reads_no_weight(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a plan read a weight")

    monkeypatch.setattr(Checkpoint, "read_into", refuse)
    assert len(plan(recipe(checkpoints, "ties")).rows) == 7


def test_plan_never_loads_torch(checkpoints: Path) -> None:
    script = (
        "import sys\n"
        "from cuvee import Limits, plan\n"
        "from cuvee.plan.describe import describe\n"
        f"recipe = dict(cuvee=1, method='ties', models=[{str(checkpoints / 'a')!r}], base={str(checkpoints / 'b')!r})\n"
        "assert describe(plan(recipe), Limits())['rows']\n"
        "print('torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False\n", "")


def test_copy_without_conversion_never_loads_torch(checkpoints: Path, tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from cuvee import merge\n"
        f"merge(dict(cuvee=1, method='copy', models=[{str(checkpoints / 'a')!r}]), {str(tmp_path / 'out')!r})\n"
        "print('torch' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("False\n", "")


# What a plan says of itself


def test_description_is_plain_and_complete(checkpoints: Path) -> None:
    planned = plan(recipe(checkpoints, "ties", trim_scope="tensor"))
    described: Any = json.loads(json.dumps(describe(planned, Limits(workers=3))))
    assert set(described) == {
        "variants",
        "rows",
        "bytes_read",
        "bytes_written",
        "peak_memory",
        "workers",
        "block_bytes",
        "warnings",
    }
    assert described["workers"] == 3
    assert described["bytes_read"] == planned.bytes_read
    assert described["variants"][0]["method"] == "ties"
    assert str(checkpoints) not in json.dumps(described["variants"])
    rows = {row["tensor"]: row for row in described["rows"]}
    assert rows["model.layers.0.mlp.weight"] == {
        "tensor": "model.layers.0.mlp.weight",
        "outputs": ["model.layers.0.mlp.weight"],
        "start": 0,
        "shape": [ROWS, WIDTH],
        "dtype": "F32",
        "variant": 0,
        "method": "ties",
        "parameters": {**find_method("ties").defaults(2), "trim_scope": "tensor"},
        "models": ["m0", "m1"],
        "scope": "tensor",
        "readings": 5,
        "lane": "float32",
        "fallback": None,
    }
    assert rows["model.layers.1.mlp.weight"]["readings"] == 1
    assert rows["model.position_ids"]["fallback"] == "I64 is copied, not averaged"
    assert rows["model.position_ids"]["lane"] == "bytes"
    assert rows["model.position_ids"]["scope"] is None
    assert rows["model.norm.running_mean"]["fallback"] == "a running statistic is averaged"


# Limits


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"workers": -1}, {"block_bytes": 0}])
def test_limits_must_be_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="must be positive"):
        Limits(**wrong)


def test_there_is_a_worker_for_each_core_by_default_up_to_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert Limits().workers == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert Limits().workers == 8
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 5)
    assert Limits().workers == 5


def test_more_workers_and_larger_blocks_take_more_memory(plan_of: Any, header: Any) -> None:
    planned = plan_of(method="linear", models=[header({"w": (1 << 24,)}) for _ in range(2)])
    peaks = [
        peak_memory(planned, Limits(workers=w, block_bytes=b)) for w, b in ((1, 1 << 20), (1, 1 << 22), (4, 1 << 22))
    ]
    assert peaks == sorted(set(peaks))


def test_blocks_shrink_where_many_inputs_would_make_buffers_large(plan_of: Any, header: Any) -> None:
    few, many = (plan_of(method="linear", models=[header({"w": (1 << 24,)})] * count) for count in (2, 40))
    limits = Limits(workers=4)
    assert limits.block_bytes_for(few) == limits.block_bytes
    assert limits.block_bytes_for(many) < limits.block_bytes
    assert peak_memory(many, Limits(workers=4, block_bytes=1 << 30)) == peak_memory(many, limits)


def test_blocks_are_whole_cells_and_one_at_least(plan_of: Any, header: Any) -> None:
    (row,) = plan_of(method="linear", models=[header({"w": (1 << 20,)})]).rows
    assert cells_per_block(row, 1) == 1
    assert cells_per_block(row, 4 * row.cell) == 1
    assert cells_per_block(row, 8 * row.cell - 1) == 1
    assert cells_per_block(row, 8 * row.cell) == 2


def test_moving_bytes_takes_no_memory_for_torch(plan_of: Any, header: Any) -> None:
    model = header({"w": (1 << 20,)})
    limits = Limits(workers=1)
    assert peak_memory(plan_of(method="copy", models=[model]), limits) < 100e6
    assert peak_memory(plan_of(method="linear", models=[model]), limits) > 200e6


def test_empty_plan_has_limits_too(plan_of: Any, header: Any) -> None:
    planned = plan_of(method="linear", models=[header({})])
    assert planned.rows == ()
    assert peak_memory(planned, Limits(workers=1)) > 0

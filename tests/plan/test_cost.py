"""What a plan says a run will cost, and what the run then costs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cuvee.execute.describe import plan, predict
from cuvee.execute.merge import merge, merge_variants
from cuvee.methods.registry import find_method
from cuvee.plan import limits
from cuvee.plan.limits import Limits
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL
from cuvee.recipe.recipe import Recipe
from cuvee.sources.checkpoint import Checkpoint
from cuvee.writers.save import save_state_dict
from execute.sampled import sampled_bytes

ROWS, WIDTH = 601, 1000  # more than a cell of the grid, so that passes take readings of their own
assert ROWS * WIDTH > CELL


def write_checkpoints(folder: Path, *, coarse: bool) -> Path:
    """Write three checkpoints of several kinds of tensors, the largest coarse or smooth."""
    for number, name in enumerate(("base", "a", "b")):
        generator = torch.Generator().manual_seed(number)
        large = torch.randn(ROWS, WIDTH, generator=generator)
        tensors = {
            "model.layers.0.mlp.weight": (large * 16).round().bfloat16() if coarse else large,
            "model.layers.1.mlp.weight": torch.randn(7, 3, generator=generator).bfloat16(),
            "model.norm.weight": torch.randn(5, generator=generator),
            "model.norm.running_mean": torch.randn(5, generator=generator),
            "model.position_ids": torch.arange(9),
            "model.logit_scale": torch.randn((), generator=generator),
            "model.nothing": torch.empty(0, 4),
        }
        save_state_dict(folder / name, tensors)
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints whose task vectors have few magnitudes, as half-precision fine-tuning leaves them."""
    return write_checkpoints(tmp_path_factory.mktemp("checkpoints"), coarse=True)


@pytest.fixture(scope="module")
def smooth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints in which hardly two magnitudes are equal, so that no sample names the one on the cut."""
    return write_checkpoints(tmp_path_factory.mktemp("smooth"), coarse=False)


@pytest.fixture
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave no memory in which a run could keep what it has read."""
    monkeypatch.setattr(limits, "KEPT", 0)


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
    ("ties", {"density": 1.0}),
    ("dare_linear", {}),
    ("dare_ties", {}),
    ("breadcrumbs", {"scope": "row"}),
]
# With these, a sample guesses what the largest entries are; where it is wrong, there are more passes.
GUESSED: list[tuple[str, dict[str, Any]]] = [
    ("ties", {}),
    ("ties", {"trim_scope": "tensor", "rule": "reference", "zero_sign": "zero"}),
    ("dare_ties", {"trim_density": 0.5}),
    ("dare_ties", {"trim_density": 0.5, "trim_scope": "tensor", "rule": "reference"}),
    ("breadcrumbs", {}),
    ("breadcrumbs", {"scope": "model"}),
]

each_exact = pytest.mark.parametrize(("method", "parameters"), EXACT, ids=[f"{m} {p}" for m, p in EXACT])
each_guessed = pytest.mark.parametrize(("method", "parameters"), GUESSED, ids=[f"{m} {p}" for m, p in GUESSED])


def recipe(folder: Path, method: str, **parameters: Any) -> Recipe:
    return Recipe(
        method=method, models=[str(folder / "a"), str(folder / "b")], base=str(folder / "base"), parameters=parameters
    )


def once(planned: Plan) -> int:
    """Bytes of all inputs."""
    return sum(item.nbytes for row in planned.rows for item in row.inputs)


@each_exact
@pytest.mark.usefixtures("nothing_is_kept")
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
    assert report.bytes_read == planned.bytes_read == planned.bytes_read_at_most
    assert sum(nbytes for nbytes, _ in moved) == planned.bytes_read + planned.bytes_written
    assert {total for _, total in moved} == {planned.bytes_read + planned.bytes_written}


@each_guessed
@pytest.mark.usefixtures("nothing_is_kept")
def test_run_that_guesses_right_reads_what_the_plan_says_and_a_sample(
    checkpoints: Path, tmp_path: Path, method: str, parameters: dict[str, Any]
) -> None:
    planned = plan(recipe(checkpoints, method, **parameters))
    report = merge(recipe(checkpoints, method, **parameters), tmp_path / "out.safetensors")
    assert report.bytes_written == planned.bytes_written
    assert report.bytes_read == planned.bytes_read + sampled_bytes(planned)
    assert 0 < sampled_bytes(planned) < once(planned) / 10


@each_guessed
@pytest.mark.usefixtures("nothing_is_kept")
def test_run_that_guesses_wrong_reads_no_more_than_the_plan_says_it_may(
    smooth: Path, tmp_path: Path, method: str, parameters: dict[str, Any]
) -> None:
    planned = plan(recipe(smooth, method, **parameters))
    moved: list[tuple[int, int]] = []
    report = merge(
        recipe(smooth, method, **parameters),
        tmp_path / "out.safetensors",
        limits=Limits(workers=1),
        progress=lambda nbytes, total: moved.append((nbytes, total)),
    )
    assert report.bytes_written == planned.bytes_written
    assert planned.bytes_read < report.bytes_read - sampled_bytes(planned) <= planned.bytes_read_at_most
    assert max(total for _, total in moved) == moved[-1][1] == report.bytes_read + report.bytes_written


@pytest.mark.parametrize("folder", ["checkpoints", "smooth"])
@pytest.mark.parametrize(("method", "parameters"), [*EXACT, *GUESSED], ids=[f"{m} {p}" for m, p in [*EXACT, *GUESSED]])
def test_run_that_keeps_what_it_has_read_reads_it_once(
    folder: str, tmp_path: Path, method: str, parameters: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    given = recipe(request.getfixturevalue(folder), method, **parameters)
    planned = plan(given)
    report = merge(given, tmp_path / "out.safetensors")
    assert report.bytes_read == once(planned) + sampled_bytes(planned)


def test_report_has_what_was_expected(checkpoints: Path, tmp_path: Path) -> None:
    planned = plan(recipe(checkpoints, "ties"))
    expected = merge(recipe(checkpoints, "ties"), tmp_path / "out.safetensors", limits=Limits(workers=3)).expected
    assert expected is not None
    once = sum(item.nbytes for row in planned.rows for item in row.inputs)  # the rest is kept
    assert (expected.bytes_read, expected.bytes_read_at_most) == (once, planned.bytes_read_at_most)
    assert expected.bytes_written == planned.bytes_written
    assert expected.budget.workers == 3


@pytest.mark.usefixtures("nothing_is_kept")
def test_variants_move_as_many_bytes_as_the_plan_says(checkpoints: Path, tmp_path: Path, plan_of: Any) -> None:
    recipes = {
        tmp_path / "one": recipe(checkpoints, "linear"),
        tmp_path / "two": recipe(checkpoints, "slerp", scope="model"),
        tmp_path / "three": recipe(checkpoints, "ties", rule="reference"),
    }
    planned = plan_of(*recipes.values())
    report = merge_variants(recipes, limits=Limits(workers=2))
    assert report.bytes_read == planned.bytes_read + sampled_bytes(planned)
    assert report.bytes_written == planned.bytes_written


def test_plan_of_a_checkpoint_reads_no_weight(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a plan read a weight")

    monkeypatch.setattr(Checkpoint, "read_into", refuse)
    assert len(plan(recipe(checkpoints, "ties")).rows) == 7


@pytest.mark.parametrize("name", ["linear", "ties", "copy"])
def test_plan_and_forecast_never_load_torch(checkpoints: Path, name: str) -> None:
    models = [str(checkpoints / "a")]
    script = (
        "import sys\n"
        "from cuvee.execute.describe import predict\n"
        f"recipe = dict(cuvee=1, method={name!r}, models={models!r}, base={str(checkpoints / 'b')!r})\n"
        "assert predict(recipe)['rows']\n"
        "print('torch' in sys.modules)\n"
    )
    assert printed_by(script) == "False\n"


@pytest.mark.parametrize("name", ["copy", "linear", "ties"])
def test_copies_and_compiled_kernels_never_load_torch(checkpoints: Path, tmp_path: Path, name: str) -> None:
    recipe = {"cuvee": 1, "method": name, "models": [str(checkpoints / "a")], "base": str(checkpoints / "base")}
    script = f"import sys, cuvee\ncuvee.merge({recipe!r}, {str(tmp_path / 'out')!r})\nprint('torch' in sys.modules)\n"
    assert printed_by(script) == "False\n"


def printed_by(script: str) -> str:
    """Run a script in an interpreter of its own, and return what it printed."""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stderr == ""
    return run.stdout


# What a plan says of itself


def test_description_is_plain_and_complete(checkpoints: Path) -> None:
    given = recipe(checkpoints, "ties", trim_scope="tensor")
    planned = plan(given)
    described: Any = json.loads(json.dumps(predict(given, Limits(workers=3))))
    assert set(described) == {
        "variants",
        "rows",
        "bytes_read",
        "bytes_read_at_most",
        "bytes_written",
        "seconds",
        "compute_seconds",
        "read_rate",
        "write_rate",
        "peak_memory",
        "workers",
        "block_bytes",
        "keep_bytes",
        "warnings",
        "merges",
        "adapters",
    }
    assert described["workers"] == 3
    assert described["block_bytes"] == Limits().block_bytes
    assert described["bytes_read"] == sum(item.nbytes for row in planned.rows for item in row.inputs)
    assert described["bytes_read_at_most"] == planned.bytes_read_at_most
    assert described["bytes_written"] == planned.bytes_written
    assert described["keep_bytes"] >= 3 * 2 * ROWS * WIDTH
    assert all(described[key] > 0 for key in ("seconds", "compute_seconds", "read_rate", "write_rate"))
    assert described["variants"][0]["method"] == "ties"
    assert described["warnings"] == list(planned.warnings)
    assert str(checkpoints) not in json.dumps(described["variants"])


def test_description_has_every_row(checkpoints: Path) -> None:
    described: Any = predict(recipe(checkpoints, "ties", trim_scope="tensor"))
    rows = {row["tensor"]: row for row in described["rows"]}
    assert rows["model.layers.0.mlp.weight"] == {
        "tensor": "model.layers.0.mlp.weight",
        "outputs": ["model.layers.0.mlp.weight"],
        "start": 0,
        "shape": [ROWS, WIDTH],
        "dtype": "BF16",
        "variant": 0,
        "method": "ties",
        "parameters": {**find_method("ties").defaults(2), "trim_scope": "tensor"},
        "models": ["m0", "m1"],
        "scope": "tensor",
        "readings": 3,
        "readings_at_most": 7,
        "lane": "fused",
        "fallback": None,
    }
    small = rows["model.layers.1.mlp.weight"]
    assert (small["readings"], small["readings_at_most"]) == (1, 1)
    assert rows["model.position_ids"]["fallback"] == "I64 is copied, not averaged"
    assert rows["model.position_ids"]["lane"] == "bytes"
    assert rows["model.position_ids"]["scope"] is None
    assert rows["model.norm.running_mean"]["fallback"] == "a running statistic is averaged"

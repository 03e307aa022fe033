"""The benchmarks run, at the smallest size; nothing is said about how fast."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import cuvee

Import = Callable[[str], ModuleType]
BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SIZE = ["--billions", "0.001", "--models", "2", "--repetitions", "1"]


def run(script: str, *arguments: str | Path) -> str:
    result = subprocess.run([sys.executable, BENCHMARKS / script, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_speed_measures_records_and_cleans_up(tmp_path: Path) -> None:
    results = tmp_path / "speed.json"
    folder = tmp_path / "bench"
    options = [*SIZE, "--cases", "task_arithmetic", "--no-mergekit", "--no-warm-up", "--synced-floor"]
    said = run("speed.py", *options, "--folder", folder, "--results", results)
    assert "| task_arithmetic | 2 + base |" in said
    assert list(folder.iterdir()) == []
    (case,) = json.loads(results.read_text())["cases"]
    assert [measured["command"] for measured in case["runs"]] == ["floor", "cuvee", "floor, synced"]
    assert all(measured["seconds"] > 0 and measured["peak"] > 0 for measured in case["runs"])
    assert case["readings"] == 1
    assert str(tmp_path) not in results.read_text()


@pytest.mark.slow
def test_growth_measures_every_series(tmp_path: Path) -> None:
    results = tmp_path / "growth.json"
    options = [*SIZE, "--small", "0.001", "--experts", "3", "--tensors", "50", "--cases", "linear"]
    run("growth.py", *options, "--folder", tmp_path / "bench", "--results", results)
    cases = json.loads(results.read_text())["cases"]
    assert [(case["series"], case["value"], case["num_models"]) for case in cases] == [
        ("size", 0.001, 2),
        ("experts", 3, 3),
        ("tensors", 50, 2),
    ]


@pytest.mark.slow
def test_memory_compares_with_the_plan(tmp_path: Path) -> None:
    options = ["--billions", "0.001", "--models", "2", "--cases", "copy", "--folder", tmp_path, "--keep"]
    assert "predicted" in run("memory.py", *options)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["m0", "m1", "m2"]


def test_every_kernel_is_timed(tmp_path: Path) -> None:
    said = run("kernels.py", "--repetitions", "1", "--models", "2", "--results", tmp_path / "kernels.json")
    timed = json.loads((tmp_path / "kernels.json").read_text())["kernels"]
    assert len(timed) == 10
    assert all(each["kernel"] in said and min(each["nanoseconds"]) > 0 for each in timed)


def test_the_floor_reads_all_and_writes_the_first(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(name.encode() * ((8 << 20) + 5))
        (tmp_path / name / "config.json").write_text("{}")
    run("floor.py", "--sync", tmp_path / "out", tmp_path / "a", tmp_path / "b")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["model.safetensors"]
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"a" * ((8 << 20) + 5)


def test_every_method_that_works_on_any_block_is_a_case(module: Import, tmp_path: Path) -> None:
    folders = [tmp_path / f"m{i}" for i in range(4)]
    cases = module("cases").cases(3)
    wanted = {name for name, method in cuvee.methods().items() if method.locality == "block"}
    assert {case.method for case in cases} == wanted
    for case in cases:
        recipe = cuvee.Recipe.from_mapping(json.loads(case.recipe(folders)))
        assert (recipe.base is not None) == case.has_base == (case.inputs(folders)[0] == folders[0])


def test_mergekit_is_asked_for_the_same_models(module: Import, tmp_path: Path) -> None:
    folders = [tmp_path / f"m{i}" for i in range(4)]
    recipes = {
        case.name: json.loads(case.mergekit_recipe(folders)) for case in module("cases").cases(3) if case.in_mergekit
    }
    assert set(recipes) == set(module("cases").IN_MERGEKIT)
    assert [each["model"] for each in recipes["slerp"]["models"]] == [str(folders[1]), str(folders[2])]
    assert recipes["slerp"]["base_model"] == str(folders[1])
    assert recipes["ties"]["base_model"] == str(folders[0])
    assert recipes["ties"]["models"][2]["parameters"] == {"weight": 1.0, "density": 0.5}


def test_a_command_that_fails_ends_the_run_with_what_it_said(module: Import, tmp_path: Path) -> None:
    timing = module("timing")
    command = timing.Command([sys.executable, "-c", "raise SystemExit('no such model')"], tmp_path / "out", 1)
    with pytest.raises(SystemExit, match=r"ended with status 1:\nno such model"):
        timing.run(command)


def test_an_output_that_is_too_small_ends_the_run(module: Import, tmp_path: Path) -> None:
    timing = module("timing")
    command = timing.Command([sys.executable, "-c", "import os; os.mkdir('out')"], tmp_path / "out", 1)
    with pytest.raises(SystemExit, match="wrote 0 bytes of weights; 5 were expected"):
        list(timing.in_turn({"cuvee": command}, 5))


def test_same_bytes_compares_every_method() -> None:
    said = run("same_bytes.py", "--elements", "2000", "--seed", "3")
    assert all(f"same  {name} " in said for name in cuvee.methods())
    assert said.rstrip().endswith(", 0 failed")

"""Where the benchmarks' modules are found, and results to work on."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return a function that imports one of the benchmarks' modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module


def runs(command: str, seconds: list[float], peak: int) -> list[dict[str, Any]]:
    """Runs of one command, in the form of a results file."""
    return [
        {"command": command, "seconds": s, "cpu_seconds": 2 * s, "system_seconds": s / 2, "peak": peak, "disk_read": 0}
        for s in seconds
    ]


@pytest.fixture
def result() -> dict[str, Any]:
    """What a results file holds: two cases, of which mergekit has one; the same two at two sizes."""
    shared = {"peak_memory": 300_000_000, "parameters": {}}
    linear = {
        **shared,
        "name": "linear",
        "method": "linear",
        "num_models": 3,
        "has_base": False,
        "readings": 1.0,
        "runs": runs("floor", [1.0, 3.0, 2.0], 17_000_000)
        + runs("cuvee", [2.0, 3.0, 2.5], 200_000_000)
        + runs("mergekit", [50.0], 9_000_000_000),
    }
    ties = {
        **shared,
        "name": "ties",
        "method": "ties",
        "num_models": 3,
        "has_base": True,
        "readings": 5.0,
        "runs": runs("floor", [2.5], 17_000_000) + runs("cuvee", [30.0], 800_000_000),
    }
    series = [{**case, "series": "size", "value": value} for value in (0.1, 1.1) for case in (linear, ties)]
    machine = {"cpu": "A CPU", "cores": 2, "memory": 25_000_000_000, "system": "Linux 6.1", "python": "3.11.7"}
    return {
        "date": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789ab",
        "has_changes": True,
        "machine": machine,
        "mergekit": {"mergekit": "0.1.5"},
        "versions": {"cuvee": "0.1.0", "numpy": "2.4.6"},
        "arguments": {"repetitions": 3, "billions": 1.1},
        "cases": series,
    }

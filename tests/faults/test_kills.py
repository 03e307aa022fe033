"""Processes that merge are really killed, at moments drawn at random, and the same merge goes on."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

KILLS = Path(__file__).resolve().parents[2] / "benchmarks" / "kills.py"


def killed(*options: object) -> tuple[int, int, int]:
    """Run the trials; return the kills, how many merges went on from what was done, and how many failed."""
    command = [sys.executable, str(KILLS), *map(str, options)]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    found = re.search(r"(\d+) kills, (\d+) went on from what was done, (\d+) failed", said.stdout)
    assert found is not None, said.stdout
    kills, went_on, failed = map(int, found.groups())
    return kills, went_on, failed


def test_killed_merges_go_on() -> None:
    kills, _, failed = killed("--kills", 5, "--seed", 11, "--megabytes", 20)
    assert (kills >= 5, failed) == (True, 0)


@pytest.mark.slow
def test_merges_killed_at_many_moments_go_on() -> None:
    kills, went_on, failed = killed("--kills", 60, "--seed", 12, "--megabytes", 60)
    assert (kills >= 60, went_on >= 5, failed) == (True, True, 0)

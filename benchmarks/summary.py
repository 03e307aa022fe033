"""What follows from the timings of one run: medians, ratios, and whether the targets are met. Reads results only."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

PER_PASS = 2.0  # no method may cost more than this many times linear for each reading of the inputs


@dataclass(frozen=True, slots=True)
class Target:
    """What a case has to reach: times faster than mergekit, times the floor, bytes."""

    faster: float | None = None
    floors: float | None = None
    peak: int | None = None


TARGETS: Mapping[str, Target] = {
    "linear": Target(12, 1.5, 500_000_000),
    "slerp": Target(12, 2, 500_000_000),
    "task_arithmetic": Target(12, 1.5, 500_000_000),
    "ties": Target(40, 4, 700_000_000),
    "ties, whole model": Target(None, 6, 700_000_000),
    "dare_ties": Target(20, 3, 700_000_000),
}


@dataclass(frozen=True, slots=True)
class Cost:
    """What the runs of one command took: seconds (median, least, most), processor seconds (medians), bytes."""

    num_runs: int
    seconds: float
    low: float
    high: float
    cpu_seconds: float
    system_seconds: float
    peak: int

    def __str__(self) -> str:
        """Return the median of the seconds, and the range if there is more than one."""
        return f"{self.seconds:.2f}{f' ({self.low:.2f}–{self.high:.2f})' if self.num_runs > 1 else ''}"


@dataclass(frozen=True, slots=True)
class Summary:
    """One case: its description, and what each command took; None where it was not run."""

    case: Mapping[str, Any]
    floor: Cost
    cuvee: Cost
    synced: Cost | None
    mergekit: Cost | None

    @property
    def name(self) -> str:
        """What tables call it."""
        return str(self.case["name"])

    @property
    def floors(self) -> float:
        """How many times the floor's time cuvee takes."""
        return self.cuvee.seconds / self.floor.seconds

    @property
    def faster(self) -> float | None:
        """How many times as long mergekit takes."""
        return self.mergekit.seconds / self.cuvee.seconds if self.mergekit else None

    @property
    def per_reading(self) -> float:
        """Seconds for each reading of the inputs."""
        return self.cuvee.seconds / float(self.case["readings"])


def cost(runs: Sequence[Mapping[str, Any]]) -> Cost | None:
    """Sum up the runs of one command; None if there are none."""
    if not runs:
        return None
    seconds = [run["seconds"] for run in runs]
    return Cost(
        num_runs=len(runs),
        seconds=statistics.median(seconds),
        low=min(seconds),
        high=max(seconds),
        cpu_seconds=statistics.median(run["cpu_seconds"] for run in runs),
        system_seconds=statistics.median(run["system_seconds"] for run in runs),
        peak=max(run["peak"] for run in runs),
    )


def summaries(result: Mapping[str, Any]) -> list[Summary]:
    """Sum up every case of a results file that was measured."""
    found = []
    for case in result["cases"]:
        costs = {
            command: cost([run for run in case["runs"] if run["command"] == command])
            for command in ("floor", "cuvee", "floor, synced", "mergekit")
        }
        if costs["floor"] and costs["cuvee"]:
            found.append(Summary(case, costs["floor"], costs["cuvee"], costs["floor, synced"], costs["mergekit"]))
    return found


def times_linear(measured: Sequence[Summary]) -> dict[str, float]:
    """Return each case's seconds per reading as a multiple of linear's; nothing where linear was not measured."""
    linear = next((summary.per_reading for summary in measured if summary.name == "linear"), None)
    return {summary.name: summary.per_reading / linear for summary in measured} if linear else {}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target: what was asked of a case, and what it reached."""

    case: str
    what: str
    asked: str
    reached: str
    is_met: bool


def verdicts(measured: Sequence[Summary]) -> list[Verdict]:
    """Judge every target that the measurements can."""
    found: list[Verdict] = []
    per_reading = times_linear(measured)
    for summary in measured:
        name, target = summary.name, TARGETS.get(summary.name, Target())
        if target.faster and summary.faster:
            is_met = summary.faster >= target.faster
            found.append(Verdict(name, "mergekit ÷ cuvee", f"≥ {target.faster:g}", f"{summary.faster:.1f}", is_met))
        if target.floors:
            is_met = summary.floors <= target.floors
            found.append(Verdict(name, "cuvee ÷ floor", f"≤ {target.floors:g}", f"{summary.floors:.2f}", is_met))
        if target.peak:
            peak, is_met = summary.cuvee.peak, summary.cuvee.peak <= target.peak
            found.append(Verdict(name, "peak memory, MB", f"≤ {target.peak / 1e6:g}", f"{peak / 1e6:.0f}", is_met))
        if name in per_reading:
            share = per_reading[name]
            found.append(Verdict(name, "pass ÷ linear", f"≤ {PER_PASS:g}", f"{share:.2f}", share <= PER_PASS))
    return found

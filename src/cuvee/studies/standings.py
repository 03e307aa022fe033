"""Which method is best over all arms of a study: the shares that merges keep, and which of them cannot be told apart.

Scores of different suites cannot be averaged; ratios to the constituents and to the base can. Of each arm its merges of
the most models count.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from statistics import fmean

from cuvee.studies.rows import Row
from cuvee.studies.table import Table, sample_of
from cuvee.studies.verdict import Estimate, Sample, estimate, verdict

__all__ = ["Standing", "alike", "standings"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A method over all arms.

    Attributes:
        name: of the trial.
        num_arms: how many it is taken over; each counts the same, however often its sets were drawn.
        num_gained: of those, how many have a ratio to the base.
        num_firsts: in how many of them no other of the methods that are compared keeps more.
        retained: share of the constituents' scores on held-in cells.
        gained: ratio to the base on unseen cells.
        merge_seconds, tuning_seconds: of the processor, per merge.
        num_settings: how many settings it was chosen from.
        rows: what it is taken over.
    """

    name: str
    num_arms: int
    num_gained: int
    num_firsts: int
    retained: Estimate | None
    gained: Estimate | None
    merge_seconds: float
    tuning_seconds: float
    num_settings: int
    rows: Sequence[Row]


def standings(rows: Sequence[Row]) -> Sequence[Standing]:
    """Compare the methods that were run in every arm, or in most, beginning with the one that keeps most.

    What was given something of another model (signs, for instance) is no method that can be chosen, and left out.
    """
    table = Table(rows)
    by_name: dict[str, list[Row]] = defaultdict(list)
    for row in _largest(table):
        by_name[row.name].append(row)
    num_arms = {name: len({row.arm for row in group}) for name, group in by_name.items()}
    every = {name: group for name, group in by_name.items() if num_arms[name] == max(num_arms.values())}
    firsts = Counter(_first(table, [row for group in every.values() for row in group]))
    found = [_standing(table, name, group, num_arms[name], firsts[name]) for name, group in every.items()]
    return sorted(found, key=lambda each: -each.retained.mean if each.retained else 1.0)


def alike(
    rows: Sequence[Row], best: Standing, others: Sequence[Standing], *, unseen: bool = False
) -> Sequence[str] | None:
    """Name the methods that the best one is not certainly better than, set by set; None with too few seeds to say.

    Args:
        rows: of the study.
        best: what is compared with.
        others: of `standings`.
        unseen: compare ratios to the base on unseen cells, not shares of the constituents' scores on held-in ones.
    """
    table = Table(rows)
    score = table.gained if unseen else table.retained
    values = {_unit(row): score(row) for row in best.rows}
    names = []
    for other in others:
        if other.name == best.name:
            continue
        gaps = [(row, values[_unit(row)] - score(row)) for row in other.rows if _unit(row) in values]
        said, _ = verdict(_by_arm(gaps), above=0.0)
        if said == "no verdict":
            return None
        if said != "supported":
            names.append(other.name)
    return names


def _largest(table: Table) -> list[Row]:
    """Return the merges of the most models of each arm, of methods that can be chosen."""
    most: dict[object, int] = defaultdict(int)
    for row in table.merges():
        most[row.arm] = max(most[row.arm], len(row.models))
    return [row for row in table.merges() if len(row.models) == most[row.arm] and not row.given]


def _first(table: Table, rows: Sequence[Row]) -> list[str]:
    """Name the method that keeps most in each arm."""
    arms: dict[object, dict[str, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        arms[row.arm][row.name].append(sample_of(row, table.retained(row)))
    means = [
        {name: found.mean for name, samples in names.items() if (found := estimate(samples))} for names in arms.values()
    ]
    return [max(each, key=each.__getitem__) for each in means if each]


def _unit(row: Row) -> tuple[object, ...]:
    """Return what rows of different methods have in common that can be compared."""
    return row.arm, row.seed, row.models


def _by_arm(values: Sequence[tuple[Row, float]]) -> list[Sample]:
    """Make samples whose estimate is the mean over the arms that have a value, each of its own mean."""
    known = [(row, value) for row, value in values if isfinite(value)]
    num_arms = len({row.arm for row, _ in known})
    return [replace(sample_of(row, value / num_arms), term=" ".join(row.arm)) for row, value in known]


def _mean_cost(stage: str, rows: Sequence[Row]) -> float:
    """Return the mean over arms of a stage's seconds, each of its own mean."""
    by_arm: dict[object, list[float]] = defaultdict(list)
    for row in rows:
        by_arm[row.arm].append(row.costs[stage])
    return fmean(map(fmean, by_arm.values()))


def _standing(table: Table, name: str, rows: Sequence[Row], num_arms: int, num_firsts: int) -> Standing:
    def over(score: Callable[[Row], float]) -> Estimate | None:
        return estimate(_by_arm([(row, score(row)) for row in rows]))

    return Standing(
        name=name,
        num_arms=num_arms,
        num_gained=len({row.arm for row in rows if isfinite(table.gained(row))}),
        num_firsts=num_firsts,
        retained=over(table.retained),
        gained=over(table.gained),
        merge_seconds=_mean_cost("merge", rows),
        tuning_seconds=_mean_cost("tuning", rows),
        num_settings=max(len(row.tried) for row in rows) or 1,
        rows=rows,
    )

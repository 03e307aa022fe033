"""Which method is best over all arms of a study: the shares that merges keep, and which of them cannot be told apart.

Scores of different suites cannot be averaged; ratios to the constituents and to the base can. Of each arm its merges of
the most models count.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
        num_arms: how many it is taken over.
        num_firsts: in how many of them no other keeps more.
        retained: share of the constituents' scores on held-in cells.
        gained: ratio to the base on unseen cells.
        merge_seconds, tuning_seconds: of the processor, per merge.
        num_settings: how many settings it was chosen from.
        rows: what it is taken over.
    """

    name: str
    num_arms: int
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
    values = {(row.arm, row.seed, row.models): score(row) for row in best.rows}
    names = []
    for other in others:
        if other.name == best.name:
            continue
        gaps = [
            sample_of(row, values[row.arm, row.seed, row.models] - score(row))
            for row in other.rows
            if (row.arm, row.seed, row.models) in values
        ]
        said, _ = verdict(gaps, above=0.0)
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


def _standing(table: Table, name: str, rows: Sequence[Row], num_arms: int, num_firsts: int) -> Standing:
    def over(score: Callable[[Row], float]) -> Estimate | None:
        return estimate([sample_of(row, score(row)) for row in rows])

    return Standing(
        name=name,
        num_arms=num_arms,
        num_firsts=num_firsts,
        retained=over(table.retained),
        gained=over(table.gained),
        merge_seconds=fmean(row.costs["merge"] for row in rows),
        tuning_seconds=fmean(row.costs["tuning"] for row in rows),
        num_settings=max(len(row.tried) for row in rows) or 1,
        rows=rows,
    )

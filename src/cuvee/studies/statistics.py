"""Statistics that hypotheses are decided by: functions from rows to samples, put together from a few parts."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

from cuvee.studies.rows import Row
from cuvee.studies.table import Table, sample_of
from cuvee.studies.verdict import Sample

__all__ = [
    "Part",
    "Statistic",
    "against_base",
    "against_multitask",
    "between_counts",
    "between_parts",
    "between_trials",
    "each",
    "less",
    "rank_correlation",
    "spread",
]

SAME = 9  # digits behind the point
Score = Callable[[Table, Row], float]
"""What is looked at of a merge: `Table.held_in` and the like."""
Statistic = Callable[[Sequence[Row]], Sequence[Sample]]
Part = dict[str, str]
"""Which arms: arguments of `Table.of`."""


def each(score: Score, *names: str, num_models: int | None = None, **part: str) -> Statistic:
    """Take the value of every merge."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        table = Table(rows).of(**part)
        return [sample_of(row, score(table, row)) for row in table.merges(*names, num_models=num_models)]

    return found


def against_base(*names: str, num_models: int | None = None, **part: str) -> Statistic:
    """Take how much better merges are on unseen cells than their base, in shares."""
    return each(lambda table, row: table.unseen(row) - table.unseen(row, table.base(row)), *names,
                num_models=num_models, **part)  # fmt: skip


def against_multitask(*names: str, num_models: int | None = None, **part: str) -> Statistic:
    """Take how much better merges are on unseen cells than the multitask model of the same set, in shares."""

    def gap(table: Table, row: Row) -> float:
        multitask = table.multitask(row)
        return float("nan") if multitask is None else table.unseen(row) - table.unseen(row, multitask)

    return each(gap, *names, num_models=num_models, **part)


def between_trials(score: Score, one: str, other: str, num_models: int | None = None, **part: str) -> Statistic:
    """Take how much better one trial (or baseline) is than another with the same models."""

    def gap(table: Table, row: Row) -> float:
        second = table.other(row, other)
        return float("nan") if second is None else score(table, row) - score(table, second)

    return each(gap, one, num_models=num_models, **part)


def between_counts(score: Score, first: int, second: int, *names: str, **part: str) -> Statistic:
    """Take how much a mean over sets grows from the first number of models to the second."""
    return _difference(score, names, [({**part}, first), ({**part}, second)])


def between_parts(score: Score, one: Part, other: Part, *names: str, num_models: int | None = None) -> Statistic:
    """Take how much a mean over sets grows from one part of the arms to another."""
    return _difference(score, names, [(one, num_models), (other, num_models)])


def less(one: Statistic, other: Statistic) -> Statistic:
    """Take one statistic less another."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        kept = list(one(rows))
        taken = [replace(sample, term=f"other {sample.term}", sign=-sample.sign) for sample in other(rows)]
        return [*kept, *taken] if kept and taken else []

    return found


def _difference(score: Score, names: Sequence[str], sides: Sequence[tuple[Part, int | None]]) -> Statistic:
    """Take the second side's mean less the first's: two terms, each with its sets, over the methods of both."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        tables = [Table(rows).of(**part) for part, _ in sides]
        merges = [table.merges(*names, num_models=count) for table, (_, count) in zip(tables, sides, strict=True)]
        both = set.intersection(*({row.name for row in side} for side in merges))
        return [
            replace(sample_of(row, score(table, row)), term=term, sign=sign)
            for table, side, term, sign in zip(tables, merges, ("first", "second"), (-1, 1), strict=True)
            for row in side
            if row.name in both
        ]

    return found


def spread(score: Score, *names: str, num_models: int, **part: str) -> Statistic:
    """Take how far the best of some trials lies above the worst, one value per seed and set.

    Which ones are best and worst, the other seeds say: the greatest of several noisy values, less the least of the
    same ones, would be large by chance alone, and the larger the noisier they are.
    """

    def found(rows: Sequence[Row]) -> list[Sample]:
        table = Table(rows).of(**part)
        merges = [row for row in table.merges(*names, num_models=num_models) if score(table, row) == score(table, row)]
        samples = []
        for row in merges:
            if row.name != names[0]:
                continue
            means = {name: _mean_of(score, table, merges, name, row.seed) for name in names}
            own = {r.name: score(table, r) for r in merges if (r.seed, r.models) == (row.seed, row.models)}
            known = [name for name in names if means[name] is not None and name in own]
            if len(known) > 1:
                best, worst = (pick(known, key=lambda name: means[name] or 0.0) for pick in (max, min))
                samples.append(sample_of(row, own[best] - own[worst]))
        return samples

    return found


def _mean_of(score: Score, table: Table, merges: Sequence[Row], name: str, but_of: int) -> float | None:
    """Return a trial's mean over all seeds but one, by how often sets were drawn."""
    pairs = [(score(table, row), row.weight) for row in merges if row.name == name and row.seed != but_of]
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else None


def rank_correlation(**part: str) -> Statistic:
    """Take Spearman's correlation of held-in and unseen scores over methods, one value per set of models."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        table = Table(rows).of(**part)
        sets: dict[object, list[Row]] = defaultdict(list)
        for row in table.merges():
            sets[row.arm, row.seed, row.models].append(row)
        samples = []
        for group in sets.values():
            held_in, others = [table.held_in(row) for row in group], [table.unseen(row) for row in group]
            if len(group) > 2:
                samples.append(sample_of(group[0], _spearman(held_in, others)))
        return samples

    return found


def _spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Correlate ranks, equal values at their mean rank; not a number where one is missing, or one side all the same."""
    if not all(map(math.isfinite, [*one, *other])):
        return float("nan")
    a, b = _ranks(one), _ranks(other)
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    along = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    lengths = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return along / lengths**0.5 if lengths else float("nan")


def _ranks(values: Sequence[float]) -> list[float]:
    """Rank values; what differs by less than the noise of a sum over cells is equal."""
    rounded = [round(value, SAME) for value in values]
    order = sorted(rounded)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in rounded]

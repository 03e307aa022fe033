"""How values change along a line: with the number of models, the size of the network, a setting. For figures."""

from collections.abc import Callable, Mapping, Sequence

from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Row
from cuvee.studies.statistics import Score, Statistic
from cuvee.studies.table import Table, sample_of
from cuvee.studies.verdict import Sample

__all__ = ["Points", "over_counts", "over_sizes", "sensitivity"]

Points = Callable[[Sequence[Row]], Sequence[tuple[str, float, Sample]]]
"""(line, x, sample) for each merge."""


def over_counts(score: Score, *names: str, **part: str) -> Points:
    """Draw a score of every trial, or of some, against the number of models; a line per trial and arm."""

    def found(rows: Sequence[Row]) -> list[tuple[str, float, Sample]]:
        table = Table(rows).of(**part)
        return [(_line(row), float(len(row.models)), sample_of(row, score(table, row))) for row in table.merges(*names)]

    return found


def over_sizes(score: Score, num_models: int, **part: str) -> Points:
    """Draw a score of every trial against the number of parameters."""

    def found(rows: Sequence[Row]) -> list[tuple[str, float, Sample]]:
        table = Table(rows).of(**part)
        points = []
        for row in table.merges(num_models=num_models):
            size = find_suite(row.suite).about.architectures[row.architecture].num_parameters
            line = f"{row.name} ({row.suite}, {row.base} base)"
            points.append((line, float(size), sample_of(row, score(table, row))))
        return points

    return found


def _line(row: Row) -> str:
    """Name a line of an arm."""
    tuning = "" if row.tuning == "full" else f", {row.tuning}"
    return f"{row.name} ({row.suite} {row.architecture}, {row.base} base{tuning})"


def sensitivity(name: str, one: str, other: str) -> Statistic:
    """Take how much more one setting matters than another, on held-in validation.

    That is the range over the first, at the best of the second, less the range over the second, at the best of the
    first.
    """

    def found(rows: Sequence[Row]) -> list[Sample]:
        samples = []
        for row in Table(rows).merges(name):
            best = max(row.tried, key=lambda pair: pair[1])[0] if row.tried else {}
            if {one, other} <= set(best):
                samples.append(sample_of(row, _range(row, one, best) - _range(row, other, best)))
        return samples

    return found


def _range(row: Row, name: str, best: Mapping[str, object]) -> float:
    """Return how far the best score over a setting, all else at its best, lies above the worst."""
    values = [value for settings, value in row.tried if {**settings, name: best[name]} == best]
    return max(values) - min(values)

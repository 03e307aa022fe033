"""Figures of a study: values of many units along a line, averaged, with intervals."""

from collections import defaultdict
from collections.abc import Sequence

from cuvee.report.content import Figure, Line, Point
from cuvee.studies.rows import Row
from cuvee.studies.study import Spread
from cuvee.studies.verdict import Sample, estimate

__all__ = ["curves"]


def curves(spread: Spread, rows: Sequence[Row]) -> Figure:
    """Draw a figure that a study declares."""
    groups: dict[str, dict[float, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for name, x, sample in spread.points(rows):
        groups[name][x].append(sample)
    lines = [Line(name=name, points=_points(found)) for name, found in groups.items()]
    published = [
        Line(name=name, points=[Point(x=x, y=y, label=spread.source) for x, y in points], is_published=True)
        for name, points in spread.published.items()
    ]
    note = f"Dashed, grey: published numbers of other models, not ours. {spread.source}" if published and lines else ""
    is_wide = any(max(found) > 100 * min(found) for found in groups.values() if found and min(found) > 0)
    return Figure(
        name=spread.name,
        title=spread.title,
        x=spread.x,
        y=spread.y,
        lines=[*lines, *(published if lines else [])],
        is_log_x=is_wide or spread.x == "parameters",
        note=note,
    )


def _points(found: dict[float, list[Sample]]) -> list[Point]:
    """Average what lies at one place."""
    points = []
    for x in sorted(found):
        mean = estimate(found[x])
        if mean is not None:
            y_range = None if mean.low is None or mean.high is None else (mean.low, mean.high)
            label = mean.units
            points.append(Point(x=x, y=mean.mean, y_range=y_range, label=label))
    return points

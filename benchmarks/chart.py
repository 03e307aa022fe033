"""Draw the charts of docs/performance.md from the results in docs/performance/. Needs matplotlib.

    python benchmarks/chart.py [FOLDER]

Reads speed.json and growth.json, whichever are there, and writes an SVG of the same name beside each. The same results
give the same file.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator
from page import RESULTS
from summary import Summary, summaries
from tables import SERIES

COLOURS = {"floor": "#9aa0a6", "cuvee": "#7b1e3a", "mergekit": "#3a6ea5"}
SHADES = ("#7b1e3a", "#d9822b", "#3a7d44", "#3a6ea5", "#6b4c9a")  # of cases, in the order in which they were measured
BAR = 0.26  # height of a bar; three and a gap make 1


def speed(result: Mapping[str, Any]) -> Figure:
    """Draw the seconds of each merge as bars, on a logarithmic axis."""
    measured = summaries(result)
    figure = Figure(figsize=(8, 0.62 * len(measured) + 1.2), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(COLOURS):
        costs = [(i, cost) for i, summary in enumerate(measured) if (cost := getattr(summary, name))]
        if not costs:
            continue
        places = [i + (k - 1) * BAR for i, _ in costs]
        bars = axes.barh(places, [cost.seconds for _, cost in costs], BAR, color=COLOURS[name], label=name)
        axes.bar_label(bars, [f"{cost.seconds:.3g}" for _, cost in costs], padding=2, fontsize=7)
    axes.set_yticks(range(len(measured)), [summary.name for summary in measured])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(plain))
    axes.margins(x=0.08)
    arguments = result["arguments"]
    axes.set_xlabel(f"seconds, whole command; models of {arguments['billions']:g} × 10⁹ parameters, bfloat16")
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=len(COLOURS), frameon=False)
    unframed(axes)
    return figure


def growth(result: Mapping[str, Any]) -> Figure:
    """Draw seconds (above) and peak memory (below) of each series."""
    measured = summaries(result)
    shown = [series for series in SERIES if any(summary.case["series"] == series for summary in measured)]
    figure = Figure(figsize=(3.6 * len(shown), 5.4), layout="constrained")
    grid = figure.subplots(2, len(shown), squeeze=False)
    names = list(dict.fromkeys(summary.name for summary in measured))
    for column, series in enumerate(shown):
        above, below = grid[0][column], grid[1][column]
        for name, colour in zip(names, SHADES, strict=False):
            points = [s for s in measured if s.name == name and s.case["series"] == series]
            line(above, points, lambda s: s.cuvee.seconds, color=colour, marker="o", label=name)
            line(above, points, lambda s: s.floor.seconds, color=colour, linestyle=":", label=f"{name}, floor")
            line(below, points, lambda s: s.cuvee.peak / 1e6, color=colour, marker="o", label=name)
            line(below, points, planned, color=colour, linestyle="--", label=f"{name}, planned")
        below.set_ylim(bottom=0)
        if series == "experts":
            above.set_ylim(bottom=0)
        else:
            above.set_yscale("log")
            above.yaxis.set_major_formatter(FuncFormatter(plain))
        values = sorted({s.case["value"] for s in measured if s.case["series"] == series})
        for axes, words in ((above, "seconds"), (below, "peak memory, MB")):
            if series != "experts":
                axes.set_xscale("log")
                axes.xaxis.set_minor_locator(NullLocator())
            axes.set_xticks(values, [plain(value, 0) for value in values])
            axes.set_xlabel(SERIES[series][0])
            axes.set_ylabel(words if column == 0 else "")
            unframed(axes)
    for row in grid:
        row[0].legend(fontsize=7, frameon=False)
    return figure


def line(axes: Axes, points: Sequence[Summary], value: Callable[[Summary], float], **style: Any) -> None:
    """Draw one line of a series."""
    axes.plot([point.case["value"] for point in points], [value(point) for point in points], markersize=4, **style)


def planned(summary: Summary) -> float:
    """Return the peak that the plan foretells, in MB."""
    return float(summary.case["peak_memory"]) / 1e6


def plain(value: float, _: int) -> str:
    """Write a number on an axis without powers of ten."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:g}"


def unframed(axes: Axes) -> None:
    """Take away the lines above and to the right."""
    axes.spines[["top", "right"]].set_visible(False)


DRAWN: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {"speed": speed, "growth": growth}


def main() -> None:
    """Draw what there are results for."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS
    matplotlib.rcParams.update({"svg.hashsalt": "cuvee", "svg.fonttype": "none", "font.size": 9})
    for name, draw in DRAWN.items():
        path = folder / f"{name}.json"
        if path.exists():
            figure = draw(json.loads(path.read_text()))
            figure.savefig(path.with_suffix(".svg"), metadata={"Date": None, "Creator": None}, facecolor="white")
            print(f"wrote: {name}.svg")


if __name__ == "__main__":
    main()

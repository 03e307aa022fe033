"""Figures that can be touched, with plotly: what a page draws from, as JSON."""

from typing import Any

from cuvee.report.content import Figure, Line, Point
from cuvee.report.palette import colour, marker

__all__ = ["plot_of"]


def plot_of(figure: Figure) -> dict[str, Any]:
    """Return data and layout for plotly; the page sets colours of text and paper by its scheme."""
    return {
        "data": [_trace(line, i, is_joined=figure.is_joined) for i, line in enumerate(figure.lines)],
        "layout": {
            "xaxis": {"title": {"text": figure.x}, "type": "log" if figure.is_log_x else "linear", "automargin": True},
            "yaxis": {"title": {"text": figure.y}, "automargin": True},
            "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "font": {"size": 11}},
            "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
            "hovermode": "closest",
            "height": 360 + 14 * len(figure.lines),
        },
    }


def _trace(line: Line, index: int, *, is_joined: bool) -> dict[str, Any]:
    shade = "#888888" if line.is_published else colour(index)
    return {
        "type": "scatter",
        "mode": "lines" if line.is_published else "lines+markers" if is_joined else "markers",
        "name": line.name,
        "x": [point.x for point in line.points],
        "y": [point.y for point in line.points],
        "text": [point.label for point in line.points],
        "hovertemplate": "<b>%{fullData.name}</b><br>%{x:.4~g}, %{y:.4~g}<br>%{text}<extra></extra>",
        "line": {"color": shade, "dash": "dash" if line.is_published else "solid"},
        "marker": {"color": shade, "symbol": marker(index, 1), "size": 9},
        **_bars(line, "x", shade),
        **_bars(line, "y", shade),
    }


def _bars(line: Line, axis: str, shade: str) -> dict[str, Any]:
    """Return the intervals along an axis, where there are any."""

    def ends(point: Point) -> tuple[float, float]:
        found = point.x_range if axis == "x" else point.y_range
        at = point.x if axis == "x" else point.y
        return found or (at, at)

    ranges = [ends(point) for point in line.points]
    if all(low == high for low, high in ranges):
        return {}
    at = [point.x if axis == "x" else point.y for point in line.points]
    return {
        f"error_{axis}": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for (_, high), value in zip(ranges, at, strict=True)],
            "arrayminus": [value - low for (low, _), value in zip(ranges, at, strict=True)],
            "color": shade,
            "thickness": 1,
            "width": 2,
        }
    }

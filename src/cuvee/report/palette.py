"""Colours and markers that can be told apart, also by who sees few colours (Okabe and Ito, 2008; Tol, 2021)."""

__all__ = ["colour", "marker"]

COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#882255", "#999933", "#44AA99", "#332288",
)  # fmt: skip
MARKERS = (
    ("o", "circle"), ("s", "square"), ("^", "triangle-up"), ("D", "diamond"), ("v", "triangle-down"), ("P", "cross"),
    ("X", "x"), ("*", "star"), ("p", "pentagon"), ("h", "hexagon"), ("<", "triangle-left"),
)  # fmt: skip
"""Each with its name in matplotlib and in plotly; their number and that of the colours have no common factor."""


def colour(index: int) -> str:
    """Return the colour of a line."""
    return COLOURS[index % len(COLOURS)]


def marker(index: int, library: int) -> str:
    """Return the marker of a line, by its name in matplotlib (0) or plotly (1)."""
    return MARKERS[index % len(MARKERS)][library]

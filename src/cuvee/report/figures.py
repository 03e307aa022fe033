"""Figures as files, PNG and SVG, with matplotlib: no browser is needed, and the same content gives the same bytes."""

import io
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from cuvee.errors import MissingLibraryError
from cuvee.report.content import Figure, Line, Sheet
from cuvee.report.palette import colour, marker

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["check_libraries", "drawn", "image_png", "sheet_png"]

Images: TypeAlias = Sequence[Sequence[Sequence[int]]]
"""Grey images of one size, rows of 0 to 255."""

METADATA: Mapping[str, Mapping[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}
"""What would change from version to version, or with the time, is left out."""
SIZE = (7.2, 4.6)  # inches
DPI = 144
GAP = 2  # pixels between images of a sheet
GREY = 128
SCALE = 3  # screen pixels for one of a sheet's image


def check_libraries() -> None:
    """See that what draws is installed.

    Raises:
        MissingLibraryError: matplotlib or plotly is not.
    """
    for name in ("matplotlib", "plotly"):
        try:
            import_module(name)
        except ImportError as error:
            raise MissingLibraryError(
                f"reports are drawn with {name}, which is not installed; run: pip install 'cuvee[report]'"
            ) from error


def drawn(figure: Figure) -> dict[str, bytes]:
    """Draw a figure as ``"png"`` and ``"svg"``."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with matplotlib.rc_context({"svg.hashsalt": figure.name, "svg.fonttype": "none", "font.size": 9}):
        canvas = Canvas(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(canvas)
        _draw(canvas, figure)
        files = {}
        for kind, metadata in METADATA.items():
            out = io.BytesIO()
            canvas.savefig(out, format=kind, dpi=DPI, metadata=metadata)
            files[kind] = out.getvalue()
    return files


def _draw(canvas: "Canvas", figure: Figure) -> None:
    axes = canvas.subplots()
    axes.set_title(figure.title, loc="left", fontweight="bold")
    axes.set_xlabel(figure.x)
    axes.set_ylabel(figure.y)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if figure.is_log_x:
        axes.set_xscale("log")
    for i, line in enumerate(figure.lines):
        _draw_line(axes, line, i, is_joined=figure.is_joined)
    if figure.lines:
        canvas.legend(loc="outside right upper", frameon=False, fontsize=7)


def _draw_line(axes: "Axes", line: Line, index: int, *, is_joined: bool) -> None:
    """Draw points with their intervals, joined or not."""
    x, y = [point.x for point in line.points], [point.y for point in line.points]
    style = "--" if line.is_published else "-" if is_joined else ""
    drawn_in, symbol = ("#888888", "") if line.is_published else (colour(index), marker(index, 0))
    axes.plot(
        x, y, linestyle=style, marker=symbol or None, color=drawn_in, label=line.name, markersize=5, linewidth=1.3
    )
    for point in line.points:
        if point.y_range:
            axes.plot([point.x] * 2, point.y_range, color=drawn_in, alpha=0.4, linewidth=1)
        if point.x_range:
            axes.plot(point.x_range, [point.y] * 2, color=drawn_in, alpha=0.4, linewidth=1)


def image_png(images: Images) -> bytes:
    """Draw images side by side, enlarged, on a grey ground."""
    return _png(_block(images))


def sheet_png(sheet: Sheet) -> bytes:
    """Draw a sheet without its labels: a row of images for each model, a block for each column."""
    import numpy as np

    rows = [np.concatenate([_block(images) for images in columns], axis=1) for _, columns in sheet.rows]
    return _png(np.concatenate(rows))


def _block(images: Images) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    """Set images side by side."""
    import numpy as np

    framed = np.pad(np.array(images, dtype=np.uint8), ((0, 0), (GAP, GAP), (GAP, GAP)), constant_values=GREY)
    return np.concatenate(list(framed), axis=1)


def _png(grey: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """Write an image as PNG, enlarged."""
    from matplotlib import image

    out = io.BytesIO()
    large = grey.repeat(SCALE, 0).repeat(SCALE, 1)
    image.imsave(out, large[..., None].repeat(3, axis=2), format="png", metadata=dict(METADATA["png"]))
    return out.getvalue()

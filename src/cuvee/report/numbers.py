"""Numbers as people read them."""

from cuvee.report.content import Cell, Number, Unit

__all__ = ["shown", "text_of"]

PREFIXES = ("", "k", "M", "G", "T", "P", "E")


def text_of(cell: Cell, unit: Unit) -> str:
    """Write what stands in a cell; a number with half of its interval, or its ends where it is not in their middle."""
    if not isinstance(cell, Number):
        return cell or ""
    if cell.low is None or cell.high is None:
        return shown(cell.value, unit)
    half = (cell.high - cell.low) / 2
    if abs(cell.low + half - cell.value) > half / 100:  # an interval that is cut off where no value can be
        low, high = (shown(end, unit).removesuffix(" %") for end in (cell.low, cell.high))
        return f"{shown(cell.value, unit)} ({low} to {high})"
    return f"{shown(cell.value, unit)} ± {shown(half, unit).removesuffix(' %')}"


def shown(value: float, unit: Unit) -> str:
    """Write a number with its unit."""
    if value != value:
        return "–"
    match unit:
        case "percent":
            return f"{100 * value:.1f}"
        case "seconds":
            return _duration(value)
        case "bytes" | "flops":
            return _scaled(value, "B" if unit == "bytes" else "FLOP")
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _scaled(value: float, unit: str) -> str:
    """Write a quantity with a decimal prefix."""
    for prefix in PREFIXES:
        if abs(value) < 1000 or prefix == PREFIXES[-1]:
            break
        value /= 1000
    return f"{value:.3g} {prefix}{unit}"

"""Tables and sentences in Markdown, from results. Measures nothing."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from summary import Cost, Summary, Verdict, summaries, times_linear

NONE = "–"


def speed_table(measured: Sequence[Summary]) -> str:
    """Return seconds and ratios: a line for each case."""
    per_reading = times_linear(measured)
    has_synced = any(summary.synced for summary in measured)
    head = ["merge", "inputs", "floor, s", "cuvee, s", "mergekit, s", "mergekit ÷ cuvee", "cuvee ÷ floor"]
    head += ["% of the floor's speed", "readings", "pass ÷ linear"] + ["synced floor, s"] * has_synced
    rows = []
    for summary in measured:
        case = summary.case
        row = [
            summary.name,
            f"{case['num_models']}{' + base' if case['has_base'] else ''}",
            str(summary.floor),
            str(summary.cuvee),
            str(summary.mergekit or NONE),
            f"**{summary.faster:.1f} ×**" if summary.faster else NONE,
            f"{summary.floors:.2f}",
            f"{100 / summary.floors:.0f} %",
            f"{case['readings']:.2f}",
            f"{per_reading[summary.name]:.2f}" if per_reading else NONE,
        ]
        rows.append(row + [str(summary.synced or NONE)] * has_synced)
    return markdown(head, rows)


def memory_table(measured: Sequence[Summary]) -> str:
    """Return memory and processor time: a line for each case."""
    head = [
        "merge",
        "cuvee, peak MB",
        "planned, MB",
        "mergekit, peak MB",
        "cuvee, CPU s",
        "of them moving bytes",
        "mergekit, CPU s",
    ]
    rows = [
        [
            summary.name,
            megabytes(summary.cuvee),
            f"{summary.case['peak_memory'] / 1e6:.0f}",
            megabytes(summary.mergekit),
            f"{summary.cuvee.cpu_seconds:.2f}",
            f"{summary.cuvee.system_seconds:.2f}",
            f"{summary.mergekit.cpu_seconds:.2f}" if summary.mergekit else NONE,
        ]
        for summary in measured
    ]
    return markdown(head, rows)


def targets_table(judged: Sequence[Verdict]) -> str:
    """Return every target: a line for each."""
    rows = [[each.case, each.what, each.asked, each.reached, "met" if each.is_met else "**missed**"] for each in judged]
    return markdown(["merge", "measure", "target", "reached", ""], rows, numbers_from=2)


def kernels_table(result: Mapping[str, Any]) -> str:
    """Return what a reading costs in arithmetic: a line for each kernel."""
    rows = [
        [
            each["kernel"],
            f"{median(each['nanoseconds']):.2f} ({min(each['nanoseconds']):.2f}–{max(each['nanoseconds']):.2f})",
            f"{each['input_bytes'] / median(each['nanoseconds']):.1f}",
        ]
        for each in result["kernels"]
    ]
    return markdown(["one reading of the inputs", "ns per element", "inputs, GB/s"], rows)


def growth_table(result: Mapping[str, Any], series: str) -> str:
    """Return what one series of a growth run measured: a line for each size and case."""
    name, unit = SERIES[series]
    rows = [
        [
            f"{summary.case['value']:{unit}}",
            summary.name,
            str(summary.floor),
            str(summary.cuvee),
            f"{summary.floors:.2f}",
            megabytes(summary.cuvee),
            f"{summary.case['peak_memory'] / 1e6:.0f}",
        ]
        for summary in summaries(result)
        if summary.case["series"] == series
    ]
    head = [name, "merge", "floor, s", "cuvee, s", "cuvee ÷ floor", "cuvee, peak MB", "planned, MB"]
    return markdown(head, rows, numbers_from=2)


# What varies: heading of its column, and how a value is written.
SERIES: Mapping[str, tuple[str, str]] = {
    "size": ("parameters, 10⁹", "g"),
    "experts": ("models", ",d"),
    "tensors": ("tensors", ",d"),
}


def setting(result: Mapping[str, Any]) -> str:
    """Return a sentence on where the figures come from."""
    machine, versions = result["machine"], dict(result["versions"])
    libraries = ", ".join(f"{name} {version}" for name, version in versions.items() if name != "cuvee")
    text = (
        f"Measured on {result['date'][:10]} at commit `{result['commit']}`"
        f"{', with changes that were not committed' if result['has_changes'] else ''}, on {machine['cores']} cores of "
        f"{machine['cpu']} with {machine['memory'] / 1e9:.0f} GB of memory, {machine['system']}, "
        f"Python {machine['python']}, {libraries}"
    )
    if "mergekit" in result:
        theirs = ", ".join(f"{name} {version}" for name, version in result["mergekit"].items() if name != "python")
        text += f"; {theirs}"
    repetitions = result["arguments"]["repetitions"]
    return f"{text}. Seconds are the median of {repetitions} runs, with the range in parentheses."


def megabytes(cost: Cost | None) -> str:
    """Return a peak."""
    return f"{cost.peak / 1e6:.0f}" if cost else NONE


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Return a table whose columns line up as plain text, too; those from a place on are aligned right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    dashes = ["-" * (width - (i >= numbers_from)) + ":" * (i >= numbers_from) for i, width in enumerate(widths)]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(width) if i >= numbers_from else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in (head, dashes, *rows)
    ]
    return "\n".join(lines) + "\n"

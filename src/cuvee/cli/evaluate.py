"""``cuvee evaluate``."""

import json
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cuvee.cli.downloads import show_downloads
from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import duration, size
from cuvee.evaluate.evaluate import evaluate
from cuvee.evaluate.measure import Measure
from cuvee.evaluate.results import Evaluation, Result
from cuvee.plan.limits import Limits

__all__ = ["run"]

HOW = {
    "wilson": "Wilson's interval of a share",
    "bootstrap": "bootstrap over the examples",
    "normal": "standard error of lm-evaluation-harness × 1.96",
}


def run(
    models: Sequence[str],
    scores: Sequence[str],
    *,
    limit: int | None,
    device: str,
    dtype: str,
    limits: Limits,
    as_json: bool,
) -> None:
    """Score models and print what was found."""
    console = Console(stderr=True, emoji=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown,
        show_downloads(shown),
    ):
        tasks: dict[str, TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = shown.add_task(label, total=total)
            shown.update(tasks[label], completed=done, total=total)

        found = evaluate(
            list(models), list(scores), limit=limit, device=device, dtype=dtype, limits=limits, progress=progress
        )
    if as_json:
        print(json.dumps(found.to_mapping(), indent=2))
        return
    _show(found)


def _show(found: Evaluation) -> None:
    """Print the table, and what is to be said of it."""
    console = Console(emoji=False)
    counts = Counter((each.model, each.measure.metric) for each in found.results)
    numbers = ("value", "error", "95 % interval", "examples", "time", "processor", "memory")
    table = table_of(("model", "metric"), numbers)
    for each in found.results:
        is_alone = counts[each.model, each.measure.metric] == 1
        metric = each.measure.metric
        table.add_row(each.model, metric if is_alone else f"{metric} of {each.asked}", *_cells(each))
    print_unfolded(table)
    for how in dict.fromkeys(each.measure.doubt for each in found.results if each.measure.doubt in HOW):
        metrics = dict.fromkeys(each.measure.metric for each in found.results if each.measure.doubt == how)
        say(console, f"Interval of {', '.join(metrics)}: {HOW[how]}.")
    for model in found.models:
        what = "merged" if model.recipe is not None else "read"
        where = f"{model.architecture}, {model.dtype} on {model.device}"
        say(console, f"{model.label}: {where}; {what} in {duration(model.seconds)}.")
        for note in model.notes:
            say(console, f"Note: {model.label}: {note}")


def _cells(result: Result) -> tuple[str, ...]:
    """Return the numbers of a row."""
    measure = result.measure
    return (
        _number(measure.value),
        _number(measure.error),
        _interval(measure),
        f"{measure.num_examples:,}{'' if measure.unit == 'examples' else f' {measure.unit}'}",
        duration(result.seconds),
        duration(result.cpu_seconds),
        size(result.peak_device_memory or result.peak_memory),
    )


def _interval(measure: Measure) -> str:
    """Write an interval; nothing where there is none."""
    if measure.low is None or measure.high is None:
        return ""
    return f"{_number(measure.low)} to {_number(measure.high)}"


def _number(value: float | None) -> str:
    """Write a number with four digits that count."""
    return "" if value is None else f"{value:#.4g}".rstrip(".")

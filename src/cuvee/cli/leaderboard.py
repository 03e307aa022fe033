"""Leaderboards, and the bars that are shown until there are some, as the terminal shows them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import duration
from cuvee.studies.leaderboard import Place, boards
from cuvee.studies.rows import Row
from cuvee.studies.verdict import Estimate

__all__ = ["bars", "show_boards"]

SECONDS_BETWEEN_LINES = 60.0


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each stage while the block runs, or lines where no terminal shows them.

    Yields:
        A function to tell (stage, done, in all).
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as shown:
        tasks: dict[str, TaskID] = {}

        def progress(what: str, done: int, total: int) -> None:
            if total:
                if what not in tasks:
                    tasks[what] = shown.add_task(what, total=total)
                shown.update(tasks[what], completed=done, total=total)

        yield progress


def _lines(console: Console) -> Callable[[str, int, int], None]:
    """Return a function that writes a line when a stage begins and ends, and every so often between."""
    begun = said = time.monotonic()

    def progress(what: str, done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if total and (done in (0, total) or now - said >= SECONDS_BETWEEN_LINES):
            said = now
            say(console, f"{what}: {done} of {total} after {duration(now - begun)}")

    return progress


def show_boards(console: Console, rows: Sequence[Row]) -> None:
    """Print a leaderboard for each arm and number of models."""
    counts = sorted({len(row.models) for row in rows if row.kind == "merge"})
    for board in (board for count in counts for board in boards(rows, count)):
        say(console, f"\n{board.title}, {board.num_models} models, scores in %:")
        table = table_of(("method",), ("held-in", "unseen", "worst cell", "merge", "tuning"))
        for place in board.places:
            table.add_row(*_cells(place))
        print_unfolded(table)


def _cells(place: Place) -> tuple[str, ...]:
    """Return a row of a leaderboard."""
    name = f"{place.name} (oracle)" if place.kind == "oracle" else place.name
    scores = tuple(map(_percent, (place.held_in, place.unseen, place.worst)))
    if place.kind == "baseline":
        return (name, *scores, "", "")
    tuning = f"{duration(place.tuning_seconds)} for {place.num_settings}" if place.num_settings > 1 else "none"
    return (name, *scores, f"{1000 * place.merge_seconds:.0f} ms", tuning)


def _percent(estimate: Estimate | None) -> str:
    """Write a share, with half its interval."""
    if estimate is None:
        return ""
    half = "" if estimate.high is None else f" ± {100 * (estimate.high - estimate.mean):.1f}"
    return f"{100 * estimate.mean:.1f}{half}"

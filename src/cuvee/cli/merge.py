"""``cuvee merge``."""

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cuvee.cli.downloads import show_downloads
from cuvee.cli.lines import say
from cuvee.cli.units import size
from cuvee.errors import CuveeWarning
from cuvee.execute.merge import merge
from cuvee.execute.report import Report
from cuvee.plan.limits import Limits
from cuvee.tensors.kernels.machine_code import on_compile

__all__ = ["Given", "progress_bar", "run"]


class Given(TypedDict):
    """Options that are passed on as they are; see `merge`."""

    seed: int | None
    shard_size: str | None
    overwrite: bool
    sync: bool


def run(recipe: Path, out: Path, given: Given, *, limits: Limits, quiet: bool) -> None:
    """Merge and say what it cost."""
    if quiet:
        warnings.simplefilter("ignore", CuveeWarning)  # until the command is over
    console = Console(stderr=True, quiet=quiet, emoji=False)
    on_compile(lambda: console.print("Compiling for this machine; this happens once and takes some seconds."))
    with progress_bar(console) as progress:
        report = merge(recipe, out, **given, limits=limits, progress=progress)
    for note in report.notes:
        say(console, f"Note: {note}")
    say(console, _cost(out, report))


def _cost(out: Path, report: Report) -> str:
    """Say what a merge cost, and what was expected."""
    said = (
        f"Wrote {out}: {size(report.bytes_read)} read, {size(report.bytes_written)} written in {report.seconds:.1f} s "
        f"({report.cpu_seconds:.1f} s of processor), peak memory {size(report.peak_memory)}."
    )
    if report.expected is None:
        return said
    expected = report.expected
    most = expected.bytes_read_at_most
    return (
        f"{said} Expected: {size(expected.bytes_read)}"
        f"{f' (at most {size(most)})' if most > expected.bytes_read else ''} read in {expected.seconds:.1f} s, at most "
        f"{size(expected.budget.peak_memory)} of memory."
    )


@contextmanager
def progress_bar(console: Console, what: str = "merging") -> Iterator[Callable[[int, int], None]]:
    """Show bytes moved, bytes per second and the time left while the block runs, if somebody can see it.

    Downloads have lines of their own.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    with progress as bar, show_downloads(bar):
        task = bar.add_task(what, total=None)
        lock = threading.Lock()
        known = 0

        def moved(nbytes: int, total: int) -> None:
            nonlocal known
            with lock:
                if total != known:
                    known = total
                    bar.update(task, total=total)
                bar.advance(task, nbytes)

        yield moved

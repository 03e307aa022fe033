"""``cuvee merge``."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

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

from cuvee.cli.units import size
from cuvee.execute.merge import merge
from cuvee.plan.limits import Limits

__all__ = ["progress_bar", "run"]


def run(recipe: Path, out: Path, *, overwrite: bool, workers: int | None, block_size: int | None, quiet: bool) -> None:
    """Merge and say what it cost."""
    chosen = {"workers": workers, "block_bytes": block_size}
    limits = Limits(**{name: value for name, value in chosen.items() if value is not None})
    console = Console(stderr=True, quiet=quiet, emoji=False)
    with progress_bar(console) as progress:
        report = merge(recipe, out, overwrite=overwrite, limits=limits, progress=progress)
    for note in report.notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        f"Wrote {out}: {size(report.bytes_read)} read, {size(report.bytes_written)} written in {report.seconds:.1f} s "
        f"({report.cpu_seconds:.1f} s of processor), peak memory {size(report.peak_memory)}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[int, int], None]]:
    """Show bytes moved, bytes per second and the time left while the block runs, if somebody can see it."""
    columns = (
        TextColumn("merging"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("merging", total=None)
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

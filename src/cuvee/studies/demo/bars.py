"""Progress bars of the demo."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

__all__ = ["bars"]


@contextmanager
def bars(console: Console, stages: Sequence[str]) -> Iterator[Callable[[str, int, int], None]]:
    """Show one bar per stage while the block runs.

    Args:
        console: where to show them.
        stages: names, in order.

    Yields:
        A function to tell (stage, done, in all).
    """
    columns = (TextColumn("{task.description:<22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        tasks = {stage: progress.add_task(stage, start=False, total=None) for stage in stages}

        def report(stage: str, done: int, total: int) -> None:
            if done and not progress.tasks[tasks[stage]].started:
                progress.start_task(tasks[stage])
            progress.update(tasks[stage], completed=done, total=total)

        yield report

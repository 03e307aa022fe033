"""Downloads of models on the hub, shown beside what else is going on."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from rich.progress import Progress

from cuvee.sources.hub import tell_downloads

__all__ = ["show_downloads"]


def show_downloads(bar: Progress) -> AbstractContextManager[None]:
    """Have `bar` show a line for each file while it is downloaded; nothing where the bar is not shown itself."""

    def begin(name: str, nbytes: int) -> Callable[[int], None]:
        task = bar.add_task(name, total=nbytes)
        arrived = 0

        def advance(count: int) -> None:
            nonlocal arrived
            arrived += count
            bar.advance(task, count)
            if arrived >= nbytes:
                bar.update(task, visible=False)

        return advance

    return tell_downloads(begin)

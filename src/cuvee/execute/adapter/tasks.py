"""Pieces of work that workers share: each with the memory it takes, so that what runs at once keeps to a budget.

A module of an adapter is such a piece: unlike a row it gives tensors whose shape may depend on data, and takes memory
that has to do with its shape more than with a block. Knows no adapter.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cuvee.plan.limits import Share
from cuvee.pool import run_threads
from cuvee.tensors.blas import one_blas_thread
from cuvee.tensors.framework import single_threaded

__all__ = ["Count", "Task", "carry_out"]

Count = Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A piece of work that no other waits for.

    Attributes:
        name: what messages call it: a module or a tensor.
        memory: bytes that doing it takes at most.
        do: does it; is given what counts bytes moved.
    """

    name: str
    memory: int
    do: Callable[[Count], None]


class _Queue:
    """Hands tasks out in order, each when there is memory for it beside those under way."""

    def __init__(self, tasks: Sequence[Task], room: int | None) -> None:
        self._tasks = iter(tasks)
        self._next = next(self._tasks, None)
        self._room = room
        self._taken = 0
        self._changed = threading.Condition()
        self._stopped = False

    def take(self) -> Task | None:
        """Return the next task, when there is memory for it; None when there is none, or work was stopped."""
        with self._changed:
            while (task := self._next) is not None and not self._stopped:
                if not self._taken or self._room is None or self._taken + task.memory <= self._room:
                    self._next = next(self._tasks, None)
                    self._taken += task.memory
                    return task
                self._changed.wait()
            return None

    def done(self, task: Task) -> None:
        """Take the memory of a task back."""
        with self._changed:
            self._taken -= task.memory
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand out nothing more."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()


def carry_out(tasks: Sequence[Task], share: Share, count: Count) -> None:
    """Do all tasks, several at a time. Each does its linear algebra on one thread.

    Args:
        tasks: begun in this order.
        share: how many at a time.
        count: called from workers with the bytes moved since the last call.

    Raises:
        CuveeError: what a task raised first; no other is under way any more.
    """
    queue = _Queue(tasks, share.room)

    def work() -> None:
        while (task := queue.take()) is not None:
            try:
                task.do(count)
            finally:
                queue.done(task)

    with single_threaded(), one_blas_thread():
        run_threads(work, queue.stop, share.workers)

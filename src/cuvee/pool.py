"""Work on threads, and on processes."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["run_processes", "run_threads"]

T = TypeVar("T")
R = TypeVar("R")

TICK = 0.1  # seconds between looks for Ctrl-C, which only the main thread gets
INTERRUPTS = signal.SIGINT, signal.SIGTERM


def run_processes(work: Callable[[T], R], items: Sequence[T], count: int, done: Callable[[T, R], None]) -> None:
    """Do independent pieces of work in processes of their own, and wait for all of them.

    A process ends with this one, however this one ends. What a process imports it imports anew; threads and locks of
    this one do not reach it.

    Args:
        work: a function of a module, called once for each item; item and result travel between processes.
        items: what to do, in the order in which it is begun.
        count: number of processes; 0 does everything here, one after the other.
        done: called here for each item with its result, in the order in which they end.

    Raises:
        BaseException: the first that any `work` raised, or KeyboardInterrupt; what was not begun is dropped then.
    """
    if count == 0:
        for item in items:
            done(item, work(item))
        return
    context, others = multiprocessing.get_context("spawn"), set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(count, len(items)) or 1, context, initializer=_end_with_parent) as executor:
        try:
            pending = {executor.submit(work, item): item for item in items}
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    done(pending.pop(future), future.result())
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # what it was at may take minutes
            raise


def _end_with_parent() -> None:
    """Make this process end when the one that started it is gone, which a killed one cannot tell it.

    Ctrl-C goes to all processes of a terminal; this one ends without a word, and the first of them says what it means.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    signal.signal(signal.SIGINT, lambda *_: os._exit(1))
    threading.Thread(target=watch, name="cuvee-parent", daemon=True).start()


def run_threads(work: Callable[[], None], stop: Callable[[], None], count: int) -> None:
    """Run `work` on several threads and wait for all of them.

    Args:
        work: returns when there is nothing left to do, or after `stop` was called.
        stop: makes every `work` return soon; called when one raises, or when the user interrupts.
        count: number of threads.

    Raises:
        BaseException: the first that any `work` raised, or KeyboardInterrupt; only when no thread works any more.
    """
    errors: list[BaseException] = []
    finished = [threading.Event() for _ in range(count)]

    def guarded(done: threading.Event) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)
            stop()
        finally:
            done.set()

    threads = [threading.Thread(target=guarded, args=(done,), name=f"cuvee-{i}") for i, done in enumerate(finished)]
    started = []
    with _interrupts_noted() as pressed:
        try:
            for thread, done in zip(threads, finished, strict=True):
                thread.start()
                started.append((thread, done))
            # Not Thread.join: interrupted by Ctrl-C it takes a running thread for a stopped one (Python 3.11), and the
            # process would end under the workers' feet.
            for done in finished:
                while not done.wait(TICK):
                    if pressed.is_set():
                        stop()
        finally:
            stop()
            for thread, done in started:
                done.wait()
                thread.join()
    if pressed.is_set():
        raise KeyboardInterrupt
    if errors:
        raise errors[0]


@contextmanager
def _interrupts_noted() -> Iterator[threading.Event]:
    """Note Ctrl-C instead of raising KeyboardInterrupt at once, which could come at any moment, and more than once.

    Threads use memory that is freed after them: nothing may keep us from waiting for them. Only the main thread is
    interrupted, and only there this can be changed; a handler of somebody else's stays.
    """
    pressed = threading.Event()
    changed = []
    try:
        if threading.current_thread() is threading.main_thread():
            for number in INTERRUPTS:
                if signal.getsignal(number) is signal.default_int_handler:
                    changed.append(number)
                    signal.signal(number, lambda *_: pressed.set())
        yield pressed
    finally:
        for number in changed:
            signal.signal(number, signal.default_int_handler)

"""Work on threads."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

__all__ = ["run_threads"]

TICK = 0.2  # seconds between looks for Ctrl-C, which only the main thread gets


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
    try:
        for thread, done in zip(threads, finished, strict=True):
            thread.start()
            started.append((thread, done))
        # Not Thread.join: interrupted by Ctrl-C it takes a running thread for a stopped one (Python 3.11), and the
        # process would end under the workers' feet.
        for done in finished:
            while not done.wait(TICK):
                pass
    finally:
        _end(stop, started)
    if errors:
        raise errors[0]


def _end(stop: Callable[[], None], started: Sequence[tuple[threading.Thread, threading.Event]]) -> None:
    """Stop threads and wait until they have ended, whatever the user presses: they use memory that is freed after."""
    done = False
    while not done:
        with suppress(KeyboardInterrupt), _unheard():
            stop()
            for thread, finished in started:
                finished.wait()
                thread.join()
            done = True


@contextmanager
def _unheard() -> Iterator[None]:
    """Ignore Ctrl-C; only the main thread gets it, and only that can say so."""
    heard = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or heard is None:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, heard)

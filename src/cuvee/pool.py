"""Work on threads."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["run_threads"]

TICK = 0.1  # seconds between looks for Ctrl-C, which only the main thread gets
INTERRUPTS = signal.SIGINT, signal.SIGTERM


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

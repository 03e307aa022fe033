"""Work on threads."""

import threading
from collections.abc import Callable

__all__ = ["run_threads"]

TICK = 0.2  # seconds between looks for Ctrl-C, which only the main thread gets


def run_threads(work: Callable[[], None], stop: Callable[[], None], count: int) -> None:
    """Run `work` on several threads and wait for all of them.

    Args:
        work: returns when there is nothing left to do, or after `stop` was called.
        stop: makes every `work` return soon; called when one raises, or when the user interrupts.
        count: number of threads.

    Raises:
        BaseException: the first that any `work` raised, or KeyboardInterrupt.
    """
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            errors.append(error)
            stop()

    threads = [threading.Thread(target=guarded, name=f"cuvee-{i}", daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            while thread.is_alive():
                thread.join(TICK)
    finally:
        stop()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]

"""Running work on threads."""

import threading

import pytest

from cuvee.pool import run_threads


def test_all_threads_work_and_are_waited_for() -> None:
    lock, seen = threading.Lock(), []

    def work() -> None:
        with lock:
            seen.append(threading.current_thread().name)

    run_threads(work, lambda: None, 3)
    assert len(set(seen)) == 3


def test_an_error_stops_the_others_and_is_raised() -> None:
    stopped, numbers = threading.Event(), iter(range(2))

    def work() -> None:
        if next(numbers) == 1:
            raise ValueError("broken")
        stopped.wait(5)

    with pytest.raises(ValueError, match="broken"):
        run_threads(work, stopped.set, 2)
    assert stopped.is_set()


def test_a_thread_that_cannot_start_stops_those_that_did(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped, start = threading.Event(), threading.Thread.start
    begun = []

    def refuse_the_third(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_the_third)
    with pytest.raises(RuntimeError, match="start new thread"):
        run_threads(lambda: bool(stopped.wait(5)) and None, stopped.set, 3)
    assert not any(thread.is_alive() for thread in begun)

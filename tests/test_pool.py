"""Running work on threads."""

import signal
import subprocess
import sys
import threading
import time

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


INSISTED = """\
import os, threading, time
from cuvee.pool import run_threads
stopped = threading.Event()
at_work = 0
def work():
    global at_work
    at_work += 1
    os.write(1, b"working\\n")  # at once, whatever the other thread writes
    stopped.wait()
    time.sleep(0.5)  # a block that has to be finished
    at_work -= 1
try:
    run_threads(work, stopped.set, 2)
except KeyboardInterrupt:
    print("interrupted", at_work, flush=True)
"""


def test_who_insists_on_an_interrupt_does_not_free_memory_under_the_workers() -> None:
    with subprocess.Popen([sys.executable, "-c", INSISTED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert [process.stdout.readline() for _ in range(2)] == ["working\n"] * 2
            for _ in range(4):
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            assert process.stdout.readline() == "interrupted 0\n"
            assert process.wait(20) == 0
        finally:
            process.kill()

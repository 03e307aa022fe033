"""Running work on threads and processes."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from cuvee.pool import run_processes, run_threads


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


def squared(number: int) -> int:
    if number < 0:
        raise ValueError(f"broken by {number}")
    return number * number


@pytest.mark.parametrize("count", [0, 2])
def test_processes_do_every_item_once(count: int) -> None:
    done: dict[int, int] = {}
    run_processes(squared, [3, 1, 2], count, done.__setitem__)
    assert done == {1: 1, 2: 4, 3: 9}
    run_processes(squared, [], count, done.__setitem__)


def squared_slowly(number: int) -> int:
    time.sleep(0.01)
    return squared(number)


@pytest.mark.parametrize("count", [0, 1])
def test_an_error_in_a_process_is_raised_and_the_rest_dropped(count: int) -> None:
    done: dict[int, int] = {}
    with pytest.raises(ValueError, match="broken by -1"):
        run_processes(squared_slowly, [2, -1, *range(3, 1000)], count, done.__setitem__)
    assert len(done) < 900  # some were on their way; all would take ten seconds


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    """A killed parent can tell nobody; its workers look after it."""
    (tmp_path / "sleeper.py").write_text(
        "import os, pathlib, time\n"
        "def sleep(name):\n    pathlib.Path(name).write_text(str(os.getpid()))\n    time.sleep(600)\n"
    )
    code = (
        "from cuvee.pool import run_processes\nimport sleeper\n"
        "if __name__ == '__main__':\n    run_processes(sleeper.sleep, ['pid'], 1, print)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    parent = subprocess.Popen([sys.executable, "parent.py"], cwd=tmp_path)
    until = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < until
        time.sleep(0.05)
    parent.kill()
    parent.wait()
    worker = int((tmp_path / "pid").read_text())
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().split()[2]:
        assert time.monotonic() < until
        time.sleep(0.05)

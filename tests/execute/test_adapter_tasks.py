"""Pieces of work that share memory: what runs at once keeps to the budget, and all of it is done."""

import threading
import time
from functools import partial

import pytest

from cuvee.errors import MergeError, PlanError
from cuvee.execute.adapter.tasks import Count, Task, carry_out
from cuvee.plan.limits import WORKER, Limits, Share, share_out

FIXED = 100 << 20
MB = 1_000_000


class Machine:
    """Notes what runs at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: list[int] = []
        self.most = self.most_at_once = 0
        self.done: list[int] = []

    def work(self, memory: int, number: int, count: Count) -> None:
        with self.lock:
            self.now.append(memory)
            self.most = max(self.most, sum(self.now))
            self.most_at_once = max(self.most_at_once, len(self.now))
        time.sleep(0.002)
        count(memory)
        with self.lock:
            self.now.remove(memory)
            self.done.append(number)

    def tasks(self, *memories: int) -> list[Task]:
        return [Task(name=f"m{i}", memory=m, do=partial(self.work, m, i)) for i, m in enumerate(memories)]


@pytest.mark.parametrize("room", [10, 17, 30, None])
def test_what_runs_at_once_fits_and_all_is_done(room: int | None) -> None:
    machine, moved = Machine(), []
    memories = [3, 10, 1, 1, 9, 2, 8, 8, 8, 1, 10, 5] * 3
    carry_out(machine.tasks(*memories), Share(workers=4, room=room, peak_memory=0), moved.append)
    assert sorted(machine.done) == list(range(len(memories)))
    assert sum(moved) == sum(memories)
    assert room is None or machine.most <= room
    assert machine.most_at_once > (1 if room != 10 else 0)


def test_the_first_error_stops_the_rest() -> None:
    machine = Machine()

    def fail(count: Count) -> None:
        raise MergeError("wrong")

    tasks = [*machine.tasks(1, 1), Task(name="bad", memory=1, do=fail), *machine.tasks(*[1] * 200)]
    with pytest.raises(MergeError, match="wrong"):
        carry_out(tasks, Share(workers=2, room=None, peak_memory=0), lambda _: None)
    assert len(machine.done) < 200
    assert not machine.now


def test_without_a_limit_all_workers_may_have_the_largest_pieces() -> None:
    share = share_out([("a", 5 * MB), ("b", 7 * MB), ("c", 1 * MB)], Limits(workers=2), FIXED)
    assert (share.workers, share.room) == (2, None)
    assert share.peak_memory == FIXED + 2 * WORKER + 12 * MB


def test_a_limit_leaves_fewer_workers_and_less_room() -> None:
    needs = [(f"m{i}", 10 * MB) for i in range(8)]
    limit = FIXED + 3 * WORKER + 12 * MB
    share = share_out(needs, Limits(workers=8, memory=limit), FIXED)
    assert share.workers == 3
    assert share.room == 12 * MB
    assert share.peak_memory <= limit


def test_a_limit_that_one_piece_exceeds_is_refused_with_what_would_do() -> None:
    needs = [("small", 1 * MB), ("large", 40 * MB)]
    suffices = FIXED + WORKER + 40 * MB
    with pytest.raises(PlanError, match=rf"^large: this module needs .* Allow {-(-suffices // MB)} MB or more\.$"):
        share_out(needs, Limits(memory=suffices - 1), FIXED)
    assert share_out(needs, Limits(memory=suffices), FIXED).workers == 1


def test_there_may_be_nothing_to_do() -> None:
    share = share_out([], Limits(workers=3), FIXED)
    assert share.workers == 1
    carry_out([], share, lambda _: None)

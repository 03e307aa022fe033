"""Which block is handed out when."""

import threading
from collections.abc import Callable, Sequence
from itertools import chain

import pytest

from cuvee.execute.agenda import Agenda, Block, Group
from cuvee.plan.rows import Row
from cuvee.plan.strips import Strip


def strip(name: str, cells: int) -> Strip:
    return Strip.of(Row(name=name, start=0, size=10 * cells, cell=10, width=10, inputs=(), jobs=()), ())


class Counted(Group):
    """A group that knows how often a sweep of it was begun."""

    sweeps = 0

    def begin(self) -> bool:
        self.sweeps += 1
        return super().begin()


class Watched:
    """An agenda over groups of strips, each swept a given number of times, with a record of what happened."""

    def __init__(self, groups: list[list[Strip]], sweeps: dict[str, int], step: int = 2, batch: int = 1) -> None:
        self.left = dict(sweeps)
        self.events: list[str] = []
        self.groups = [Counted(strips, lambda _: step, lambda s: self.left[s.joined.name] > 0) for strips in groups]
        self.agenda = Agenda(self.groups, batch, self.end_strip, self.end_sweep, self.end_group)

    def end_strip(self, _: Group, strip: Strip) -> None:
        self.events.append(f"strip {strip.joined.name}")

    def end_sweep(self, group: Group) -> None:
        for each in group.strips:
            self.left[each.joined.name] -= 1
        self.events.append(f"sweep {named(group)}")

    def end_group(self, group: Group) -> None:
        self.events.append(f"group {named(group)}")

    def take(self) -> list[str]:
        """The next blocks, said in short."""
        return said(self.agenda.take())

    def run(self) -> list[str]:
        """Work all off; the blocks in the order in which they were handed out."""
        taken: list[str] = []
        while batch := self.agenda.take():
            taken += said(batch)
            self.agenda.done(batch)
        return taken


def named(group: Group) -> str:
    return "+".join(each.joined.name for each in group.strips)


def said(batch: Sequence[Block]) -> list[str]:
    return [f"{block.strip.joined.name}{block.first}-{block.last}" for block in batch]


def while_waiting(watched: Watched, then: Callable[[], None]) -> list[str]:
    """Let another thread ask for blocks, in vain; do something; return what it gets then."""
    taken: list[list[str]] = []
    waiting = threading.Thread(target=lambda: taken.append(watched.take()))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    then()
    waiting.join(5)
    assert not waiting.is_alive()
    return taken[0]


def test_rows_are_cut_into_blocks_in_stored_order() -> None:
    watched = Watched([[strip("a", 3)], [strip("b", 1)]], {"a": 1, "b": 1})
    assert watched.run() == ["a0-2", "a2-3", "b0-1"]
    assert watched.events == ["strip a", "sweep a", "group a", "strip b", "sweep b", "group b"]


def test_a_group_goes_through_its_sweeps_in_step() -> None:
    watched = Watched([[strip("a", 2), strip("b", 2)]], {"a": 2, "b": 2})
    assert watched.run() == ["a0-2", "b0-2"] * 2
    assert watched.events == [*["strip a", "strip b", "sweep a+b"] * 2, "group a+b"]
    assert watched.groups[0].sweeps == 3  # the last of them had nothing to do


def test_rows_that_are_finished_are_not_read_again() -> None:
    watched = Watched([[strip("a", 2), strip("b", 2)]], {"a": 1, "b": 2})
    assert watched.run() == ["a0-2", "b0-2", "b0-2"]


def test_empty_rows_and_groups_are_passed_over() -> None:
    watched = Watched([[strip("e", 0)], [strip("a", 1), strip("e", 0)]], {"a": 1, "e": 1})
    assert watched.run() == ["a0-1"]
    assert watched.events == ["strip a", "sweep a+e", "group a+e"]


@pytest.mark.parametrize("strips", [[], [[strip("e", 0)], [strip("e", 0)]]])
def test_where_nothing_is_to_do_nothing_is_handed_out(strips: list[list[Strip]]) -> None:
    watched = Watched(strips, {"e": 1})
    assert watched.run() == []
    assert watched.events == []


def test_a_sweep_says_whether_it_has_anything_to_do() -> None:
    left = {"a": True}
    group = Counted([strip("a", 1), strip("e", 0)], lambda _: 1, lambda s: left.get(s.joined.name, True))
    assert group.begin()
    left["a"] = False
    assert not group.begin()
    assert group.sweeps == 2


def test_a_group_begins_when_its_turn_comes() -> None:
    watched = Watched([[strip("a", 2)], [strip("b", 2)]], {"a": 1, "b": 1}, step=1)
    assert [group.sweeps for group in watched.groups] == [0, 0]
    watched.take()
    assert [group.sweeps for group in watched.groups] == [1, 0]
    watched.take()
    watched.take()
    assert [group.sweeps for group in watched.groups] == [1, 1]


def test_a_worker_that_finds_nothing_begins_the_next_group() -> None:
    watched = Watched([[strip("a", 2)], [strip("b", 2)]], {"a": 2, "b": 1})
    assert (watched.take(), watched.take()) == (["a0-2"], ["b0-2"])


def test_a_sweep_that_ends_is_followed_by_the_next_of_its_group_before_others_go_on() -> None:
    watched = Watched([[strip("a", 2)], [strip("b", 4)]], {"a": 2, "b": 1})
    first = watched.agenda.take()
    assert watched.take() == ["b0-2"]
    watched.agenda.done(first)
    assert (watched.take(), watched.take()) == (["a0-2"], ["b2-4"])


def test_a_worker_waits_for_the_end_of_a_sweep() -> None:
    watched = Watched([[strip("a", 2)]], {"a": 2})
    first = watched.agenda.take()
    assert while_waiting(watched, lambda: watched.agenda.done(first)) == ["a0-2"]


def test_a_worker_that_waited_in_vain_is_dismissed_when_all_is_done() -> None:
    watched = Watched([[strip("a", 2)]], {"a": 1})
    last = watched.agenda.take()
    assert while_waiting(watched, lambda: watched.agenda.done(last)) == []


def test_stopping_wakes_and_dismisses_everyone() -> None:
    watched = Watched([[strip("a", 2)]], {"a": 2})
    assert watched.take() == ["a0-2"]
    assert while_waiting(watched, watched.agenda.stop) == []
    assert watched.take() == []


# Small blocks, several at a time


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (1, [["a0-2"], ["a2-3"], ["b0-1"], ["c0-1"]]),
        (20, [["a0-2"], ["a2-3", "b0-1"], ["c0-1"]]),
        (21, [["a0-2", "a2-3"], ["b0-1", "c0-1"]]),
        (1000, [["a0-2", "a2-3", "b0-1", "c0-1"]]),
    ],
)
def test_a_worker_gets_blocks_until_they_have_as_many_elements_as_it_should(
    batch: int, expected: list[list[str]]
) -> None:
    watched = Watched([[strip("a", 3), strip("b", 1)], [strip("c", 1)]], {"a": 1, "b": 1, "c": 1}, batch=batch)
    assert [watched.take() for _ in expected] == expected


def test_a_block_counts_no_more_elements_than_its_row_has() -> None:
    small = [Row(name=name, start=0, size=3, cell=10, width=1, inputs=(), jobs=()) for name in "abcd"]
    watched = Watched([[Strip.of(row, ()) for row in small]], dict.fromkeys("abcd", 1), batch=9)
    assert (watched.take(), watched.take()) == (["a0-1", "b0-1", "c0-1"], ["d0-1"])


def test_a_worker_does_not_wait_to_get_more_at_a_time() -> None:
    watched = Watched([[strip("a", 2), strip("b", 2)]], {"a": 2, "b": 2}, step=1, batch=20)
    first, second = watched.agenda.take(), watched.agenda.take()
    watched.agenda.done(first)
    watched.agenda.done(second[:1])
    assert while_waiting(watched, lambda: watched.agenda.done(second[1:])) == ["a0-1", "a1-2"]


def test_blocks_of_several_groups_are_taken_back_together() -> None:
    watched = Watched([[strip("a", 1)], [strip("b", 1)]], {"a": 2, "b": 1}, batch=20)
    assert watched.run() == ["a0-1", "b0-1", "a0-1"]
    assert watched.events == ["strip a", "sweep a", "strip b", "sweep b", "group b", "strip a", "sweep a", "group a"]


def test_many_workers_do_each_block_of_each_sweep_once() -> None:
    names = [f"r{i}" for i in range(12)]
    groups = [[strip(name, 1 + i % 5) for i, name in enumerate(names) if i % 4 == j] for j in range(4)]
    watched = Watched(groups, {name: 1 + i % 3 for i, name in enumerate(names)}, step=1, batch=25)
    alone = Watched(groups, {name: 1 + i % 3 for i, name in enumerate(names)}, step=1).run()
    taken: list[list[str]] = [[] for _ in range(8)]

    def work(mine: list[str]) -> None:
        while batch := watched.agenda.take():
            mine += said(batch)
            watched.agenda.done(batch)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(chain.from_iterable(taken)) == sorted(alone)
    assert sorted(event for event in watched.events if event.startswith("group")) == sorted(
        f"group {named(group)}" for group in watched.groups
    )

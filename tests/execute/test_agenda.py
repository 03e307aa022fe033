"""Which block is handed out when."""

import threading

from cuvee.execute.agenda import Agenda, Block, Group
from cuvee.plan.rows import Row


def row(name: str, cells: int) -> Row:
    return Row(name=name, start=0, size=10 * cells, cell=10, width=10, inputs=(), jobs=())


class Watched:
    """An agenda over groups of rows, each swept a given number of times, with a record of what happened."""

    def __init__(self, groups: list[list[Row]], sweeps: dict[str, int], step: int = 2) -> None:
        self.left = dict(sweeps)
        self.events: list[str] = []
        made = [Group(rows, lambda _: step, lambda r: self.left[r.name] > 0) for rows in groups]
        self.agenda = Agenda(made, self.end_row, self.end_sweep)

    def end_row(self, _: Group, row: Row) -> None:
        self.events.append(f"row {row.name}")

    def end_sweep(self, group: Group) -> None:
        for r in group.rows:
            self.left[r.name] -= 1
        self.events.append("sweep " + "+".join(r.name for r in group.rows))

    def run(self) -> list[str]:
        taken = []
        while (block := self.agenda.take()) is not None:
            taken.append(f"{block.row.name}{block.first}-{block.last}")
            self.agenda.done(block)
        return taken


def test_rows_are_cut_into_blocks_in_stored_order() -> None:
    watched = Watched([[row("a", 3)], [row("b", 1)]], {"a": 1, "b": 1})
    assert watched.run() == ["a0-2", "a2-3", "b0-1"]
    assert watched.events == ["row a", "sweep a", "row b", "sweep b"]


def test_a_group_goes_through_its_sweeps_in_step() -> None:
    watched = Watched([[row("a", 2), row("b", 2)]], {"a": 2, "b": 2})
    assert watched.run() == ["a0-2", "b0-2"] * 2
    assert watched.events == ["row a", "row b", "sweep a+b"] * 2


def test_rows_that_are_finished_are_not_read_again() -> None:
    watched = Watched([[row("a", 2), row("b", 2)]], {"a": 1, "b": 2})
    assert watched.run() == ["a0-2", "b0-2", "b0-2"]


def test_empty_rows_and_groups_are_passed_over() -> None:
    watched = Watched([[row("e", 0)], [row("a", 1), row("e", 0)]], {"a": 1, "e": 1})
    assert watched.run() == ["a0-1"]


def test_a_worker_that_finds_nothing_begins_the_next_group() -> None:
    watched = Watched([[row("a", 2)], [row("b", 2)]], {"a": 2, "b": 1})
    first, second = watched.agenda.take(), watched.agenda.take()
    assert first is not None
    assert second is not None
    assert (first.row.name, second.row.name) == ("a", "b")


def test_a_worker_waits_for_the_end_of_a_sweep() -> None:
    watched = Watched([[row("a", 2)]], {"a": 2})
    first = watched.agenda.take()
    assert first is not None
    taken: list[Block | None] = []
    waiting = threading.Thread(target=lambda: taken.append(watched.agenda.take()))
    waiting.start()
    waiting.join(0.05)
    assert waiting.is_alive()
    watched.agenda.done(first)
    waiting.join(5)
    assert taken[0] is not None
    assert taken[0].row.name == "a"


def test_stopping_wakes_and_dismisses_everyone() -> None:
    watched = Watched([[row("a", 2)]], {"a": 2})
    assert watched.agenda.take() is not None
    taken: list[Block | None] = []
    waiting = threading.Thread(target=lambda: taken.append(watched.agenda.take()))
    waiting.start()
    watched.agenda.stop()
    waiting.join(5)
    assert taken == [None]
    assert watched.agenda.take() is None

"""Adding up what cells say: the same bits in any order, and running sums in the order of the domain."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cuvee.errors import MergeError
from cuvee.execute.answers import Answers
from cuvee.plan.rows import Row
from cuvee.tensors.passes import Array, Pass


def row(name: str, cells: int) -> Row:
    return Row(name=name, start=0, size=10 * cells, cell=10, width=10, inputs=(), jobs=())


A, B = row("a", 2), row("b", 2)
PLACES = [(A, 0), (A, 1), (B, 0), (B, 1)]


def asked(value: object, *, running: bool = False) -> Pass:
    return Pass(lambda: np.asarray(value), running=running)


def answer(values: dict[tuple[str, int], object], order: tuple[int, ...], *, running: bool = False) -> Answers:
    answers = Answers()
    left = {"a": 2, "b": 2}
    for i in order:
        place, cell = PLACES[i]
        answers.add(place, cell, asked(values[place.name, cell], running=running))
        left[place.name] -= 1
        if not left[place.name]:
            answers.end_row(place)
    answers.close()
    return answers


def test_floats_are_added_in_one_order_whatever_order_they_arrive_in() -> None:
    values = {("a", 0): [1e16], ("a", 1): [1.0], ("b", 0): [-1e16], ("b", 1): [1.0]}
    expected = (1e16 + 1.0) + (-1e16 + 1.0)
    for order in itertools.permutations(range(4)):
        assert answer(values, order).at(A, 0) == [np.array([expected])]


def test_whole_numbers_are_added_exactly() -> None:
    values = {(r.name, i): [2**53 + 1] for r, i in PLACES}
    (total,) = answer(values, (3, 1, 2, 0)).at(B, 1)
    assert isinstance(total, np.ndarray)
    assert total.tolist() == [4 * (2**53 + 1)]


def test_running_sums_count_tensors_by_name_then_cells() -> None:
    values = {("a", 0): [1, 0], ("a", 1): [2, 0], ("b", 0): [4, 1], ("b", 1): [8, 0]}
    for order in itertools.permutations(range(4)):
        answers = answer(values, order, running=True)
        before = [np.asarray(answers.at(r, cell)[0]).tolist() for r, cell in PLACES]
        assert before == [[0, 0], [1, 0], [3, 0], [7, 1]]


def test_parts_of_one_tensor_follow_their_place_in_it() -> None:
    first, second = row("a", 1), replace(row("a", 1), start=10)
    answers = Answers()
    for place, value in ((second, 5), (first, 3)):
        answers.add(place, 0, asked([value], running=True))
    answers.close()
    assert [np.asarray(answers.at(place, 0)[0]).tolist() for place in (first, second)] == [[0], [3]]


def test_nothing_asked_is_nothing_known() -> None:
    answers = Answers()
    answers.end_row(A)
    answers.close()
    assert answers.at(A, 0) == []


def test_cells_that_ask_in_different_kinds_are_refused() -> None:
    answers = Answers()
    answers.add(A, 0, asked([1]))
    answers.add(A, 1, asked([1.0]))
    with pytest.raises(MergeError, match="different questions"):
        answers.close()


def test_an_answer_is_finished_once() -> None:
    calls = []

    def finish(total: Array) -> str:
        calls.append(total)
        return "done"

    answers = Answers()
    for cell in (0, 1):
        answers.add(A, cell, Pass(lambda: np.asarray([1]), finish))
    answers.close()
    assert answers.at(A, 0) == answers.at(A, 1) == ["done"]
    assert len(calls) == 1

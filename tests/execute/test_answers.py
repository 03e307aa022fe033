"""Adding up what cells say: the same bits in any order, and running sums in the order of the domain."""

import itertools
import threading
import tracemalloc
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cuvee.errors import MergeError
from cuvee.execute.answers import STRIDE, Answers
from cuvee.plan.rows import Row
from cuvee.tensors.passes import Array, Kind, Pass


def row(name: str, cells: int) -> Row:
    return Row(name=name, start=0, size=10 * cells, cell=10, width=10, inputs=(), jobs=())


A, B = row("a", 2), row("b", 2)
PLACES = [(A, 0), (A, 1), (B, 0), (B, 1)]


def asked(value: object, kind: Kind = "total") -> Pass:
    return Pass(lambda: np.asarray(value), kind=kind)


def answer(values: dict[tuple[str, int], object], order: tuple[int, ...], kind: Kind = "total") -> Answers:
    answers = Answers()
    for i in order:
        place, cell = PLACES[i]
        answers.add(place, cell, asked(values[place.name, cell], kind))
    answers.close()
    return answers


def test_floats_are_added_in_one_order_whatever_order_they_arrive_in() -> None:
    values = {("a", 0): [1e16], ("a", 1): [1.0], ("b", 0): [-1e16], ("b", 1): [1.0]}
    expected = (1e16 + 1.0) + (-1e16 + 1.0)
    for order in itertools.permutations(range(4)):
        assert answer(values, order).at(A, 0) == [np.array([expected])]


def test_sums_of_floats_take_no_more_memory_the_more_cells_there_are() -> None:
    """Pairs of cells arrive in the wrong order; each says 80 kB."""
    place, answers = row("a", 100), Answers()
    tracemalloc.start()
    try:
        for cell in range(100):
            answers.add(place, cell ^ 1, asked(np.full(10_000, float(cell ^ 1))))
        answers.close()
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    (total,) = answers.at(place, 0)
    assert np.asarray(total).tolist() == [99 * 50] * 10_000


def test_whole_numbers_are_added_exactly() -> None:
    values = {(r.name, i): [2**53 + 1] for r, i in PLACES}
    (total,) = answer(values, (3, 1, 2, 0)).at(B, 1)
    assert isinstance(total, np.ndarray)
    assert total.tolist() == [4 * (2**53 + 1)]


# Running passes


def running(answers: Answers, place: Row, cell: int, at: int = 0) -> tuple[object, object, object]:
    """What a cell learns of a running pass: the sum before it, its own part, what all give; as plain values."""
    before, own, total = answers.at(place, cell)[at]  # type: ignore[misc]
    return np.asarray(before).tolist(), np.asarray(own).tolist(), np.asarray(total).tolist()


def test_running_sums_count_tensors_by_name_then_cells() -> None:
    values = {("a", 0): [1, 0], ("a", 1): [2, 0], ("b", 0): [4, 1], ("b", 1): [8, 0]}
    for order in itertools.permutations(range(4)):
        answers = answer(values, order, "running")
        assert [running(answers, *place) for place in PLACES] == [
            ([0, 0], [1, 0], [15, 1]),
            ([1, 0], [2, 0], [15, 1]),
            ([3, 0], [4, 1], [15, 1]),
            ([7, 1], [8, 0], [15, 1]),
        ]


def test_running_sums_of_floats_have_the_same_bits_in_any_order() -> None:
    values = {("a", 0): [1e16], ("a", 1): [1.0], ("b", 0): [-1e16], ("b", 1): [1.0]}
    expected = [running(answer(values, (0, 1, 2, 3), "running"), *place) for place in PLACES]
    for order in itertools.permutations(range(4)):
        assert [running(answer(values, order, "running"), *place) for place in PLACES] == expected


def test_running_sums_of_counts_outgrow_32_bits() -> None:
    values = {(r.name, i): [2**31 - 1] for r, i in PLACES}
    answers = answer(values, (0, 1, 2, 3), "running")
    assert running(answers, B, 1) == ([3 * (2**31 - 1)], [2**31 - 1], [4 * (2**31 - 1)])


def test_a_cell_too_large_for_counts_of_32_bits_has_wider_ones() -> None:
    wide = Row(name="w", start=0, size=2 << 32, cell=1 << 32, width=1, inputs=(), jobs=())
    answers = Answers()
    for cell in (0, 1):
        answers.add(wide, cell, asked([1 << 32], "running"))
    answers.close()
    assert running(answers, wide, 1) == ([1 << 32], [1 << 32], [2 << 32])


def test_parts_of_one_tensor_follow_their_place_in_it() -> None:
    first, second = row("a", 1), replace(row("a", 1), start=10)
    answers = Answers()
    for place, value in ((second, 5), (first, 3)):
        answers.add(place, 0, asked([value], "running"))
    answers.close()
    assert [running(answers, place, 0)[0] for place in (first, second)] == [[0], [3]]


def test_a_running_pass_is_finished_once_from_what_all_cells_say() -> None:
    finished: list[object] = []

    def finish(total: Array) -> str:
        finished.append(total.tolist())
        return "done"

    answers = Answers()
    for place, cell in PLACES:
        answers.add(place, cell, Pass(lambda: np.asarray([1]), finish, "running"))
    answers.close()
    assert [running(answers, *place)[2] for place in PLACES] == ["done"] * 4
    assert finished == [[4]]


def many(values: dict[str, Array], kind: Kind = "running") -> tuple[Answers, dict[str, Row]]:
    """Answers where each row's cells say one value each, in an order of their own."""
    rows, answers = {name: row(name, len(said)) for name, said in values.items()}, Answers()
    places = [(name, cell) for name, said in values.items() for cell in range(len(said))]
    for k in np.random.default_rng(1).permutation(len(places)):
        name, cell = places[k]
        answers.add(rows[name], cell, asked(values[name][cell], kind))
    answers.close()
    return answers, rows


def sums_before(values: dict[str, Array]) -> dict[str, list[object]]:
    """For each row the sum over all cells before each of its own, added one by one."""
    found: dict[str, list[object]] = {}
    before = np.zeros_like(next(iter(values.values()))[0])
    for name in sorted(values):
        found[name] = []
        for said in values[name]:
            found[name].append(before.tolist())
            before = before + said
    found["in all"] = before.tolist()
    return found


COUNTS = {"d": 3 * STRIDE + 7, "a": 5 * STRIDE + 1, "c": 1, "b": STRIDE, "e": 2 * STRIDE - 1, "f": 4 * STRIDE}
"""Cells of rows; not in the order of their names."""


@pytest.mark.parametrize("most", [3, 2**31 - 1, 2**31, 2**40])
@pytest.mark.parametrize("shape", [(1,), (2, 3)])
def test_running_sums_over_many_cells_are_those_of_adding_one_by_one(most: int, shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    values = {name: draw.integers(-most, most, (count, *shape), endpoint=True) for name, count in COUNTS.items()}
    answers, rows = many(values)
    expected = sums_before(values)
    for name, place in rows.items():
        found = [running(answers, place, cell) for cell in range(place.cells)]
        assert [before for before, _, _ in found] == expected[name]
        assert [own for _, own, _ in found] == values[name].tolist()
        assert all(total == expected["in all"] for _, _, total in found)


def test_one_large_number_among_many_small_ones_changes_no_other() -> None:
    values = {name: np.ones((count, 2), np.int64) for name, count in COUNTS.items()}
    values["a"][200, 1] = -(2**45)
    values["d"][130, 0] = 2**62
    answers, rows = many(values)
    expected = sums_before(values)
    for name, place in rows.items():
        assert [running(answers, place, cell)[0] for cell in range(place.cells)] == expected[name]


def test_running_sums_of_floats_over_many_cells_are_those_of_adding_one_by_one() -> None:
    draw = np.random.default_rng(0)
    whole = {name: draw.integers(-9, 9, (count, 2)) * 0.25 for name, count in COUNTS.items()}  # sums of it are exact
    broken = {name: draw.standard_normal((count, 2)) for name, count in COUNTS.items()}
    for values, rtol in ((whole, 0), (broken, 1e-9)):
        answers, rows = many(values)
        expected = sums_before(values)
        for name, place in rows.items():
            found = [running(answers, place, cell)[0] for cell in range(place.cells)]
            np.testing.assert_allclose(found, expected[name], rtol=rtol, atol=rtol)


# Samples


def test_a_sample_is_taken_once_and_counts_as_no_pass() -> None:
    answers, taken = Answers(), []

    def pieces() -> Array:
        taken.append(1)
        return np.asarray([3, 1, 2])

    for _ in range(2):
        answers.sample(0, Pass(lambda: np.empty(0), np.sort, "sample"), pieces)
    assert [np.asarray(known).tolist() for known in answers.at(A, 0)] == [[1, 2, 3]]
    assert len(taken) == 1
    assert answers.passes == 0


def test_workers_that_ask_for_a_sample_at_once_get_the_same_one() -> None:
    answers, taken = Answers(), []
    begun = threading.Barrier(4)

    def pieces() -> Array:
        taken.append(1)
        return np.asarray([len(taken)])

    def ask() -> None:
        begun.wait(5)
        answers.sample(0, asked([0], "sample"), pieces)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(taken) == 1
    assert [np.asarray(known).tolist() for known in answers.at(A, 0)] == [[1]]


def test_answers_come_in_the_order_in_which_they_are_asked_and_passes_alone_are_counted() -> None:
    answers = Answers()
    for number in range(2):
        known = 2 * number
        answers.sample(known, asked([0], "sample"), lambda number=number: np.asarray([10 + number]))  # type: ignore[misc]
        for place, cell in PLACES:
            answers.add(place, cell, asked([1]))
        answers.close()
        assert answers.passes == number + 1
    assert [np.asarray(known).tolist() for known in answers.at(B, 0)] == [[10], [4], [11], [4]]


def test_a_running_answer_keeps_its_place_among_others() -> None:
    answers = Answers()
    answers.sample(0, asked([0], "sample"), lambda: np.asarray([7]))
    for place, cell in PLACES:
        answers.add(place, cell, asked([cell + 1], "running"))
    answers.close()
    assert np.asarray(answers.at(B, 1)[0]).tolist() == [7]
    assert running(answers, B, 1, at=1) == ([4], [2], [6])


# What is asked wrongly, or not at all


def test_nothing_asked_is_nothing_known() -> None:
    answers = Answers()
    answers.close()
    assert answers.at(A, 0) == []
    assert answers.passes == 0


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


def test_running_sums_beyond_32_bits_do_not_wrap() -> None:
    answers, large = Answers(), row("a", 3)
    for cell, value in enumerate([1, 1 << 33, 1 << 40]):
        answers.add(large, cell, asked([value], "running"))
    answers.close()
    found: list[Any] = [answers.at(large, cell)[0] for cell in range(3)]
    assert [int(before[0]) for before, _, _ in found] == [0, 1, 1 + (1 << 33)]
    assert [int(own[0]) for _, own, _ in found] == [1, 1 << 33, 1 << 40]

"""Driving methods that ask about a whole domain."""

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest

from cuvee.tensors.passes import Array, Pass, Passes, Position, advance, finished, prefix, sampled, total


def asks(values: Array) -> Generator[Pass, Any, list[object]]:
    """Ask for a sum, for what is made of a sum, for a running sum, and for a sample."""
    plain = yield from total(np.sum, values, keepdims=True)
    made = yield from finished(lambda total: float(total[0]) * 10, np.sum, values, keepdims=True)
    before, own, grown = yield from prefix(lambda total: int(total[0]) + 1, np.sum, values, keepdims=True)
    seen = yield from sampled(np.sort, np.flip, values)
    return [plain.tolist(), made, before.tolist(), own.tolist(), grown, seen.tolist()]


def test_a_cell_that_is_its_domain_answers_itself() -> None:
    assert advance(asks, [], True, np.array([1, 2])) == [[3], 30.0, [0], [3], 4, [1, 2]]


def test_passes_are_asked_one_after_the_other() -> None:
    values, answers = np.array([1, 2]), list[object]()
    asked = advance(asks, answers, False, values)
    assert isinstance(asked, Pass)
    assert asked.measure().tolist() == [3]
    assert asked.answer(np.array([7])).tolist() == [7]  # type: ignore[attr-defined]
    answers.append(np.array([7]))
    asked = advance(asks, answers, False, values)
    assert isinstance(asked, Pass)
    assert asked.answer(np.array([7])) == 70.0
    answers.append(70.0)
    asked = advance(asks, answers, False, values)
    assert isinstance(asked, Pass)
    assert asked.kind == "running"
    answers.append((np.array([4]), np.array([3]), asked.answer(np.array([7]))))
    asked = advance(asks, answers, False, values)
    assert isinstance(asked, Pass)
    assert (asked.kind, asked.measure().tolist()) == ("sample", [2, 1])
    answers.append(asked.answer(np.array([2, 1, 0])))
    assert advance(asks, answers, False, values) == [[7], 70.0, [4], [3], 8, [0, 1, 2]]


def test_what_is_measured_is_not_computed_when_the_answer_is_known() -> None:
    def explode() -> Array:
        raise AssertionError("measured again")

    def method() -> Passes[float]:
        return float((yield from total(explode))[0])

    assert advance(method, [np.array([2.0])], False) == 2.0


def test_a_plain_function_needs_no_pass() -> None:
    assert advance(lambda x: x + 1, [], False, 1) == 2


def test_a_method_that_is_left_half_way_is_closed() -> None:
    closed = []

    def method() -> Passes[None]:
        try:
            yield from total(np.zeros, 1)
        finally:
            closed.append(True)

    assert isinstance(advance(method, [], False), Pass)
    assert closed == [True]


def test_an_error_of_a_method_comes_through() -> None:
    def method() -> Passes[None]:
        yield from total(np.zeros, 1)
        raise KeyError("x")

    with pytest.raises(KeyError):
        advance(method, [], True)


def test_a_note_that_nobody_listens_to_is_dropped() -> None:
    Position(size=1).note("text")

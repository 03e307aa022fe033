"""What primitives are given: kernels believe what they are told, so it is refused before they see what is wrong."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.spec import DTYPES
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.kernels import machine_code, program
from cuvee.tensors.kernels.program import Program, program_of
from cuvee.tensors.operands import Block, Operand, TaskVector
from cuvee.tensors.signs import disjoint_merge, sign_vote
from tensors.test_kernels import TYPES, block, check_stored, in_torch, operands_of, vectors

ROWS, WIDTH = 2, 100
HOW = ["mean", "sum", "max", "signed_mean"]
FLOAT = DTYPES["F32"]

each_how = pytest.mark.parametrize("how", HOW)
wrong_weights = pytest.mark.parametrize(
    "weights",
    [
        np.ones(0),
        np.ones(1),
        np.ones(2),
        np.ones(4),
        np.ones((1, ROWS)),
        np.ones((4, ROWS)),
        np.ones((2, 3)),
        np.ones((3, 2, 1)),
    ],
    ids=lambda weights: str(weights.shape),
)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    assert machine_code.kernel() is not None, "numba is missing, and these tests with it"


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the test fail where a kernel is called."""

    def call(operation: int, frame: int) -> int:
        raise AssertionError("a kernel was called")

    program_of([object()])  # forget the program of the test before
    monkeypatch.setattr(program, "kernel", lambda: call)
    yield
    monkeypatch.undo()
    program_of([object()])


def three(rows: int = ROWS, width: int = WIDTH, dtype: str = "BF16") -> list[Operand]:
    """Three plain operands, of few values."""
    return operands_of(3, rows * width, dtype, 5, deltas=False, rows=rows, step=0.25)[0]


def made(rows: int = ROWS) -> Program:
    """The program of three operands."""
    found = program_of(three(rows))
    assert found is not None
    return found


def room(dtype: str = "F32") -> Any:
    """Memory for what operands merge to."""
    return np.zeros(ROWS * WIDTH * DTYPES[dtype].bits // 8, np.uint8)


# Weights


@wrong_weights
def test_a_sum_refuses_weights_that_are_not_one_per_operand(weights: Any, untouched: None) -> None:
    with pytest.raises(ValueError, match=r"weights|shape"):
        weighted_sum(three(), weights).store(None, FLOAT, room())


@pytest.mark.parametrize("weights", [np.ones((3, 1 + ROWS)), np.ones((3, ROWS - 1, 1)), np.ones((3, ROWS, 1))])
def test_a_sum_refuses_weights_that_are_not_one_per_row(weights: Any, untouched: None) -> None:
    with pytest.raises(ValueError, match="shape"):
        weighted_sum(three(), weights).store(None, FLOAT, room())


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, ROWS), (3, WIDTH + 1), (2, WIDTH), (3, 1, WIDTH)])
def test_a_sum_by_columns_refuses_weights_that_are_not_one_per_column(shape: tuple[int, ...], untouched: None) -> None:
    with pytest.raises(ValueError, match="got an array of shape"):
        made().store_sum_of_columns(np.ones(shape), None, DTYPES["F32"], room())


def test_two_operands_of_two_rows_refuse_three_weights_each(untouched: None) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 3\); expected \(2,\) or \(2, 1\) or \(2, 2\)"):
        weighted_sum(three()[:2], np.ones((2, 3))).store(None, FLOAT, room())


@wrong_weights
def test_a_vote_refuses_weights_that_are_not_one_per_operand(weights: Any, untouched: None) -> None:
    with pytest.raises(ValueError, match=r"weights|shape"):
        sign_vote(three(), weights)


@wrong_weights
@each_how
def test_a_disjoint_merge_refuses_weights_that_are_not_one_per_operand(how: Any, weights: Any, untouched: None) -> None:
    with pytest.raises(ValueError, match="shape"):
        disjoint_merge(three(), weights, 0, how=how, scale=1.0).store(None, FLOAT, room())


@pytest.mark.parametrize("weights", [[1.0, 2.0], [1.0] * 4])
def test_torch_refuses_too_few_and_too_many_weights_as_well(weights: list[float]) -> None:
    refused: Sequence[Callable[[], object]] = [
        lambda: weighted_sum(three(), weights).tensor,
        lambda: sign_vote(three(), weights),
        lambda: disjoint_merge(three(), weights, None, how="sum", scale=1.0).tensor,
        lambda: disjoint_merge(three(), weights, 0, how="max", scale=1.0).tensor,
    ]
    for primitive in refused:
        with pytest.raises(ValueError, match=r"weights|zip"):
            in_torch(primitive)


@pytest.mark.parametrize("rows", [1, ROWS])
def test_weights_may_come_in_a_view_that_runs_backwards(rows: int) -> None:
    own, kept = three(rows), np.array([9.0, 0.25, 9.0, -2.0, 9.0, 1.5])
    weights, base = kept[::-2], block(vectors(1, rows * WIDTH, 8)[0], "BF16", rows)
    assert weights.tolist() == [1.5, -2.0, 0.25]
    check_stored(weighted_sum(own, weights), base, "BF16")
    assert same_bits(weighted_sum(own, weights).tensor, weighted_sum(own, weights.tolist()).tensor)
    for how in HOW:
        check_stored(disjoint_merge(own, weights, 1, how=how, scale=1.0), base, "BF16")  # type: ignore[arg-type]
    assert sign_vote(own, weights).tolist() == sign_vote(own, weights.tolist()).tolist()


@pytest.mark.parametrize("view", [np.s_[::-1], np.s_[:, ::-1], np.s_[::-1, ::-1]], ids=["models", "rows", "both"])
def test_weights_of_rows_may_come_in_a_view_that_runs_backwards(view: Any) -> None:
    weights = np.array([[1.0, -2.0], [0.5, 3.0], [-0.25, 0.75]])[view]
    one, other = room(), room()
    assert weighted_sum(three(), weights).store(None, FLOAT, one)
    assert weighted_sum(three(), weights.copy()).store(None, FLOAT, other)
    np.testing.assert_array_equal(one, other)
    expected = weighted_sum(three(), weights.copy()).tensor
    assert same_bits(torch.from_numpy(one).view(torch.float32).reshape(ROWS, WIDTH), expected)
    assert same_bits(weighted_sum(three(), weights).tensor, expected)


def test_weights_of_columns_and_of_other_types_are_read_by_value() -> None:
    square = np.array([[1, 7, -3], [2, 7, 0], [4, 7, 5]])
    for weights in (square[:, 0], square.T[2], square[:, :1], square[:, ::2], square[:, ::2].astype(np.float16)):
        check_stored(weighted_sum(three(), weights), None, "F32")


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.contiguous().view(torch.int32), other.contiguous().view(torch.int32))


# Signs of undecided entries


@each_how
@pytest.mark.parametrize("length", [0, 1, 2, 4, 100])
def test_a_sign_for_each_row_is_refused_where_there_are_other_rows(how: Any, length: int, untouched: None) -> None:
    signs = np.ones(length, np.int64)
    merge = disjoint_merge(three(3), [1.0, 1.0, 1.0], signs, how=how, scale=1.0)
    with pytest.raises(AssertionError if length == 1 else ValueError, match=r"called|shape"):  # one is for all rows
        merge.store(None, FLOAT, np.zeros(3 * WIDTH * 4, np.uint8))


def test_a_table_of_signs_is_refused(untouched: None) -> None:
    for shape in ((ROWS, 1), (1, ROWS), (1, 1)):
        merge = disjoint_merge(three(), [1.0, 1.0, 1.0], np.ones(shape, np.int64), how="sum", scale=1.0)
        with pytest.raises(ValueError, match="shape"):
            merge.store(None, FLOAT, room())


def test_signs_may_come_in_a_view_that_runs_backwards() -> None:
    signs = np.array([1, 5, 0, 5, -1, 5])[-2::-2]
    assert signs.tolist() == [-1, 0, 1]
    for how in HOW:
        named: Any = {"how": how, "scale": 0.5}
        check_stored(disjoint_merge(three(3), [1.0, -0.5, 2.0], signs, **named), None, "BF16")


# What programs are asked


@pytest.mark.parametrize("shape", [(), (0,), (2,), (4,), (3, 1), (1, 3), (3, ROWS)])
def test_a_program_selects_one_rank_per_operand(shape: tuple[int, ...], untouched: None) -> None:
    with pytest.raises(ValueError, match="shape"):
        made().select(np.ones(shape, np.int64))


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (2, 1, 5), (4, 1, 5), (0, 1, 5), (3, 1, 5, 1)])
def test_a_program_tallies_lists_for_each_operand(shape: tuple[int, ...], untouched: None) -> None:
    with pytest.raises(ValueError, match=r"shape|unpack"):
        made().tally(np.ones(shape, np.int64))


def test_a_program_tallies_no_empty_list(untouched: None) -> None:
    with pytest.raises(ValueError, match=r"shape|empty"):
        made().tally(np.ones((3, 1, 0), np.int64))


@pytest.mark.parametrize("shape", [(), (0,), (2,), (4,), (3, 1), (1, 3)])
def test_a_program_counts_one_interval_per_operand(shape: tuple[int, ...], untouched: None) -> None:
    low = np.zeros(shape, np.int64)
    with pytest.raises(ValueError):  # noqa: PT011 - numpy refuses some, in words of its own
        made().histogram(low, low + 1, low)


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_program_counts_no_intervals_of_other_lengths(wrong: int, untouched: None) -> None:
    for length in (2, 4):
        asked = [np.zeros(3, np.int64), np.ones(3, np.int64), np.zeros(3, np.int64)]
        asked[wrong] = np.full(length, int(wrong == 1))
        with pytest.raises(ValueError):  # noqa: PT011 - the same
            made().histogram(*asked)


def test_what_programs_are_asked_may_be_laid_out_in_any_way() -> None:
    ranks = np.array([70, 9, 3, 9, 50, 9])[-2::-2]
    found = made().select(ranks), made().select(ranks.astype(np.int32))
    expected = made().select(np.array([50, 3, 70]))
    assert expected is not None
    for each in found:
        np.testing.assert_array_equal(each, expected)
    bits = np.array([[0x3E800000, 0x3F000000, 0x3F800000]] * 3)  # of 0.25, 0.5 and 1
    tallied = made().tally(np.asfortranarray(bits[:, None, :], np.int32))
    np.testing.assert_array_equal(tallied, made().tally(bits[:, None, :].copy()))
    low, shift = bits[:, ::-1][:, 0], np.zeros(6, np.int64)[::2]
    np.testing.assert_array_equal(made().histogram(low, low + 1, shift), made().histogram(low.copy(), low + 1, shift))


# Operands


@pytest.mark.parametrize("other", [(ROWS, WIDTH - 1), (ROWS, WIDTH + 1), (1, 1), (ROWS + 1, WIDTH), (1, ROWS * WIDTH)])
def test_operands_of_different_shapes_never_reach_a_kernel(other: tuple[int, int], untouched: None) -> None:
    rows, width = other
    mixed = [*three()[:2], block(torch.ones(rows * width), "BF16", rows)]
    assert program_of(mixed) is None
    assert program_of([TaskVector(model, mixed[2]) for model in mixed[:2]]) is None  # one base for all, of that shape
    if other != (1, 1):  # which torch spreads over all
        with pytest.raises(RuntimeError):
            gram_matrix(mixed)


def test_an_operand_that_is_replaced_in_its_list_is_seen() -> None:
    *own, other = operands_of(4, ROWS * WIDTH, "BF16", 3, deltas=False, rows=ROWS)[0]
    weights = [1.0, -0.5, 2.0]
    first = gram_matrix(own)
    own[1] = other
    check_stored(weighted_sum(own, weights), None, "F32")
    assert sign_vote(own, weights).tolist() == in_torch(lambda: sign_vote(own, weights).tolist())
    second = gram_matrix(own)
    np.testing.assert_allclose(second, in_torch(lambda: gram_matrix(own)), rtol=1e-12)
    assert (first != second).any()
    own.append(own[0])
    assert gram_matrix(own).shape == (ROWS, 4, 4)
    del own[1:]
    assert gram_matrix(own).shape == (ROWS, 1, 1)


def test_what_is_merged_is_settled_when_the_merge_is_asked_for() -> None:
    *own, other = operands_of(4, ROWS * WIDTH, "BF16", 3, deltas=False, rows=ROWS)[0]
    expected, out = weighted_sum(list(own), [1.0, -0.5, 2.0]).tensor, room()
    asked = weighted_sum(own, [1.0, -0.5, 2.0])
    own[1] = other
    assert asked.store(None, FLOAT, out)
    assert same_bits(torch.from_numpy(out).view(torch.float32).reshape(ROWS, WIDTH), expected)
    assert same_bits(asked.tensor, expected)


# Memory that is not in one piece


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("view", [np.s_[::2], np.s_[::-1]], ids=["steps", "backwards"])
def test_raw_elements_may_lie_apart(dtype: str, view: Any) -> None:
    values = vectors(3, ROWS * WIDTH, 2)
    apart = [scattered(value, dtype, view) for value in values]
    whole = [block(value, dtype, ROWS) for value in values]
    for one, two in zip(apart, whole, strict=True):
        assert same_bits(one.tensor, two.tensor)
    deltas = [TaskVector(model, apart[2]) for model in apart[:2]]
    check_stored(weighted_sum(deltas, [1.5, -0.5]), apart[2], "F32")
    np.testing.assert_array_equal(gram_matrix(apart), gram_matrix(whole))


def scattered(values: torch.Tensor, dtype: str, view: Any) -> Block:
    """A block whose bytes are a view of others."""
    raw = block(values, dtype).data
    held = np.full(2 * raw.size if view.step == 2 else raw.size, 0xAB, np.uint8)
    held[view] = raw
    assert not held[view].flags.c_contiguous
    return Block(held[view], DTYPES[dtype], ROWS, from_bytes)


@pytest.mark.parametrize("view", [np.s_[8:-8:2], np.s_[-9:7:-1]], ids=["steps", "backwards"])
def test_kernels_store_nothing_in_memory_that_is_not_in_one_piece(view: Any, untouched: None) -> None:
    size = ROWS * WIDTH * 4
    held = np.full(16 + size * abs(view.step), 0xAB, np.uint8)
    assert held[view].nbytes == size
    assert not weighted_sum(three(), [1.0, 2.0, 3.0]).store(None, FLOAT, held[view])
    assert not disjoint_merge(three(), [1.0, 2.0, 3.0], 0, how="sum", scale=1.0).store(None, FLOAT, held[view])
    assert (held == 0xAB).all()


@pytest.mark.parametrize("difference", [-4, -1, 1, 4, 400])
def test_kernels_store_nothing_in_memory_of_another_size(difference: int, untouched: None) -> None:
    out = np.zeros(ROWS * WIDTH * 4 + difference, np.uint8)
    assert not weighted_sum(three(), [1.0, 2.0, 3.0]).store(None, FLOAT, out)
    assert not out.any()


def test_kernels_add_no_block_of_another_size(untouched: None) -> None:
    for size in (ROWS * WIDTH - 1, ROWS * WIDTH + 1, WIDTH, 1):
        added = block(torch.ones(size), "BF16")
        assert not weighted_sum(three(), [1.0, 2.0, 3.0]).store(added, FLOAT, room())

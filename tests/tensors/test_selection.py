"""Exact selection by magnitude, against sorting everything."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import MergeError
from cuvee.spec import DTYPES
from cuvee.tensors import ranks
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.operands import Block
from cuvee.tensors.passes import PIECE, Array, Pass, Position, advance
from cuvee.tensors.selection import Cut, Trimmed, largest, share_of, trim


def block(values: torch.Tensor, rows: int = 1) -> Block:
    return Block(values.flatten().numpy().view(np.uint8), DTYPES["F32"], rows, from_bytes)


def expected_mask(values: torch.Tensor, count: int, every_tie: bool) -> torch.Tensor:
    """Sort by magnitude, earlier first where equal; keep `count`, or all that equal the last kept."""
    order = sorted(range(len(values)), key=lambda i: (-abs(float(values[i])), i))
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[order[:count]] = True
    if every_tie and 0 < count < len(values):
        mask |= values.abs() >= values.abs()[order[count - 1]]
    return mask


def run_over_cells(vectors: Sequence[torch.Tensor], counts: Sequence[int], cell: int, every_tie: bool) -> torch.Tensor:
    """Drive `largest` over a domain cut into cells, as the executor does, and return the masks put together."""
    size = len(vectors[0])
    starts = range(0, size, cell)
    answers: list[list[object]] = [[] for _ in starts]
    masks: list[torch.Tensor] = [torch.empty(len(vectors), 0, dtype=torch.bool)]
    while True:
        parts: list[Array] = []
        asked: Pass | None = None
        for k, start in enumerate(starts):
            operands = [block(v[start : start + cell].clone()) for v in vectors]
            position = Position(size=size, whole=False)
            result = advance(largest, answers[k], False, operands, counts, position, every_tie=every_tie)
            if isinstance(result, Pass):
                asked = result
                parts.append(result.measure())
            else:
                trimmed = [Trimmed(o, c).tensor for o, c in zip(operands, result, strict=True)]
                masks.append(torch.cat(trimmed) != 0)
        if asked is None:
            return torch.cat(masks, 1)
        put_together = np.concatenate(parts[:1], -1) if asked.kind == "sample" else np.sum(parts, 0)
        answer = asked.answer(put_together)  # of a sample: of the first cell alone, so that guesses may fail
        before = np.zeros_like(parts[0])
        for k, part in enumerate(parts):
            answers[k].append((before.copy(), part, answer) if asked.kind == "running" else answer)
            before = before + part if asked.kind == "running" else before


few_values = st.sampled_from([-2.0, -1.0, -0.5, 0.5, 1.0, 1.0 + 2**-23, 2.0, 1e-30, -1e30])
any_value = st.floats(width=32, allow_nan=False, allow_infinity=False).filter(lambda x: x != 0)


@given(
    st.lists(few_values | any_value, min_size=1, max_size=40),
    st.integers(0, 41),
    st.integers(1, 50),
    st.booleans(),
)
def test_cells_select_what_sorting_selects(values: list[float], count: int, cell: int, every_tie: bool) -> None:
    vector = torch.tensor(values)
    count = min(count, len(values))
    mask = run_over_cells([vector, -vector.flip(0)], [count, len(values) // 2], cell, every_tie)
    assert torch.equal(mask[0], expected_mask(vector, count, every_tie))
    assert torch.equal(mask[1], expected_mask(-vector.flip(0), len(values) // 2, every_tie))


@given(st.lists(st.lists(few_values, min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 6), st.booleans())
def test_whole_rows_select_what_sorting_each_row_selects(rows: list[list[float]], count: int, every_tie: bool) -> None:
    matrix = torch.tensor(rows)
    operand = block(matrix, rows=len(rows))
    position = Position(size=6)
    (cut,) = advance(largest, [], True, [operand], [count], position, every_tie=every_tie)
    for row, kept in zip(matrix, Trimmed(operand, cut).tensor, strict=True):
        assert torch.equal(kept != 0, expected_mask(row, count, every_tie))


def test_zeros_below_the_cut_do_not_matter_and_a_cut_of_zero_keeps_all() -> None:
    operand = block(torch.tensor([0.0, 3.0, 0.0, 0.0]))
    position = Position(size=4)
    (cut,) = advance(largest, [], True, [operand], [2], position)
    assert Trimmed(operand, cut).tensor.tolist() == [[0, 3, 0, 0]]


def test_a_band_drops_what_its_upper_cut_keeps() -> None:
    operand = block(torch.tensor([1.0, 4.0, -3.0, 2.0]))
    position = Position(size=4)
    keep, drop = advance(largest, [], True, [operand, operand], [3, 1], position)
    assert Trimmed(operand, keep, drop).tensor.tolist() == [[0, 0, -3, 2]]


@pytest.mark.parametrize(("density", "size", "count"), [(0.29, 100, 29), (0.2, 62, 12), (1 / 3, 9, 2), (0.7, 10, 7)])
def test_a_share_is_taken_of_the_decimals_as_written(density: float, size: int, count: int) -> None:
    assert share_of(density, size) == count


def test_trimming_nothing_returns_the_operands_themselves() -> None:
    operands = [block(torch.ones(2)), block(torch.ones(2))]
    assert advance(trim, [], True, operands, [1.0, 1.0], Position(size=2)) is operands


def test_one_of_several_models_may_stay_untrimmed() -> None:
    operands = [block(torch.tensor([1.0, 2.0])), block(torch.tensor([1.0, 2.0]))]
    trimmed = advance(trim, [], True, operands, [1.0, 0.5], Position(size=2))
    assert not isinstance(trimmed, Pass)
    assert [x.tensor.tolist() for x in trimmed] == [[[1, 2]], [[0, 2]]]


def test_a_cut_without_spare_counts_nothing() -> None:
    cut = Cut(np.array([0]), np.array([0]), np.array([7]))
    assert cut.keeps(torch.tensor([[0, 1]], dtype=torch.int32)).tolist() == [[False, True]]


def test_elements_that_change_between_readings_are_an_error() -> None:
    values = torch.linspace(1, 2, 5000)
    position, answers = Position(size=5000, whole=False), list[object]()
    for read in (values, values, values * 0):  # sample, tally, histogram
        asked = advance(largest, answers, False, [block(read)], [1234], position)
        assert isinstance(asked, Pass)
        part = asked.measure()
        if read is values:
            answer = asked.answer(part)
            answers.append((np.zeros_like(part), part, answer) if asked.kind == "running" else answer)
    with pytest.raises(MergeError, match="have changed"):
        asked.answer(part)


@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_the_error_of_a_sample_is_what_many_samples_show(spread: float) -> None:
    """Pieces of a tensor differ in scale, or do not; the share above a magnitude varies accordingly."""
    random, errors, shares = np.random.default_rng(0), [], []
    for _ in range(200):
        scales = np.exp(spread * random.standard_normal((20, 1)))
        sample = np.abs(scales * random.standard_normal((20, PIECE))).astype(np.float32).view(np.int32).reshape(-1)
        errors.append(ranks._error_of_share(sample, np.sort(sample)[::-1], 0.3))
        shares.append((sample.view(np.float32) >= 1.0).mean())
    assert 0.75 < np.mean(errors) / np.std(shares) < 1.35

"""Compiled kernels on several rows at once: what torch gives for all of them, and what each row gives by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from cuvee.spec import DTYPES
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.kernels import machine_code
from cuvee.tensors.kernels.program import program_of
from cuvee.tensors.operands import Block, Operand, Result, TaskVector
from cuvee.tensors.passes import Position, advance
from cuvee.tensors.random import Dropped, Key
from cuvee.tensors.selection import Cut, Trimmed, trim
from cuvee.tensors.signs import disjoint_merge, elect_and_merge, sign_vote
from tensors.test_kernels import TYPES, block, check_stored, in_torch, vectors

SHAPES = [(1, 5000), (40, 65), (300, 5), (5, 1), (7, 1100), (3, 1024), (2, 3000)]
"""Rows, and elements in each: fewer and more than a chunk of the kernels, and hardly ever a whole number of chunks."""
WEIGHTS = [1.0, -0.5, 2.0]
UNDECIDED = [None, 0, 1, -1, "each"]

each_shape = pytest.mark.parametrize(("rows", "width"), SHAPES)
each_type = pytest.mark.parametrize("dtype", TYPES)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    assert machine_code.kernel() is not None, "numba is missing, and these tests with it"


class Rows:
    """Three task vectors of several rows, of few values, so that magnitudes tie and sums cancel; or of many."""

    def __init__(self, rows: int, width: int, dtype: str = "BF16", step: float = 0.25) -> None:
        self.rows, self.dtype = rows, dtype
        self.values = [v.reshape(rows, width) for v in vectors(4, rows * width, rows + width, step)]
        self.operands, self.base = self._made(slice(None), rows)

    def alone(self, i: int) -> tuple[list[Operand], Block]:
        """The operands and the base of one row."""
        return self._made(slice(i, i + 1), 1)

    def of(self, first: int, last: int) -> tuple[list[Operand], Block]:
        """The operands and the base of several rows, laid out as one."""
        return self._made(slice(first, last), 1)

    def _made(self, part: slice, rows: int) -> tuple[list[Operand], Block]:
        *models, base = [block(v[part], self.dtype, rows) for v in self.values]
        return [TaskVector(model, base) for model in models], base


def stored(result: Result, base: Block) -> list[int]:
    """What a kernel stores, in bfloat16."""
    out = np.empty(base.data.nbytes * 8 // base.dtype.bits * 2, np.uint8)
    assert result.store(base, DTYPES["BF16"], out)
    merged: list[int] = out.tolist()
    return merged


def check_rows(rows: Rows, merge: Callable[[Sequence[Operand], int | slice], Result]) -> None:
    """Compare what all rows store with torch, and with what each stores by itself."""
    check_stored(merge(rows.operands, slice(None)), rows.base, "BF16")
    each = [stored(merge(operands, i), base) for i in range(rows.rows) for operands, base in (rows.alone(i),)]
    assert stored(merge(rows.operands, slice(None)), rows.base) == [byte for own in each for byte in own]


# Votes and merges


@each_type
@each_shape
def test_each_row_votes_by_itself(rows: int, width: int, dtype: str) -> None:
    made = Rows(rows, width, dtype)
    votes = sign_vote(made.operands, WEIGHTS)
    assert votes.tolist() == in_torch(lambda: sign_vote(made.operands, WEIGHTS).tolist())
    assert votes.tolist() == [int(sign_vote(made.alone(i)[0], WEIGHTS)[0]) for i in range(rows)]


@each_shape
@pytest.mark.parametrize("how", ["mean", "sum", "max"])
@pytest.mark.parametrize("undecided", UNDECIDED)
def test_each_row_has_a_sign_for_its_undecided_entries(rows: int, width: int, how: Any, undecided: Any) -> None:
    signs = np.arange(rows) % 3 - 1 if undecided == "each" else undecided

    def merge(operands: Sequence[Operand], i: int | slice) -> Result:
        own = signs[i] if isinstance(signs, np.ndarray) else signs
        return disjoint_merge(operands, WEIGHTS, own, how=how, scale=0.7)

    check_rows(Rows(rows, width), merge)


def test_a_sign_for_all_rows_may_come_as_an_array_of_one() -> None:
    made = Rows(7, 1100)
    for sign in (-1, 0, 1):
        one, other = (disjoint_merge(made.operands, WEIGHTS, s, how="sum", scale=1.0) for s in (np.array([sign]), sign))
        check_stored(one, made.base, "F32")
        assert stored(one, made.base) == stored(other, made.base)


def test_signs_of_undecided_entries_show() -> None:
    positive, zero, negative = (stored_with(sign) for sign in (1, 0, -1))
    assert positive != zero != negative != positive


def stored_with(sign: int) -> list[int]:
    made = Rows(3, 1024)
    return stored(disjoint_merge(made.operands, [1.0, 1.0, 1.0], np.full(3, sign), how="mean", scale=1.0), made.base)


@each_shape
@pytest.mark.parametrize("zero_sign", ["majority", "positive", "zero"])
@pytest.mark.parametrize("draw_is_negative", [False, True])
def test_each_row_elects_and_merges_by_itself(rows: int, width: int, zero_sign: Any, draw_is_negative: bool) -> None:
    def merge(operands: Sequence[Operand], _: object) -> Any:
        named = {"zero_sign": zero_sign, "draw_is_negative": draw_is_negative}
        return advance(elect_and_merge, [], True, operands, WEIGHTS, **named)

    check_rows(Rows(rows, width, step=1.0), merge)


@each_shape
@pytest.mark.parametrize("rule", ["paper", "reference", "mergekit"])
def test_each_row_is_trimmed_by_itself(rows: int, width: int, rule: Any) -> None:
    def merge(operands: Sequence[Operand], _: object) -> Result:
        position = Position(size=width)
        trimmed: Any = advance(trim, [], True, operands, [0.3, 1.0, 0.55], position, rule=rule)
        return disjoint_merge(trimmed, WEIGHTS, 1, how="mean", scale=1.0)

    check_rows(Rows(rows, width), merge)


@each_shape
def test_each_row_has_weights_of_its_own(rows: int, width: int) -> None:
    weights = np.arange(3.0 * rows).reshape(3, rows) / 7 - 1
    check_rows(Rows(rows, width, step=0), lambda operands, i: weighted_sum(operands, weights[:, i].reshape(3, -1)))


@each_type
@each_shape
def test_products_of_a_row_have_the_bits_of_that_row_alone(rows: int, width: int, dtype: str) -> None:
    made = Rows(rows, width, dtype, step=0)
    gram = gram_matrix(made.operands)
    alone = np.concatenate([gram_matrix(made.alone(i)[0]) for i in range(rows)])
    assert gram.tobytes() == alone.tobytes()
    np.testing.assert_allclose(gram, in_torch(lambda: gram_matrix(made.operands)), rtol=1e-12, atol=1e-12)


# Drops


def dropped(operands: Sequence[Operand], names: Sequence[str], each: int | None, density: float) -> list[Operand]:
    """Thin out each operand by the streams of some tensors."""
    return [Dropped(x, density, 1.7, Key.of(7, f"m{i}", names, each), 0) for i, x in enumerate(operands)]


@each_shape
@pytest.mark.parametrize("density", [0.0, 0.3, 2**-16 + 2**-18, 1.0])
def test_each_row_draws_from_a_stream_of_its_own(rows: int, width: int, density: float) -> None:
    names = [f"w{i}" for i in range(rows)]

    def merge(operands: Sequence[Operand], i: int | slice) -> Result:
        all_of_them = isinstance(i, slice)
        own = dropped(operands, names if all_of_them else [names[i]], width if all_of_them else None, density)
        return weighted_sum(own, WEIGHTS)

    check_rows(Rows(rows, width, step=0), merge)


@pytest.mark.parametrize("laid_out_as", ["rows", "one row"])
@pytest.mark.parametrize(
    ("tensors", "rows", "width"), [(1, 5, 700), (3, 4, 5), (3, 2, 512), (5, 3, 341), (2, 7, 1100), (3, 1, 1025)]
)
def test_each_tensor_of_several_rows_draws_from_a_stream_of_its_own(
    tensors: int, rows: int, width: int, laid_out_as: str
) -> None:
    made = Rows(tensors * rows, width, step=0.25)
    operands, base = (made.operands, made.base) if laid_out_as == "rows" else made.of(0, tensors * rows)
    names, each = [f"w{i}" for i in range(tensors)], rows * width
    for density in (0.4, 1 / 3):
        thinned = dropped(operands, names, each, density)
        check_stored(weighted_sum(thinned, WEIGHTS), base, "BF16")
        alone = []
        for i, name in enumerate(names):
            own, own_base = made.of(i * rows, (i + 1) * rows)
            alone += stored(weighted_sum(dropped(own, [name], None, density), WEIGHTS), own_base)
        assert stored(weighted_sum(thinned, WEIGHTS), base) == alone


@pytest.mark.parametrize(("tensors", "rows", "width"), [(3, 1, 1500), (3, 4, 65), (2, 3, 1030)])
def test_rows_that_draw_are_counted_and_trimmed_as_in_torch(tensors: int, rows: int, width: int) -> None:
    made = Rows(tensors * rows, width)
    thinned = dropped(made.operands, [f"w{i}" for i in range(tensors)], rows * width, 0.6)
    assert sign_vote(thinned, WEIGHTS).tolist() == in_torch(lambda: sign_vote(thinned, WEIGHTS).tolist())
    trimmed: Any = advance(trim, [], True, thinned, [0.4, 0.5, 0.6], Position(size=width))
    check_stored(disjoint_merge(trimmed, WEIGHTS, 1, how="mean", scale=1.0), made.base, "BF16")
    in_rows = [gram_matrix([TorchOnly(x) for x in thinned])[i] for i in range(tensors * rows)]
    np.testing.assert_allclose(gram_matrix(thinned), in_rows, rtol=1e-12, atol=1e-12)


class TorchOnly:
    """An operand that kernels do not know."""

    def __init__(self, operand: Operand) -> None:
        self.tensor = operand.tensor


def test_products_of_rows_that_draw_have_the_bits_of_each_alone() -> None:
    made = Rows(4, 1500, step=0)
    gram = gram_matrix(dropped(made.operands, [*"abcd"], 1500, 0.5))
    alone = [gram_matrix(dropped(made.alone(i)[0], [name], None, 0.5)) for i, name in enumerate("abcd")]
    assert gram.tobytes() == np.concatenate(alone).tobytes()


# What is refused


def test_streams_that_do_not_cover_the_elements_are_left_to_torch() -> None:
    operands = Rows(4, 25).operands
    for count, each, fits in [
        (4, 25, True),
        (2, 50, True),
        (3, 34, True),
        (3, 25, False),
        (5, 25, False),
        (1, 25, False),
    ]:
        program = program_of(dropped(operands, [f"w{i}" for i in range(count)], each, 0.5))
        assert (program is not None) == fits, (count, each)
    assert program_of(dropped(operands, ["w0", "w1"], None, 0.5)) is None


def test_operands_that_draw_in_different_segments_are_left_to_torch() -> None:
    one, other, _ = Rows(4, 25).operands
    halves, quarters = dropped([one], [*"ab"], 50, 0.5), dropped([other], [*"abcd"], 25, 0.5)
    assert program_of([*halves, *quarters]) is None
    assert program_of([Dropped(halves[0], 0.5, 1.0, Key.of(7, "m0", [*"abcd"], 25), 0)]) is None
    assert program_of([Dropped(halves[0], 0.5, 1.0, Key.of(7, "m0", [*"ab"], 50), 1)]) is None
    assert program_of([Dropped(halves[0], 0.5, 1.0, Key.of(8, "m0", [*"ab"], 50), 0)]) is not None


def cut(rows: int) -> Cut:
    return Cut(*np.zeros((3, rows), np.int64))


@pytest.mark.parametrize(("rows", "fits"), [(4, True), (1, False), (3, False), (5, False)])
def test_cuts_that_are_not_for_every_row_are_left_to_torch(rows: int, fits: bool) -> None:
    operand, other, _ = Rows(4, 25).operands
    for made in ([Trimmed(operand, cut(rows))], [other, Trimmed(operand, cut(4), cut(rows))]):
        assert (program_of(made) is not None) == fits


@pytest.mark.parametrize("trimmed", [0, 1])
def test_operands_of_unequal_rows_are_left_to_torch(trimmed: int) -> None:
    operands: list[Operand] = [block(torch.ones(100), "F32", rows) for rows in (2, 4)]
    assert program_of(operands[trimmed:][:1]) is not None
    operands[trimmed] = Trimmed(operands[trimmed], cut((2, 4)[trimmed]))
    assert program_of(operands) is None
    assert program_of(operands[::-1]) is None

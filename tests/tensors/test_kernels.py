"""Compiled kernels against the torch form of each primitive: bit for bit, but for the order of float64 additions."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.spec import DTYPES
from cuvee.tensors import ranks
from cuvee.tensors.algebra import gram_matrix, gram_of_columns, weighted_sum
from cuvee.tensors.clip import Clipped
from cuvee.tensors.convert import from_bytes, to_bytes
from cuvee.tensors.kernels import machine_code, program
from cuvee.tensors.norms import Scaled, l1_norms
from cuvee.tensors.operands import Block, Operand, Result, TaskVector
from cuvee.tensors.passes import Position, advance
from cuvee.tensors.random import Dropped, Key
from cuvee.tensors.selection import Cut, Trimmed, trim
from cuvee.tensors.signs import disjoint_merge, sign_vote

TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
SIZES = [1, 7, 64, 1023, 1024, 1025, 3000]


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    assert machine_code.kernel() is not None, "numba is missing, and these tests with it"


def block(values: torch.Tensor, dtype: str, rows: int = 1) -> Block:
    raw = values.to(TYPES[dtype]).flatten().view(torch.uint8).numpy().copy()
    return Block(raw, DTYPES[dtype], rows, from_bytes)


def vectors(count: int, size: int, seed: int, step: float = 0.0) -> list[torch.Tensor]:
    """Make vectors; with a step, of few values, so that magnitudes tie and sums cancel."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(size, generator=generator) for _ in range(count)]
    return [(v / step).round() * step for v in drawn] if step else drawn


def in_torch(measure: Callable[[], object]) -> object:
    """Measure without kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(program, "kernel", lambda: None)
        return measure()


def check_stored(result: Result, added: Block | None, dtype: str) -> None:
    """Compare what a kernel stores with what torch makes of the same result."""
    merged = result.tensor if added is None else added.tensor + result.tensor
    expected = np.empty(merged.numel() * DTYPES[dtype].bits // 8, np.uint8)
    to_bytes(merged, DTYPES[dtype], expected)
    out = np.full(expected.nbytes + 16, 0xAB, np.uint8)
    assert result.store(added, DTYPES[dtype], out[8:-8])
    np.testing.assert_array_equal(out[8:-8].view(np.uint8), expected)
    assert set(out[:8].tolist() + out[-8:].tolist()) == {0xAB}  # nothing beside it was touched


def operands_of(
    count: int, size: int, dtype: str, seed: int, *, deltas: bool, rows: int = 1, step: float = 0.0
) -> tuple[list[Operand], Block | None]:
    made = [block(v, dtype, rows) for v in vectors(count + 1, size, seed, step)]
    if not deltas:
        return list(made[:-1]), None
    return [TaskVector(model, made[-1]) for model in made[:-1]], made[-1]


@pytest.mark.parametrize("out", TYPES)
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("deltas", [False, True])
def test_sums_are_those_of_torch(size: int, dtype: str, out: str, deltas: bool) -> None:
    for count in (1, 2, 3, 9):
        operands, base = operands_of(count, size, dtype, size + count, deltas=deltas)
        weights = np.linspace(-0.7, 1.3, count)
        check_stored(weighted_sum(operands, weights), base, out)


def test_inputs_of_several_types_are_summed_as_torch_sums_them() -> None:
    made = [block(v, dtype) for v, dtype in zip(vectors(3, 2500, 0), TYPES, strict=True)]
    check_stored(weighted_sum(made, [0.2, 0.3, 0.5]), None, "BF16")
    check_stored(weighted_sum([TaskVector(made[0], made[2]), TaskVector(made[1], made[2])], [0.4, 0.4]), made[2], "F16")


def test_rows_have_weights_and_products_of_their_own() -> None:
    operands, base = operands_of(3, 5 * 1300, "BF16", 1, deltas=True, rows=5)
    check_stored(weighted_sum(operands, np.arange(15.0).reshape(3, 5) / 7), base, "BF16")
    gram = gram_matrix(operands)
    assert gram.shape == (5, 3, 3)
    np.testing.assert_allclose(gram, in_torch(lambda: gram_matrix(operands)), rtol=1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", [1, 1024, 3000])
@pytest.mark.parametrize("limit", [0.0, 0.3, 1e30])
def test_clipped_operands_are_those_of_torch(size: int, dtype: str, limit: float) -> None:
    for rows, deltas in ((1, True), (3, False)):
        operands, base = operands_of(2, rows * size, dtype, size, deltas=deltas, rows=rows)
        clipped = [Clipped(operand, limit) for operand in operands]
        check_stored(weighted_sum(clipped, [1.0, 0.7]), base, dtype)
        exact = np.stack([x.tensor.double().numpy().clip(-np.float32(limit), np.float32(limit)) for x in operands])
        np.testing.assert_allclose(gram_matrix(clipped), np.einsum("ire,jre->rij", exact, exact), rtol=1e-12)


def test_operands_are_clipped_after_they_are_trimmed() -> None:
    operands, base = operands_of(2, 3000, "BF16", 1, deltas=True, step=0.25)
    check_stored(weighted_sum([Clipped(x, 0.6) for x in trimmed(operands, 0.4, 3000, [3, 0])], [1, 1]), base, "BF16")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("deltas", [False, True])
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 7), (40, 1), (3, 1024), (5, 1300), (2, 5000)])
def test_columns_have_weights_and_products_of_their_own(rows: int, width: int, dtype: str, deltas: bool) -> None:
    for count in (1, 2, 5):
        operands, base = operands_of(count, rows * width, dtype, width + count, deltas=deltas, rows=rows)
        weights = np.linspace(-0.7, 1.3, count * width).reshape(count, width)
        check_stored(weighted_sum(operands, weights, by_column=True), base, dtype)
        gram = gram_of_columns(operands)
        exact = np.stack([operand.tensor.double().numpy() for operand in operands])
        np.testing.assert_allclose(gram, np.einsum("ire,jre->eij", exact, exact), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(gram, in_torch(lambda made=operands: gram_of_columns(made)), rtol=1e-12, atol=1e-12)  # type: ignore[misc]


def test_columns_of_trimmed_operands_are_those_of_torch() -> None:
    operands, base = operands_of(3, 4 * 1300, "BF16", 1, deltas=True, rows=4, step=0.25)
    cut: list[Operand] = list(advance(trim, [], True, operands, [0.3] * 3, Position(size=1300)))  # type: ignore[arg-type]
    check_stored(weighted_sum(cut, np.linspace(-1, 1, 3 * 1300).reshape(3, 1300), by_column=True), base, "BF16")
    np.testing.assert_allclose(gram_of_columns(cut), in_torch(lambda: gram_of_columns(cut)), rtol=1e-12)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
def test_inner_products_are_those_of_float64(size: int, dtype: str) -> None:
    operands, _ = operands_of(4, size, dtype, size, deltas=False)
    exact = np.stack([x.tensor[0].double().numpy() for x in operands])
    np.testing.assert_allclose(gram_matrix(operands)[0], exact @ exact.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", TYPES)
def test_every_number_of_a_small_type_is_widened_and_rounded_as_torch_does(dtype: str) -> None:
    raw = np.arange(1 << 16, dtype=np.uint16)
    widened = torch.from_numpy(raw.copy()).view(TYPES["F16" if dtype == "F32" else dtype]).float()
    finite = widened[torch.isfinite(widened)]
    check_stored(weighted_sum([block(finite, "F16" if dtype == "F32" else dtype)], [1.0]), None, "F32")
    edges = torch.cat([finite, finite.nextafter(torch.tensor(9.0)), finite * (1 + 2**-12), finite * (1 + 2**-9)])
    fits = edges[torch.isfinite(edges.to(TYPES[dtype]))]
    check_stored(weighted_sum([block(fits, "F32")], [1.0]), None, dtype)


def trimmed(operands: Sequence[Operand], share: float, size: int, before: Sequence[int]) -> list[Operand]:
    """Trim operands whose earlier cells had `before` entries on the cut."""
    position = Position(size=size)
    cut = advance(trim, [], True, operands, [share] * len(operands), position)
    assert isinstance(cut, list)
    return [
        Trimmed(x.operand, Cut(x.keep.bits, x.keep.spare, np.asarray([n]))) for x, n in zip(cut, before, strict=True)
    ]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how", ["mean", "sum", "max", "signed_mean"])
def test_disjoint_merges_are_those_of_torch(size: int, dtype: str, how: ranks.Any) -> None:
    for undecided in (None, -1, 0, 1):
        operands, base = operands_of(4, size, dtype, size, deltas=True, step=0.25)
        cut = trimmed(operands, 0.4, size, [0, 3, 1, 9])
        check_stored(disjoint_merge(cut, [1.0, -0.5, 1.0, 2.0], undecided, how=how, scale=0.7), base, dtype)


@pytest.mark.parametrize("size", SIZES)
def test_votes_and_tallies_are_those_of_torch(size: int) -> None:
    operands, _ = operands_of(3, size, "BF16", size, deltas=True, step=0.125)
    assert sign_vote(operands, [1, 1, 0.5]).tolist() == in_torch(lambda: sign_vote(operands, [1, 1, 0.5]).tolist())
    values = np.sort(np.stack([x.tensor[0].abs().numpy()[:40] for x in operands]).view(np.int32).astype(np.int64), 1)
    for candidates in (values, values[:, :1], values[:, [0, -1, -1]]):
        lists = np.stack([candidates, candidates // 2], axis=1)
        tally = ranks._tally(operands, lists)
        np.testing.assert_array_equal(tally, in_torch(lambda: ranks._tally(operands, lists)))  # noqa: B023
    low, high = values[:, 0], values[:, -1] + 1000
    shift = np.asarray([max(int(width).bit_length() - 14, 0) for width in high - low])
    interval = low, high, shift + np.arange(3)
    histogram = ranks._histogram(operands, *interval)
    np.testing.assert_array_equal(histogram, in_torch(lambda: ranks._histogram(operands, *interval)))
    np.testing.assert_array_equal(ranks._magnitudes(operands), in_torch(lambda: ranks._magnitudes(operands)))


@pytest.mark.parametrize(("rows", "width"), [(1, 5000), (40, 65), (300, 5), (7, 1100)])
def test_entries_of_each_row_are_found_as_torch_finds_them(rows: int, width: int) -> None:
    operands, _ = operands_of(3, rows * width, "BF16", 2, deltas=True, rows=rows, step=0.125)
    for wanted in ([1, width, width // 2], [0, width // 3 + 1, width + 4]):
        found = ranks.find_in_cell(operands, np.asarray(wanted))
        expected = in_torch(lambda: ranks.find_in_cell(operands, np.asarray(wanted)))  # noqa: B023
        for name in ("bits", "spare", "on_cut", "before", "own"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("density", [0.0, 0.3, 0.5, 2**-16 + 2**-18, 1 - 2**-20, 1.0])
@pytest.mark.parametrize("start", [0, 1, 1000, 5 * 2**33 + 77])
def test_random_drops_are_those_of_torch(density: float, start: int) -> None:
    operands, base = operands_of(2, 5000, "BF16", 3, deltas=True)
    dropped = [Dropped(x, density, 1.7, Key.of(7, f"m{i}", ["w"]), start) for i, x in enumerate(operands)]
    check_stored(weighted_sum(dropped, [0.4, 0.6]), base, "BF16")
    check_stored(disjoint_merge(dropped, [1.0, 1.0], 1, how="mean", scale=1.0), base, "BF16")


@given(st.data())
def test_any_cut_keeps_what_torch_keeps(data: st.DataObject) -> None:
    size, rows = data.draw(st.sampled_from([3, 40, 1500])), data.draw(st.sampled_from([1, 3]))
    values = torch.tensor(data.draw(st.lists(st.sampled_from([-2, -1, 0, 0.5, 1, 3]), min_size=size, max_size=size)))
    operand = block(values.repeat(rows).float(), "F32", rows)
    cuts = []
    for _ in range(2):
        bits = data.draw(st.sampled_from([ranks.NONE, ranks.ALL, 0, 0x3F000000, 0x3F800000, 0x40000000]))
        counts = st.lists(st.integers(0, size), min_size=rows, max_size=rows)
        cuts.append(Cut(np.full(rows, bits), np.asarray(data.draw(counts)), np.asarray(data.draw(counts))))
    keep, drop = cuts
    if drop.bits[0] >= keep.bits[0]:  # as in a band: what is dropped lies above what is kept
        check_stored(weighted_sum([Trimmed(operand, keep, drop)], [1.0]), None, "F32")
    check_stored(weighted_sum([Trimmed(operand, keep)], [1.0]), None, "F32")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("place", [0, 1024, 2999])
def test_what_is_not_finite_is_left_to_torch(bad: float, dtype: str, place: int) -> None:
    made = vectors(2, 3000, 0)
    made[1][place] = bad
    operands: list[Operand] = [block(v, dtype) for v in made]
    out = np.empty(3000 * 4, np.uint8)
    assert not weighted_sum(operands, [1, 0]).store(None, DTYPES["F32"], out)
    assert not disjoint_merge(operands, [1, 1], 1, how="mean", scale=1).store(None, DTYPES["F32"], out)
    assert not weighted_sum([TaskVector(operands[0], operands[1])], [1]).store(None, DTYPES["F32"], out)
    assert not weighted_sum(operands[:1], [1]).store(operands[1], DTYPES["F32"], out)  # type: ignore[arg-type]
    ready = program.program_of(operands)
    assert ready is not None
    assert ready.gram() is None


def test_what_does_not_fit_is_left_to_torch() -> None:
    out = np.empty(4, np.uint8)
    large = block(torch.tensor([3e38]), "F32")
    assert not weighted_sum([large], [2.0]).store(None, DTYPES["F32"], out)
    assert not weighted_sum([large], [1.0]).store(None, DTYPES["F16"], out[:2])
    assert not weighted_sum([block(torch.tensor([3.4e38]), "F32")], [1.0]).store(None, DTYPES["BF16"], out[:2])
    assert not weighted_sum([block(torch.tensor([65520.0]), "F32")], [1.0]).store(None, DTYPES["F16"], out[:2])
    assert weighted_sum([block(torch.tensor([65519.0]), "F32")], [1.0]).store(None, DTYPES["F16"], out[:2])


def test_what_is_not_of_one_size_is_left_to_torch() -> None:
    short, long = block(torch.ones(8), "F32"), block(torch.ones(9), "F32")
    out = np.zeros(36, np.uint8)
    assert program.program_of([short, long]) is None
    assert program.program_of([TaskVector(short, long)]) is None
    assert not weighted_sum([short], [1.0]).store(None, DTYPES["F32"], out)
    assert not weighted_sum([long], [1.0]).store(short, DTYPES["F32"], out)
    assert not out.any()


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (1, 5000), (40, 65), (3, 1024)])
def test_l1_norms_and_factors_are_those_of_torch(rows: int, width: int) -> None:
    operands, base = operands_of(3, rows * width, "BF16", 4, deltas=True, rows=rows)
    cut = Cut(np.full(rows, 0x3F000000), np.zeros(rows, np.int64), np.zeros(rows, np.int64))
    kept = [*operands[:2], Trimmed(operands[2], cut)]
    exact = np.stack([x.tensor.double().abs().sum(1).numpy() for x in kept])
    np.testing.assert_allclose(l1_norms(kept), exact, rtol=1e-14)
    np.testing.assert_allclose(in_torch(lambda: l1_norms(kept)), exact, rtol=1e-14)
    scaled = [Scaled(x, np.linspace(0.3, 1.7, rows)) for x in kept]
    again = [Trimmed(scaled[0], cut), Dropped(scaled[1], 0.5, 2.0, Key.of(7, "m", ["w"]), 0), scaled[2]]
    for merged in (scaled, again):
        check_stored(weighted_sum(merged, [0.4, -0.6, 1.0]), base, "BF16")
        check_stored(disjoint_merge(merged, [1.0, -0.5, 2.0], 1, how="mean", scale=1.0), base, "BF16")

"""Widening and rounding of raw elements in compiled kernels: every half, every exponent, every tie, both signs."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cuvee.spec import DTYPES
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.convert import from_bytes
from cuvee.tensors.kernels import machine_code
from cuvee.tensors.operands import Block
from tensors.test_kernels import TYPES, block

Floats = NDArray[np.float32]
Halves = NDArray[np.uint16]
Mode = Callable[[], AbstractContextManager[None]]

SIGN = np.uint32(1 << 31)
EVERY_16 = np.arange(1 << 16, dtype=np.uint16)
# One lane of a vector, lanes of several, the end of a loop that is not a whole vector.
PLACES = [0, 5, 31, 64, 70]
# Of float32, 23 bits: around the ties of float16 (bit 12) and bfloat16 (bit 15), even and odd, and the ends.
MANTISSAS = np.asarray(
    [
        *(0, 1, 0x0FFF, 0x1000, 0x1001, 0x1FFF, 0x2000, 0x2FFF, 0x3000, 0x3001),
        *(0x7FFF, 0x8000, 0x8001, 0x10000, 0x17FFF, 0x18000, 0x18001, 0x2AAAAA, 0x555555),
        *(0x7F7FFF, 0x7F8000, 0x7FE000, 0x7FEFFF, 0x7FF000, 0x7FF001, 0x7FFFFF),
    ],
    np.uint32,
)


@pytest.fixture(scope="module", autouse=True)
def kernels() -> None:
    assert machine_code.kernel() is not None, "numba is missing, and these tests with it"


@contextmanager
def flushed() -> Iterator[None]:
    """Have the processor take subnormal float32 for zero, and make none, as some libraries do for a whole process."""
    if not torch.set_flush_denormal(True):
        pytest.skip("subnormals cannot be flushed on this processor")
    try:
        assert np.float32(2.0**-130) * np.float32(16) == 0
        yield
    finally:
        torch.set_flush_denormal(False)


MODES = pytest.mark.parametrize("mode", [nullcontext, flushed])


def of_bits(bits: NDArray[np.uint32]) -> Floats:
    """Make floats of both signs of magnitudes' bits."""
    return np.concatenate([bits, bits | SIGN]).view(np.float32)


def every_exponent() -> Floats:
    exponents = np.arange(255, dtype=np.uint32) << np.uint32(23)
    return of_bits((exponents[:, None] | MANTISSAS).ravel())


def around_ties(magnitudes: Floats) -> Floats:
    """Take ascending magnitudes, the middles between neighbours, and the floats beside all of them."""
    wide = magnitudes.astype(np.float64)
    middles = ((wide[1:] + wide[:-1]) / 2).astype(np.float32)
    bits = np.concatenate([magnitudes, middles]).view(np.uint32)
    return of_bits(np.concatenate([bits, bits + np.uint32(1), bits[bits > 0] - np.uint32(1)]))


def to_half(values: Floats) -> Halves:
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(np.float16).view(np.uint16)


def to_bfloat(values: Floats) -> Halves:
    return torch.from_numpy(values.copy()).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def stored(values: Floats, dtype: str) -> Halves | None:
    """Round in a kernel; None if that refuses."""
    out = np.empty(values.size, np.uint16)
    raw = Block(values.copy().view(np.uint8), DTYPES["F32"], 1, from_bytes)
    return out if weighted_sum([raw], [1.0]).store(None, DTYPES[dtype], out.view(np.uint8)) else None


def widened(raw: Halves, dtype: str) -> Floats | None:
    """Widen in a kernel; None if that refuses."""
    out = np.empty(raw.size, np.float32)
    operand = Block(raw.copy().view(np.uint8), DTYPES[dtype], 1, from_bytes)
    return out if weighted_sum([operand], [1.0]).store(None, DTYPES["F32"], out.view(np.uint8)) else None


def check_rounding(values: Floats, expected: Halves, infinity: int, dtype: str, mode: Mode) -> None:
    """Compare what fits, all in one go, and see that each of what does not is refused, wherever it is."""
    lost = (expected & 0x7FFF) == infinity
    with mode():
        rounded = stored(values[~lost], dtype)
        refused = []
        for i, value in enumerate(values[lost]):
            among = np.ones(71, np.float32)
            among[PLACES[i % len(PLACES)]] = value
            refused.append(stored(among, dtype) is None)
    assert rounded is not None
    np.testing.assert_array_equal(rounded, expected[~lost])
    assert refused
    assert all(refused), values[lost][~np.asarray(refused)]


@MODES
def test_every_half_is_widened_as_numpy_does(mode: Mode) -> None:
    expected = EVERY_16.view(np.float16).astype(np.float32)
    finite = np.isfinite(expected)
    with mode():
        wide = widened(EVERY_16[finite], "F16")
    assert wide is not None
    np.testing.assert_array_equal(wide.view(np.uint32), expected[finite].view(np.uint32))


@MODES
@pytest.mark.parametrize(("dtype", "infinity"), [("F16", 0x7C00), ("BF16", 0x7F80)])
def test_what_is_not_finite_is_seen_in_every_place(dtype: str, infinity: int, mode: Mode) -> None:
    magnitudes = EVERY_16 & 0x7FFF
    wrong = EVERY_16[magnitudes >= infinity]
    with mode():
        for i, bits in enumerate(wrong):
            among = np.zeros(71, np.uint16)
            among[PLACES[i % len(PLACES)]] = bits
            assert widened(among, dtype) is None
        for place in PLACES:
            among_32 = np.ones(71, np.float32)
            for bad in (np.inf, -np.inf, np.nan, -np.nan):
                among_32[place] = bad
                assert stored(among_32, dtype) is None


@MODES
def test_task_vectors_of_halves_and_an_added_base_are_those_of_torch(mode: Mode) -> None:
    bits = EVERY_16[(EVERY_16 & 0x7FFF) < 0x7C00]
    halves = torch.from_numpy(bits.view(np.float16).copy())
    base = halves.roll(12345) / 2
    expected = (base.float() + halves.float()).half()
    fits = torch.isfinite(expected)
    added, model = block(base[fits], "F16"), block(halves[fits], "F16")
    out = np.empty(int(fits.sum()) * 2, np.uint8)
    with mode():
        assert weighted_sum([model], [1.0]).store(added, DTYPES["F16"], out)
    np.testing.assert_array_equal(out.view(np.uint16), expected[fits].view(torch.int16).numpy().view(np.uint16))


@MODES
def test_every_half_the_ties_between_them_and_their_neighbours_are_rounded_as_numpy_does(mode: Mode) -> None:
    magnitudes = EVERY_16[: 0x7C00 + 1].view(np.float16).astype(np.float32)
    magnitudes[-1] = 65536  # where infinity is: what is past the middle is rounded there
    values = around_ties(magnitudes)
    check_rounding(values, to_half(values), 0x7C00, "F16", mode)


@MODES
def test_every_exponent_is_rounded_to_half_as_numpy_does(mode: Mode) -> None:
    values = every_exponent()
    check_rounding(values, to_half(values), 0x7C00, "F16", mode)


@MODES
def test_what_is_far_beyond_the_largest_half_does_not_fit(mode: Mode) -> None:
    with mode():
        for value in (2.0**114, 2.0**115, 1.7 * 2.0**115, 2.0**116, -(2.0**115)):
            assert stored(np.asarray([value], np.float32), "F16") is None


def test_every_bfloat_the_ties_between_them_and_their_neighbours_are_rounded_as_torch_does() -> None:
    bits = EVERY_16[:0x7F80].astype(np.uint32) << np.uint32(16)
    ties = bits | np.uint32(0x8000)
    values = of_bits(np.concatenate([bits, bits + 1, ties - np.uint32(1), ties, ties + np.uint32(1)]))
    check_rounding(values, to_bfloat(values), 0x7F80, "BF16", nullcontext)


def test_every_exponent_is_rounded_to_bfloat_as_torch_does() -> None:
    values = every_exponent()
    check_rounding(values, to_bfloat(values), 0x7F80, "BF16", nullcontext)


@MODES
@pytest.mark.parametrize("dtype", TYPES)
def test_halves_beside_zeros_of_any_type_are_stored_unchanged(dtype: str, mode: Mode) -> None:
    bits = np.asarray([0x0001, 0x8001, 0x03FF, 0x0400, 0x0401, 0x8000, 0x7BFF] * 300, np.uint16)
    model, nothing = Block(bits.view(np.uint8), DTYPES["F16"], 1, from_bytes), block(torch.zeros(bits.size), dtype)
    out = np.empty(bits.size, np.uint16)
    with mode():
        assert weighted_sum([model], [1.0]).store(None, DTYPES["F16"], out.view(np.uint8))
        np.testing.assert_array_equal(out, bits)
        assert weighted_sum([model, nothing], [1.0, 0.5]).store(nothing, DTYPES["F16"], out.view(np.uint8))
    np.testing.assert_array_equal(out, np.where(bits == 0x8000, 0, bits))  # -0 + 0 is 0

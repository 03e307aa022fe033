"""The generator against its published test vectors, and its masks against any way of cutting them up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.tensors.random import Key, bijection, philox, survives

# Known answers of Philox-4x32-10 from Random123's kat_vectors (Salmon et al.): counter words, key words, result.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]
SEVEN_ROUNDS = (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)  # of zeros, likewise


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter: tuple[int, ...], key: tuple[int, int], expected: object) -> None:
    words = bijection([torch.tensor([word]) for word in counter], key, rounds=10)
    assert tuple(int(word) for word in words) == expected


def test_seven_rounds_give_the_published_words_too() -> None:
    words = bijection([torch.tensor([0])] * 4, (0, 0))
    assert tuple(int(word) for word in words) == SEVEN_ROUNDS


def test_counters_have_64_bits() -> None:
    assert tuple(int(word[0]) for word in philox(0, 0, 0, 1)) == SEVEN_ROUNDS
    for far in (5 * 2**33 + 1, 2**63 + 2**33 + 7):
        words = bijection([torch.tensor([w]) for w in (far & 0xFFFFFFFF, far >> 32, 6, 0)], (9, 1))
        assert [int(word[1]) for word in philox(9 | 1 << 32, 6, far - 1, 2)] == [int(word[0]) for word in words]


def drawn_one_by_one(key: Key, index: int, density: float) -> bool:
    """Decide about one element as the docstring of `survives_in` says: 32 bits, four each from eight counters."""
    group, place = divmod(index, 1024)
    bit, column = divmod(place, 32)
    counters = [philox(key.key, key.streams[0], k * 2**61 + 32 * group + column, 1) for k in range(8)]
    draw = "".join(str(int(word[0]) >> bit & 1) for words in counters for word in words)
    return int(draw, 2) < round(density * 2**32)


@pytest.mark.parametrize("density", [0.5, 0.3, 1 / 3, 2**-16, 2**-17 + 2**-32, 1 - 2**-16, 1 - 2**-32])
def test_an_element_survives_if_its_32_bits_are_below_the_density(density: float) -> None:
    key, start, count = Key.of(5, "m1", ["w"]), 2**20 + 900, 400
    expected = [drawn_one_by_one(key, start + i, density) for i in range(count)]
    assert survives(key, start, count, density).tolist() == expected


def test_lower_bits_decide_where_the_upper_ones_equal_the_threshold() -> None:
    key, start, count = Key.of(5, "m1", ["w"]), 0, 1 << 18
    even = survives(key, start, count, 0x4000 / 2**16)
    edge = survives(key, start, count, 0x4001 / 2**16) & ~even  # a few: those whose upper bits are 0x4000
    half = survives(key, start, count, 0x4000 / 2**16 + 2**-17) & ~even
    assert 0 < int(half.sum()) < int(edge.sum())
    assert not bool((half & ~edge).any())


@given(st.integers(0, 2**40), st.integers(0, 3000), st.integers(0, 30))
def test_draws_do_not_depend_on_where_reading_begins(start: int, skip: int, count: int) -> None:
    key = Key.of(7, "m0", ["a.weight"])
    whole = survives(key, start, skip + count, 0.37)
    assert torch.equal(whole[skip:], survives(key, start + skip, count, 0.37))


@given(
    st.integers(1, 3000), st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.sampled_from([0, 0.3, 0.5, 1])
)
def test_several_tensors_draw_what_each_draws_by_itself(each: int, names: list[str], density: float) -> None:
    together = survives(Key.of(7, "m0", names, each), 0, each * len(names), density)
    alone = [survives(Key.of(7, "m0", [name]), 0, each, density) for name in names]
    assert torch.equal(together, torch.cat(alone))


def test_seed_label_and_tensor_each_give_other_draws() -> None:
    keys = [
        Key.of(0, "a", ["t"]),
        Key.of(1, "a", ["t"]),
        Key.of(0, "b", ["t"]),
        Key.of(0, "a", ["u"]),
        Key.of(0, "a/t", [""]),
    ]
    draws = [tuple(int(word[0]) for word in philox(key.key, key.streams[0], 0, 1)) for key in keys]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_the_share_that_survives_is_the_density(density: float) -> None:
    count = 200_000
    kept = int(survives(Key.of(3, "m0", ["t"]), 0, count, density).sum())
    deviation = (count * density * (1 - density)) ** 0.5
    assert abs(kept - count * density) <= 4 * deviation


def test_words_are_uniform_in_every_byte() -> None:
    words = torch.cat(list(philox(11, 5, 0, 1 << 14)))
    for shift in (0, 8, 16, 24):
        counts = torch.bincount((words >> shift) & 0xFF, minlength=256).double()
        chi_square = ((counts - 256) ** 2 / 256).sum()
        assert 160 < chi_square < 370  # 255 degrees of freedom: beyond either end with probability below 1e-5

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


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_philox_gives_the_published_words(counter: tuple[int, ...], key: tuple[int, int], expected: object) -> None:
    words = bijection([torch.tensor([word]) for word in counter], key)
    assert tuple(int(word) for word in words) == expected


def test_an_element_is_a_word_of_its_block() -> None:
    counter, key, expected = KNOWN[0]
    assert counter == (0, 0, 0, 0)
    assert tuple(philox(Key(key[0], 0), 0, 4).tolist()) == expected
    far = 5 * 2**33 + 1  # the second counter word is in use
    words = bijection([torch.tensor([w]) for w in ((far // 4) & 0xFFFFFFFF, far // 4 >> 32, 6, 0)], (9, 1))
    assert philox(Key(9 | 1 << 32, 6), far, 1).item() == int(words[far % 4])


@given(st.integers(0, 2**40), st.integers(0, 30), st.integers(0, 30))
def test_draws_do_not_depend_on_where_reading_begins(start: int, skip: int, count: int) -> None:
    key = Key.of(7, "m0", "a.weight")
    assert torch.equal(philox(key, start, skip + count)[skip:], philox(key, start + skip, count))


def test_seed_label_and_tensor_each_give_other_draws() -> None:
    keys = [Key.of(0, "a", "t"), Key.of(1, "a", "t"), Key.of(0, "b", "t"), Key.of(0, "a", "u"), Key.of(0, "a/t", "")]
    draws = [tuple(philox(key, 0, 8).tolist()) for key in keys]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.99, 1.0])
def test_the_share_that_survives_is_the_density(density: float) -> None:
    count = 200_000
    kept = int(survives(Key.of(3, "m0", "t"), 0, count, density).sum())
    deviation = (count * density * (1 - density)) ** 0.5
    assert abs(kept - count * density) <= 4 * deviation


def test_words_are_uniform_in_every_byte() -> None:
    words = philox(Key.of(11, "m0", "t"), 0, 1 << 16)
    for shift in (0, 8, 16, 24):
        counts = torch.bincount((words >> shift) & 0xFF, minlength=256).double()
        chi_square = ((counts - 256) ** 2 / 256).sum()
        assert 160 < chi_square < 370  # 255 degrees of freedom: beyond either end with probability below 1e-5

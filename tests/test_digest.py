"""Digests are what their definition says, whatever the order and the pieces in which bytes come."""

import json
import random

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from cuvee.digest import CHUNK, Digests, digest_of_set
from cuvee.spec import DTYPES, TensorSpec

U8 = DTYPES["U8"]


def defined(data: bytes) -> str:
    """The digest as the module's first paragraph defines it."""
    chunks = [xxhash.xxh3_128_digest(data[i : i + 262_144]) for i in range(0, len(data), 262_144)]
    return xxhash.xxh3_128_hexdigest(b"".join(chunks))


def noise(nbytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(nbytes)


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77]


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize("step", [CHUNK // 3, CHUNK, 2 * CHUNK + 5])
@pytest.mark.parametrize("order", ["forward", "backward", "shuffled"])
def test_digest_does_not_depend_on_pieces_and_their_order(nbytes: int, step: int, order: str) -> None:
    data = memoryview(noise(nbytes))
    pieces = list(range(0, nbytes, step))
    if order == "backward":
        pieces.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(pieces)
    digests = Digests({"w": TensorSpec((nbytes,), U8)})
    for begin in pieces:
        assert begin == pieces[0] or digests.of("w") is None
        digests.add("w", begin, data[begin : begin + step])
    assert digests.of("w") == defined(data.tobytes())


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000)), max_size=8))
def test_what_did_not_pass_is_read(passed: list[tuple[int, int]]) -> None:
    data = noise(2 * CHUNK + 5000)
    digests = Digests({"w": TensorSpec((len(data),), U8)})
    for begin, count in passed:
        digests.add("w", CHUNK - 2500 + begin, memoryview(data)[CHUNK - 2500 + begin :][:count])
    asked = []

    def read_into(buffer: memoryview, name: str, offset: int) -> None:
        asked.append((offset, len(buffer)))
        buffer[:] = data[offset : offset + len(buffer)]

    assert digests.complete(["w"], read_into) == {"w": defined(data)}
    assert asked


def test_what_has_passed_is_not_read_again() -> None:
    data = memoryview(noise(20 * CHUNK))
    digests = Digests({"w": TensorSpec((len(data),), U8)})
    digests.add("w", 3 * CHUNK, data[3 * CHUNK : 5 * CHUNK])
    asked = []

    def read_into(buffer: memoryview, name: str, offset: int) -> None:
        asked.append((name, offset // CHUNK, len(buffer) // CHUNK))
        buffer[:] = data[offset : offset + len(buffer)]

    assert digests.complete(["w"], read_into) == {"w": defined(data.tobytes())}
    assert asked == [("w", 0, 3), ("w", 5, 15)]  # 16 chunks at a time, at most


def test_parts_of_many_chunks_are_not_all_held() -> None:
    chunks = 200
    data = memoryview(noise(chunks * CHUNK))
    digests = Digests({"w": TensorSpec((len(data),), U8)})
    for k in range(chunks):
        digests.add("w", k * CHUNK, data[k * CHUNK : k * CHUNK + 10])
    assert len(digests._loose) <= 64
    for k in range(chunks):
        digests.add("w", k * CHUNK + 10, data[k * CHUNK + 10 : (k + 1) * CHUNK])
    assert digests.of("w") is None  # some were let go, and are read by `complete`


def test_parts_are_held_where_nothing_can_be_read_again() -> None:
    chunks = 100
    data = memoryview(noise(chunks * CHUNK))
    digests = Digests({"w": TensorSpec((len(data),), U8)}, is_stored=False)
    for k in range(chunks):
        digests.add("w", k * CHUNK, data[k * CHUNK : k * CHUNK + 10])
    for k in range(chunks):
        digests.add("w", k * CHUNK + 10, data[k * CHUNK + 10 : (k + 1) * CHUNK])
    assert digests.of("w") == defined(data.tobytes())


def test_digest_of_a_set_is_that_of_names_types_shapes_and_digests() -> None:
    header = {"b": TensorSpec((2, 3), U8), "a": TensorSpec((), DTYPES["BF16"]), "unused": TensorSpec((9,), U8)}
    listed = [["a", "BF16", [], "00"], ["b", "U8", [2, 3], "ff"]]
    expected = xxhash.xxh3_128_hexdigest(json.dumps(listed).encode())
    assert digest_of_set(header, {"b": "ff", "a": "00"}) == expected
    assert digest_of_set(header, {"b": "ff", "a": "01"}) != expected


FIXED = (bytes(range(251)) * 4000)[: 3 * 262_144 + 77]


@pytest.mark.parametrize(
    ("data", "digest"), [(FIXED, "ee5323db67c44ac49f054f3197fbd015"), (b"", "99aa06d3014798d86001c324468d497f")]
)
def test_digests_are_what_they_were(data: bytes, digest: str) -> None:
    """Records that users have hold such digests: no version may give another one."""
    digests = Digests({"w": TensorSpec((len(data),), U8)})
    digests.add("w", 0, memoryview(data))
    assert digests.of("w") == digest


def test_digest_of_a_set_is_what_it_was() -> None:
    header = {"b": TensorSpec((2, 3), U8), "a": TensorSpec((), DTYPES["BF16"])}
    assert digest_of_set(header, {"b": "ff", "a": "00"}) == "9f2a671f05500a731ab463728c833197"

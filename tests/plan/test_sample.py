"""Which elements stand for a domain."""

from itertools import accumulate

import pytest

from cuvee.plan.rows import Row
from cuvee.plan.sample import num_pieces, pieces
from cuvee.tensors.passes import PIECE


def row(name: str, size: int) -> Row:
    return Row(name=name, start=0, size=size, cell=PIECE, width=1, inputs=(), jobs=())


def places(*sizes: int) -> list[tuple[str, int, int]]:
    """Row, first element and number of elements of every piece of a domain of rows with these sizes."""
    rows = [row(f"{i}", size) for i, size in enumerate(sizes)]
    return [(each.name, start, size) for each, start, size in pieces(rows)]


def middles(count: int, size: int) -> list[int]:
    """The middles of `count` equal parts of so many elements."""
    return [(2 * k + 1) * size // (2 * count) for k in range(count)]


def test_pieces_are_spread_evenly_over_one_row() -> None:
    assert places(80_000) == [("0", start, PIECE) for start in (10_000, 30_000, 50_000, 70_000)]


@pytest.mark.parametrize(("size", "count"), [(300_000, 4), (11_000_000, 17), (1_000_000_000, 164)])
def test_their_number_grows_with_the_square_root_of_the_size(size: int, count: int) -> None:
    assert num_pieces(size) == len(places(size)) == count


@pytest.mark.parametrize("size", [3 * 10**9, 10**10, 10**13, 2**63])
def test_there_are_no_more_than_256_pieces(size: int) -> None:
    assert num_pieces(size) == 256


def test_their_number_never_shrinks_and_never_exceeds_its_bounds() -> None:
    counts = [num_pieces(size) for size in [0, 1, *(2**k + j for k in range(2, 45) for j in (-1, 0, 1))]]
    assert counts == sorted(counts)
    assert set(counts) >= {4, 256}
    assert min(counts) == 4
    assert max(counts) == 256


LARGE = 10**10


@pytest.mark.parametrize(
    "sizes",
    [
        (LARGE,),
        (LARGE // 2 - 1, 2, LARGE // 2 - 1),
        (1, LARGE - 2, 1),
        tuple([LARGE // 1000] * 1000),
        tuple(range(100, 1_414_200, 100)),
    ],
    ids=["one", "two", "ends", "equal", "growing"],
)
def test_of_ten_billion_elements_256_pieces_lie_inside_their_rows(sizes: tuple[int, ...]) -> None:
    assert 0.99 * LARGE <= sum(sizes) <= LARGE
    begins, found = list(accumulate(sizes, initial=0)), places(*sizes)
    assert len(found) == 256
    assert [begins[int(name)] + start for name, start, _ in found] == middles(256, sum(sizes))
    assert all(0 <= start < start + size <= sizes[int(name)] and size <= PIECE for name, start, size in found)


@pytest.mark.parametrize(
    "sizes",
    [
        (80_000,),
        (10_000, 30_000, 40_000),
        (9_999, 1, 20_001, 49_999),
        (0, 79_999, 0, 1, 0),
        (5, *[1] * 50, 300_000),
        (1, 1, 1),
        tuple(range(3000)),
    ],
)
def test_rows_are_taken_for_one_run_of_elements(sizes: tuple[int, ...]) -> None:
    begins = [sum(sizes[:i]) for i in range(len(sizes))]
    found = places(*sizes)
    assert [begins[int(name)] + start for name, start, _ in found] == middles(len(found), sum(sizes))


@pytest.mark.parametrize("sizes", [(80_000,), (12_000, 4_097, 70_000), tuple(range(3000)), (2, 3, 300_000, 1)])
def test_pieces_lie_within_their_rows_and_are_never_empty(sizes: tuple[int, ...]) -> None:
    for name, start, size in places(*sizes):
        assert 0 <= start < start + size <= sizes[int(name)]
        assert size == min(PIECE, sizes[int(name)] - start)


def test_a_domain_without_elements_has_no_pieces() -> None:
    assert places() == []
    assert places(0, 0) == []

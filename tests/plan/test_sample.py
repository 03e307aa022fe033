"""Which elements stand for a domain."""

import pytest

from cuvee.plan.rows import Row
from cuvee.plan.sample import PIECE, pieces


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
    assert len(places(size)) == count


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

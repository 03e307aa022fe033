"""Which models are merged."""

from itertools import pairwise

import pytest

from cuvee.errors import StudyError
from cuvee.studies.subsets import subsets
from cuvee.studies.suite import Cell

CELLS = tuple(Cell(f"a{i}", f"b{i}") for i in range(8))


def test_sets_are_growing_chains() -> None:
    """Of one draw, each set contains the smaller one."""
    for draws in range(1, 6):
        found = [subsets(CELLS, size, draws) for size in (2, 4, 6, 8)]
        assert all(sum(each.values()) == draws for each in found)
        for smaller, larger in pairwise(found):
            assert all(any(set(small) <= set(large) for large in larger) for small in smaller)


def test_more_draws_keep_the_earlier_ones() -> None:
    few, many = (subsets(CELLS, 4, draws) for draws in (3, 6))
    assert all(many[key] >= count for key, count in few.items())


def test_a_set_that_is_drawn_twice_counts_twice() -> None:
    assert subsets(CELLS, 8, 5) == {CELLS: 5}
    pairs = subsets(CELLS[:3], 2, 6)
    assert sum(pairs.values()) == 6
    assert len(pairs) == 3


def test_cells_stand_in_the_order_of_the_suite() -> None:
    for chosen in subsets(CELLS, 5, 10):
        assert list(chosen) == sorted(chosen, key=CELLS.index)


@pytest.mark.parametrize("size", [0, 9])
def test_sets_larger_than_the_suite_are_refused(size: int) -> None:
    with pytest.raises(StudyError, match="the suite has 8 of them"):
        subsets(CELLS, size, 1)


def test_more_beginnings_than_there_are_are_refused() -> None:
    with pytest.raises(StudyError, match="3 constituents make only 6"):
        subsets(CELLS[:3], 2, 7)

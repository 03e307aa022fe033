"""Regions of kept memory: never two at one place, and free again when they are given back."""

import random
import threading

import numpy as np
import pytest
from numpy.typing import NDArray

from cuvee.execute.shelf import Shelf
from cuvee.plan.limits import PLACE

MANY = 300
Region = NDArray[np.uint8]


def test_regions_hold_what_is_put_there_while_others_come_and_go() -> None:
    draw, shelf = random.Random(0), Shelf(40 * PLACE)
    held: list[tuple[int, Region]] = []
    refused = 0
    for mark in range(MANY):
        region = shelf.take(draw.randrange(8 * PLACE))
        if region is not None:
            region[:] = mark % 256
            held.append((mark % 256, region))
        refused += region is None
        if region is None or draw.random() < 0.4:
            shelf.give_back(held.pop(draw.randrange(len(held)))[1])
        assert all((region == mark).all() for mark, region in held)
    assert 0 < refused < MANY / 2


def test_a_region_has_the_length_asked_for_and_begins_at_a_place() -> None:
    shelf = Shelf(4 * PLACE)
    regions = [lent(shelf, nbytes) for nbytes in (1, PLACE, PLACE + 1)]
    assert [region.nbytes for region in regions] == [1, PLACE, PLACE + 1]
    assert [address(region) - address(regions[0]) for region in regions] == [0, PLACE, 2 * PLACE]


@pytest.mark.parametrize("nbytes", [3 * PLACE, 3 * PLACE - 1, 2 * PLACE + 1])
def test_all_of_the_capacity_is_lent_and_no_more(nbytes: int) -> None:
    shelf = Shelf(3 * PLACE)
    assert shelf.take(3 * PLACE + 1) is None
    whole = lent(shelf, nbytes)
    assert shelf.take(1) is None
    shelf.give_back(whole)
    assert shelf.take(nbytes) is not None


def test_a_gap_is_lent_again_if_it_is_large_enough() -> None:
    shelf = Shelf(4 * PLACE)
    _, second, _ = [lent(shelf, PLACE) for _ in range(3)]
    shelf.give_back(second)
    assert shelf.take(2 * PLACE) is None
    assert address(lent(shelf, PLACE)) == address(second)


def test_a_shelf_of_nothing_lends_nothing() -> None:
    assert Shelf(0).take(1) is None


def test_an_empty_region_takes_no_room_and_giving_it_back_frees_no_other() -> None:
    shelf = Shelf(2 * PLACE)
    empty, *_ = [lent(shelf, nbytes) for nbytes in (0, PLACE, PLACE)]
    shelf.give_back(empty)
    assert shelf.take(1) is None


def test_threads_never_share_a_region() -> None:
    shelf = Shelf(8 * PLACE)
    wrong: list[int] = []

    def take_turns(mark: int) -> None:
        for _ in range(MANY):
            region = shelf.take(2 * PLACE)
            if region is not None:
                region[:] = mark
                if (region != mark).any():
                    wrong.append(mark)
                shelf.give_back(region)

    threads = [threading.Thread(target=take_turns, args=(mark,)) for mark in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == []


def lent(shelf: Shelf, nbytes: int) -> Region:
    """A region, for which there must be room."""
    region = shelf.take(nbytes)
    assert region is not None
    return region


def address(region: Region) -> int:
    """Where a region begins in memory."""
    return int(region.__array_interface__["data"][0])

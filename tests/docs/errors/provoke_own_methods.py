"""Errors of methods that people write themselves, and of reading merges as sources."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import cuvee
from cuvee.methods.declare import METHODS, Weights, method
from cuvee.plan import planner
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.passes import Passes, finished, sampled, total
from docs.errors.made import merge, models
from docs.errors.scenarios import Place, provokes

CELL = 1024


def of_own(place: Place, function: Callable[..., Any], passes: int = 0) -> None:
    """Declare a method, and merge a tensor of four cells by it: ones, and in the first cell the opposite."""
    place.patch.setattr(planner, "CELL", CELL)
    place.patch.setattr(METHODS, "_declared", dict(METHODS.all()))
    function.__doc__ = "Do it in one's own way.\n\nArgs:\n    weights: models."
    method(paper=None, passes=lambda _: passes)(function)
    values = torch.ones(4 * CELL)
    values[:CELL] = -1
    limits = cuvee.Limits(workers=1, block_bytes=1)
    merge(method=function.__name__, models=[{"w": values}, {"w": values.clone()}], limits=limits)


def is_first(weights: Weights) -> bool:
    """Say whether the cell is the first."""
    return bool(weights[0].tensor[0, 0] < 0)


@provokes("{tensor}: method '{method}' failed: {error}: {text}")
def own_method_that_divides_by_zero(place: Place) -> None:
    def own(weights: Weights) -> object:
        return weights[0].tensor * (1 / 0)

    of_own(place, own)


@provokes("{tensor}: method '{method}' returned {found}; expected {number} elements as float32.")
def own_method_that_drops_elements(place: Place) -> None:
    def own(weights: Weights) -> object:
        return weights[0].tensor[:, :1]

    of_own(place, own)


@provokes("{tensor}: method '{method}' asks for more passes than it declares ({number}).")
def own_method_that_asks_too_much(place: Place) -> None:
    def own(weights: Weights) -> Passes[object]:
        yield from finished(lambda _: None, gram_matrix, weights)
        return weighted_sum(weights, [0.5, 0.5])

    of_own(place, own)


@provokes("{tensor}: a method asked its cells different questions; passes may not depend on the elements of a cell.")
def own_method_that_asks_for_numbers_of_two_kinds(place: Place) -> None:
    def own(weights: Weights) -> Passes[object]:
        first = is_first(weights)
        yield from total(lambda: gram_matrix(weights).astype(np.int64 if first else np.float64))
        return weighted_sum(weights, [0.5, 0.5])

    of_own(place, own, passes=1)


@provokes(
    "{tensor}: method '{method}' asked cells different questions; passes may not depend on the elements of a cell."
)
def own_method_that_merges_a_sample(place: Place) -> None:
    def own(weights: Weights) -> Passes[object]:
        if is_first(weights):
            yield from sampled(np.max, gram_matrix, weights)
        return weighted_sum(weights, [0.5, 0.5])

    of_own(place, own)


@provokes(
    "{tensor}: method '{method}' merged some cells and asked a question for others; passes may not depend on the "
    "elements of a cell."
)
def own_method_that_asks_of_one_cell_only(place: Place) -> None:
    def own(weights: Weights) -> Passes[object]:
        if is_first(weights):
            yield from total(gram_matrix, weights)
        return weighted_sum(weights, [0.5, 0.5])

    of_own(place, own, passes=1)


def merge_as_a_source(place: Place) -> Any:
    """The source that a merge within a recipe is."""
    models(place)
    pair = {"method": "linear", "models": ["a", "b"]}
    return cuvee.plan({"cuvee": 1, "method": "linear", "models": {"pair": pair, "a": "a"}}).variants[0].sources["pair"]


@provokes("{model} has no tensor '{tensor}'.…")
def merge_without_that_tensor(place: Place) -> None:
    merge_as_a_source(place).read_into(memoryview(bytearray(4)), "model.norm.wieght")


@provokes("{model}: tensor '{tensor}' has {number} bytes; bytes {first} to {last} were asked for.")
def reading_beyond_the_end_of_a_merge(place: Place) -> None:
    merge_as_a_source(place).read_into(memoryview(bytearray(4)), "model.norm.weight", 8)

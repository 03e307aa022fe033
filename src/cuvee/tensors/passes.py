"""Passes: how a method learns something about a whole tensor, or a whole model, before it merges.

A method that needs more than the elements before it is a generator. Where it needs a number taken over all of its
*domain* (a tensor, the whole model, a row), it writes ::

    gram = yield from total(gram_matrix, weights)

and goes on as if that number were there. The driver splits every domain into *cells*, a grid that depends on shapes
alone, runs the method once per cell up to the first unknown number, adds the cells' partial numbers up in grid order,
and runs it again with what it has learnt, until the method returns its merged cell. A pass costs one more reading of
the inputs, never a copy; a *sample* reads only a small part of them.

The rules of the game: what a method asks for may depend on its parameters and on earlier answers, never on the elements
of a cell; and all cells of a domain ask for the same things in the same order.

Knows neither torch nor numba; partial numbers are numpy arrays.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["PIECE", "Array", "Kind", "Pass", "Passes", "Position", "advance", "finished", "prefix", "sampled", "total"]

Array = NDArray[Any]
P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")


PIECE = 4096
"""Elements of a sample that lie together."""


def _ignore(_: str) -> None:
    """Drop a note: what a position does with it when nobody listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a cell lies.

    Attributes:
        size: number of elements in the domain the passes are taken over: of a row, of the tensor, or of all tensors of
            the model that are merged together.
        shape: for a method of locality rows or matrix, whose operands lie in rows of the last axis: shape of the tensor
            (or of the part of it that is merged by itself). Empty for others: their cells may be parts of tensors, or
            several tensors.
        whole: the cell holds its domains entirely, so every answer is known at once.
        note: call it with one sentence to tell the user of something unusual about this tensor; said once per tensor.
    """

    size: int
    shape: tuple[int, ...] = ()
    whole: bool = True
    note: Callable[[str], None] = _ignore


Kind = Literal["total", "running", "sample"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A question about a whole domain.

    Attributes:
        measure: makes the partial answer of one cell: a float64 or int64 array, or, of a sample, any array.
        finish: turns what the cells say together into the answer, once per domain; None leaves it as it is.
        kind: ``"total"`` adds the cells up; ``"running"`` gives each cell the sum over the cells before it in the
            domain's order, its own part, and the answer; ``"sample"`` asks a few pieces of the domain, spread evenly,
            and puts what they say one after the other, along the last axis.
    """

    measure: Callable[[], Array]
    finish: Callable[[Array], object] | None = None
    kind: Kind = "total"

    def answer(self, cells: Array) -> object:
        """Turn what the domain says into what the method gets back."""
        return cells if self.finish is None else self.finish(cells)


Passes = Generator[Pass, Any, T]


def total(measure: Callable[P, Array], /, *args: P.args, **kwargs: P.kwargs) -> Generator[Pass, Any, Array]:
    """Ask for the sum, over the domain, of what `measure` says of each cell.

    Args:
        measure: function of the cell's operands; its float64 or int64 array is added up over the domain. Floating sums
            are taken in the order of the grid, so they are the same for any number of workers.
        *args: handed to `measure`, which is called only when the answer is not known yet.
        **kwargs: likewise.

    Returns:
        The sum: same shape and dtype as one cell's array.
    """
    answer: Array = yield Pass(lambda: measure(*args, **kwargs))
    return answer


def finished(
    finish: Callable[[Array], R], measure: Callable[P, Array], /, *args: P.args, **kwargs: P.kwargs
) -> Generator[Pass, Any, R]:
    """Ask for what `finish` makes of the sum that `total` would give.

    `finish` runs once per domain, and its result alone is kept.
    """
    answer: R = yield Pass(lambda: measure(*args, **kwargs), finish)
    return answer


def prefix(
    finish: Callable[[Array], R] | None, measure: Callable[P, Array], /, *args: P.args, **kwargs: P.kwargs
) -> Generator[Pass, Any, tuple[Array, Array, R]]:
    """Ask for the sum over the cells that come before this one in the domain's order, and for what `finished` gives.

    The order is that of tensors by name, then of cells. What this cell itself says stands between the two. Without
    `finish` the last is the sum over the whole domain.
    """
    answer: tuple[Array, Array, R] = yield Pass(lambda: measure(*args, **kwargs), finish, kind="running")
    return answer


def sampled(
    finish: Callable[[Array], R], measure: Callable[P, Array], /, *args: P.args, **kwargs: P.kwargs
) -> Generator[Pass, Any, R]:
    """Ask for what `finish` makes of a sample of the domain.

    Which elements are in it depends on shapes alone. It may only be used to save work: a guess to be verified.
    """
    answer: R = yield Pass(lambda: measure(*args, **kwargs), finish, kind="sample")
    return answer


def advance(
    method: Callable[P, R | Passes[R]], answers: list[object], whole: bool, /, *args: P.args, **kwargs: P.kwargs
) -> R | Pass:
    """Run a method on one cell as far as the known answers lead.

    Args:
        method: a function, or a generator function that yields passes.
        answers: the answers to its first passes, in order.
        whole: the cell is its own domain: what is not in `answers` is answered from this cell.
        *args: the method's operands.
        **kwargs: the method's parameters.

    Returns:
        The merged cell, or the first pass that has no answer yet.
    """
    result = method(*args, **kwargs)
    if not isinstance(result, Generator):
        return result
    try:
        asked = next(result)
        for answer in answers:
            asked = result.send(answer)
        while whole:
            asked = result.send(alone(asked))
        return asked
    except StopIteration as stop:
        merged: R = stop.value
        return merged
    finally:
        result.close()


def alone(asked: Pass) -> object:
    """Answer a pass whose domain is one cell."""
    measured = asked.measure()
    answer = asked.answer(measured)
    return (np.zeros_like(measured), measured, answer) if asked.kind == "running" else answer

"""Finds in an output what a tool selected: for each element the choice that comes nearest to what it wrote."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from selections import Mask, Selection
from truths import Array

__all__ = ["Decoded", "decode", "excess"]

ROUNDS = 12
FITS = 12  # rounds of least squares with weights
STEP = 1e-7  # small enough that no sign is elected anew
STARTS = (1.0, 0.9, 1.1, 0.8, 1.25)
FAR_STARTS = (1.0, 0.8, 1.25, 0.6, 1.6, 0.4, 2.5, 0.2, 5.0)  # first guesses of what chance makes of a factor


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A choice.

    Attributes:
        value: what follows from it, flat.
        kept: the choice, one row for each selector.
        fewest: how few of each selector's elements may be kept with values just as near.
        most: how many.
    """

    value: Array
    kept: Mask
    fewest: list[int]
    most: list[int]


def decode(selection: Selection, written: Array, tolerance: Array, enough: float) -> Decoded:
    """Find a choice.

    Args:
        selection: what may be chosen.
        written: what a tool wrote, flat.
        tolerance: how near values are that cannot be told apart, one for each element.
        enough: how near all values are of a choice that is not worth looking for a better one.
    """
    found = None
    guess = selection.factors(selection.kept if selection.is_settled else None)
    for start in _starts(selection):
        tried = _from(selection, written, tolerance, guess * start)
        if found is None or excess(tried, written, tolerance) < excess(found, written, tolerance):
            found = tried
        if (np.abs(found.value - written) <= np.maximum(tolerance, enough)).all():
            break
    assert found is not None
    return found


def _starts(selection: Selection) -> Iterator[Array]:
    """Yield first guesses of the factors; more than one where chance has a say in them."""
    size = len(selection.factors(None))
    yield np.ones(size)
    if selection.chances is None:
        return
    for start in product(STARTS if size > 1 else FAR_STARTS, repeat=size):
        yield np.array(start)


def excess(decoded: Decoded, written: Array, tolerance: Array) -> float:
    """Sum what of the errors lies beyond the tolerance."""
    return float(np.maximum(np.abs(decoded.value - written) - tolerance, 0).sum())


def _from(selection: Selection, written: Array, tolerance: Array, factors: Array) -> Decoded:
    """Choose and compute factors in turn until nothing changes."""
    patterns = list(product((False, True), repeat=len(selection.kept)))
    masks = np.stack([np.where(selection.free, np.array(pattern)[:, None], selection.kept) for pattern in patterns])
    is_fitted = selection.chances is not None
    kept = selection.kept
    for _ in range(0 if selection.is_settled else ROUNDS):
        last, (kept, _, _) = kept, _nearest(selection, masks, written, factors)
        fitted = _fitted(selection, kept, written, factors) if is_fitted else selection.factors(kept)
        if np.array_equal(last, kept) and np.allclose(fitted, factors, rtol=1e-9, atol=0):
            break
        factors = fitted
    if is_fitted:
        factors = _bounded(selection, masks, written, factors, tolerance)
    kept, value, errors = _nearest(selection, masks, written, factors)
    fewest, most = _range(masks, errors, tolerance)
    return Decoded(
        value=value,
        kept=kept,
        fewest=[int(each.sum()) for each in fewest],
        most=[int(each.sum()) for each in most],
    )


def _nearest(selection: Selection, masks: Mask, written: Array, factors: Array) -> tuple[Mask, Array, Array]:
    """Choose for each element; return the choice, what follows, and the errors of all choices."""
    turns = (False, True) if selection.elects else (False,)
    values = np.stack([[selection.value(mask, factors, turned) for mask in masks] for turned in turns])
    errors = np.abs(values - written)
    turn = np.argmin(errors, axis=0)[None]
    values, errors = (np.take_along_axis(each, turn, axis=0)[0] for each in (values, errors))
    best = np.argmin(errors, axis=0)[None]
    kept = np.take_along_axis(masks, best[:, None, :], axis=0)[0]
    return kept, np.take_along_axis(values, best, axis=0)[0], errors


def _range(masks: Mask, errors: Array, tolerance: Array) -> tuple[Mask, Mask]:
    """Return what every choice keeps that is as near as the nearest, and what any of them keeps."""
    is_near = (errors <= errors.min(axis=0) + tolerance)[:, None, :]
    return np.asarray((masks | ~is_near).all(axis=0)), np.asarray((masks & is_near).any(axis=0))


def _bounded(selection: Selection, masks: Mask, written: Array, factors: Array, tolerance: Array) -> Array:
    """Hold fitted factors to what choices allow: what a vote overrules leaves no trace of having been kept."""
    fewest, most = _range(masks, _nearest(selection, masks, written, factors)[2], tolerance)
    bounds = selection.factors(fewest), selection.factors(most)
    return np.clip(factors, np.minimum(*bounds), np.maximum(*bounds))


def _fitted(selection: Selection, kept: Mask, written: Array, factors: Array) -> Array:
    """Fit factors to what was written, given a choice: least absolute errors, which wrong choices hardly move."""
    value = selection.value(kept, factors, False)
    slopes = np.stack([
        (selection.value(kept, factors + step, False) - value) / STEP for step in STEP * np.eye(len(factors))
    ])  # fmt: skip
    rest, change = written - value, np.zeros(len(factors))
    for _ in range(FITS):
        trust = 1 / (np.abs(rest - change @ slopes) + 1e-3 * np.abs(rest).mean() + 1e-12)
        change = np.linalg.lstsq((slopes * trust) @ slopes.T, (slopes * trust) @ rest, rcond=None)[0]
    return np.asarray(factors + change)

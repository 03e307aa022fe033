"""The methods that select elements, in float64, from the formulas of the specification: §7.6, §7.7 and §7.10.

What is selected may be settled, or free: where elements are equally long, where numbers at a threshold are nearer to
each other than arithmetic is exact, and where chance decides. A selection says what follows from any choice, so that
the choice that a tool made can be found in its output (`decode.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from truths import Array

__all__ = ["SELECTING", "Selection", "select"]

Mask = NDArray[np.bool_]
Own = Sequence[Mapping[str, Any]]
KL_ERROR = 64 * 2.0**-24  # of a sum of probabilities times logarithms in float32, absolutely
SELECTING = (
    "ties", "dare_linear", "dare_ties", "breadcrumbs", "breadcrumbs_ties", "della", "della_linear", "sce",
    "arcee_fusion",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What may be selected, and what follows.

    Attributes:
        kept: settled choices, and a first guess of free ones: one row for each selector, one column for each element.
        free: where the choice is free.
        counts: how many each selector keeps; None where that is not settled.
        chances: probability of each choice; None where it is not chance.
        factors: of a choice: numbers that hold for the whole tensor; of None: a first guess of them.
        value: the merged tensor, flat, given a choice, the factors, and whether signs are turned that are elected by a
            sum so near to zero that its sign is a matter of rounding.
        elects: whether signs are elected.
        is_settled: factors do not depend on free choices.
    """

    kept: Mask
    free: Mask
    counts: Sequence[int] | None = None
    chances: Array | None = None
    factors: Callable[[Mask | None], Array]
    value: Callable[[Mask, Array, bool], Array]
    elects: bool = False
    is_settled: bool = False


def select(
    method: str, base: Array, models: Sequence[Array], measured: Sequence[Array], own: Own, shared: Mapping[str, Any],
    slack: float,
) -> Selection:  # fmt: skip
    """Say what a method selects.

    Args:
        method: one of `SELECTING`.
        base: the base.
        models: the others, in the base's shape.
        measured: the task vectors as a tool holds them, rounded to its type or not; what is selected depends on them.
        own: parameters of each model.
        shared: those of all.
        slack: sums whose share of the sum of magnitudes is no more than this may round to either sign.
    """
    if method == "sce":
        return _sce(base, models, measured, float(shared["select_topk"]), slack)
    if method == "arcee_fusion":
        return _fusion(base, models[0])
    return _sparse(method, base, models, measured, own, shared, slack)


def _majority(terms: Array, turned: bool, slack: float) -> Array:
    """Elect signs; turn those that are a matter of rounding."""
    total = terms.sum(axis=0)
    signs = np.where(total >= 0, 1.0, -1.0)
    if turned:
        signs = np.where(np.abs(total) <= slack * np.abs(terms).sum(axis=0), -signs, signs)
    return signs


def _sparse(
    method: str, base: Array, models: Sequence[Array], measured: Sequence[Array], own: Own, shared: Mapping[str, Any],
    slack: float,
) -> Selection:  # fmt: skip
    deltas = np.stack([(x - base).ravel() for x in models])
    weights = np.array([float(each["weight"]) for each in own])[:, None]
    elects = method in ("ties", "dare_ties", "breadcrumbs_ties", "della")
    choices = [_choice(method, delta, each) for delta, each in zip(measured, own, strict=True)]
    chances = np.stack([each[3] for each in choices]) if method.startswith(("dare", "della")) else None

    def factors(mask: Mask | None) -> Array:
        if not shared["rescale"]:
            return np.ones(len(deltas))
        if mask is None:
            return np.array([1 / max(float(each["density"]), 1 / deltas.shape[1]) for each in own])
        before, after = np.abs(deltas).sum(axis=1), np.abs(deltas * mask).sum(axis=1)
        return np.where((before < 1e-7) | (after < 1e-7), 1.0, before / np.maximum(after, 1e-300))

    def value(mask: Mask, scales: Array, turned: bool) -> Array:
        terms = weights * deltas * mask * scales[:, None]
        if elects:
            agrees = np.sign(terms) == _majority(terms, turned, slack)
            total, below = (terms * agrees).sum(axis=0), (weights * agrees).sum(axis=0)
            below = np.where(below == 0, 1.0, below)
        else:
            total = terms.sum(axis=0)
            below = np.full_like(total, 1.0 if abs(weights.sum()) < 1e-8 else weights.sum())
        merged = total / below if shared["normalize"] else total
        return np.asarray(base.ravel() + merged * float(shared["lambda"]))

    return Selection(
        kept=np.stack([each[0] for each in choices]),
        free=np.stack([each[1] for each in choices]),
        counts=None if chances is not None else [each[2] for each in choices],
        chances=chances,
        factors=factors,
        value=value,
        elects=elects,
        is_settled=chances is None,  # elements that tie are equally long
    )


def _choice(method: str, delta: Array, own: Mapping[str, Any]) -> tuple[Mask, Mask, int, Array]:
    """Choose among a task vector's elements: kept, free, how many are kept, and with what chance."""
    density, size = float(own["density"]), delta.size
    flat = np.abs(delta).ravel()
    if density >= 1:
        return np.ones(size, bool), np.zeros(size, bool), size, np.ones(size)
    if method == "ties":
        count = max(1, int(density * size)) if density > 0 else 0
        return *_between(flat, size - count, size), count, np.zeros(size)
    if method.startswith("breadcrumbs"):
        target, top = int(density * size), int(float(own["gamma"]) * size)
        low = max(0, size - target - top)
        return *_between(flat, low, min(size, low + target)), target, np.zeros(size)
    chance = np.full(size, density)
    if method.startswith("della"):
        chance = _ranked(np.abs(delta), density, float(own["epsilon"]))
    is_open = (chance > 0) & (chance < 1)
    return chance >= 0.5, is_open, 0, chance


def _ranked(lengths: Array, density: float, epsilon: float) -> Array:
    """Return the chance that DELLA gives each element, by its rank along the second axis."""
    if density <= 0:
        return np.zeros(lengths.size)
    rows = lengths if lengths.ndim > 1 else lengths.reshape(1, -1)
    ranks = np.argsort(np.argsort(rows, axis=1, kind="stable"), axis=1, kind="stable")
    share = ranks / max(rows.shape[1] - 1, 1)
    return np.asarray((density - epsilon) + 2 * epsilon * share).ravel()


def _between(lengths: Array, first: int, end: int) -> tuple[Mask, Mask]:
    """Keep what would stand at positions first to end if it were sorted; free is what ties with something dropped."""
    order = np.argsort(lengths, kind="stable")
    kept = np.zeros(lengths.size, bool)
    kept[order[first:end]] = True
    free = np.isin(lengths, np.intersect1d(lengths[kept], lengths[~kept]))
    return kept, free


def _sce(base: Array, models: Sequence[Array], measured: Sequence[Array], share: float, slack: float) -> Selection:
    deltas, size = np.stack([(x - base).ravel() for x in models]), base.size
    kept, free, count = np.ones(size, bool), np.zeros(size, bool), size
    if share < 1:
        spread = np.var(np.stack([each.ravel() for each in measured]), axis=0)
        count = int(share * np.count_nonzero(spread)) if share > 0 else 0
        kept, free = _between(spread, size - count, size)

    def factors(mask: Mask | None) -> Array:
        squares = np.mean((deltas * (kept if mask is None else mask[0])) ** 2, axis=1)
        return np.full(len(models), 1 / len(models)) if squares.sum() < 1e-6 else squares / squares.sum()

    def value(mask: Mask, weights: Array, turned: bool) -> Array:
        chosen = deltas * mask[0]
        agrees = (np.sign(chosen) == _majority(chosen, turned, slack)) * weights[:, None]
        return np.asarray(base.ravel() + (agrees * chosen).sum(axis=0) / np.maximum(agrees.sum(axis=0), 1e-6))

    return Selection(kept=kept[None], free=free[None], counts=[count], factors=factors, value=value, elects=True)


def _fusion(base: Array, x: Array) -> Selection:
    p, q = (np.exp(each - each.max(axis=-1, keepdims=True)) for each in (x, base))
    p, q = p / p.sum(axis=-1, keepdims=True) + 1e-8, q / q.sum(axis=-1, keepdims=True) + 1e-8
    divergence = (p * np.log(p / q)).sum(axis=-1, keepdims=True)
    delta = (x - base).ravel()
    importance = (np.abs(x - base) * divergence).ravel()
    inexact = np.abs(delta) * KL_ERROR
    ordered = np.argsort(importance, kind="stable")
    places = {share: ordered[int(share * (delta.size - 1))] for share in (0.25, 0.5, 0.75)}
    threshold = importance[places[0.5]] + 1.5 * (importance[places[0.75]] - importance[places[0.25]])
    margin = inexact + 2.5 * max(inexact[place] for place in places.values()) + 1e-5 * abs(threshold)

    def value(mask: Mask, _: Array, __: bool) -> Array:
        return np.asarray(base.ravel() + mask[0] * delta)

    return Selection(
        kept=(importance >= threshold)[None],
        free=(np.abs(importance - threshold) <= margin)[None],
        factors=lambda _: np.ones(1),
        value=value,
    )

"""Model Breadcrumbs: drop the largest and the smallest entries of the task vectors.

Davari and Belilovsky, "Model breadcrumbs: scaling multi-task model merging with sparse masks", ECCV 2024,
https://arxiv.org/abs/2312.06795. The paper masks each layer's tensor; the authors' code each row of it (``scope:
row``). Entries of equal magnitude at a cut stay or go in index order, so that counts are exact.

Differences: a weight per model, 1 in the paper. `breadcrumbs_ties` merges the bands as TIES does, by an election of
signs, which practitioners do and the paper does not. ``rule: mergekit`` puts the density first, as that tool does:
fewer outliers are dropped where both shares do not fit, none at density 1; counts are rounded down in floating point.
``rescale: l1`` gives the bands the L1 norm of the task vectors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cuvee.methods.declare import Deltas, Density, Paper, PerModel, Scale, Scope, Weight, each, method
from cuvee.tensors.algebra import factors, weighted_sum
from cuvee.tensors.norms import L1_PASSES, with_l1_of
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, Position
from cuvee.tensors.selection import TRIM_PASSES, Trimmed, largest, share_of
from cuvee.tensors.signs import elect_and_merge

BREADCRUMBS = Paper(
    title="Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks",
    authors="M. Davari, E. Belilovsky",
    venue="ECCV",
    year=2024,
    url="https://arxiv.org/abs/2312.06795",
)
Rule = Literal["paper", "mergekit"]


def _overlap(parameters: Mapping[str, Any]) -> str:
    """Refuse to keep and drop more than there is."""
    if parameters["rule"] == "mergekit":
        return ""
    for density, outliers in zip(parameters["density"], parameters["outliers"], strict=True):
        if density + outliers > 1 + 1e-9:  # sums such as 0.9 + 0.1 may exceed 1 by rounding
            return f"density {density} and outliers {outliers} add up to more than 1; lower one of them"
    return ""


def _passes(parameters: Mapping[str, Any], trims: int = TRIM_PASSES[1]) -> int:
    """Count those that find the bands, and those of norms and vote."""
    if parameters["scope"] == "row":
        return 0
    votes = parameters.get("zero_sign") == "majority"
    return trims + L1_PASSES * bool(parameters["rescale"] == "l1") + bool(votes)


def _usual(parameters: Mapping[str, Any]) -> int:
    """As `_passes`, with bands that are guessed right."""
    return _passes(parameters, TRIM_PASSES[0])


def _band(density: float, outliers: float, size: int, rule: Rule) -> tuple[int, int]:
    """Return how many of the largest entries are kept or dropped, and how many of them are dropped."""
    if rule == "paper":
        top = share_of(outliers, size)
        return top + share_of(density, size), top
    kept = size if density >= 1 else int(density * size)
    top = min(int(outliers * size), size - kept)
    return top + kept, top


def _bands(
    deltas: Deltas,
    position: Position,
    density: Sequence[float],
    outliers: Sequence[float],
    rule: Rule,
    rescale: Literal["none", "l1"],
) -> Passes[Sequence[Operand]]:
    """Reduce every task vector to its middle band."""
    shares = zip(density, outliers, strict=True)
    keep, drop = zip(*(_band(share, top, position.size, rule) for share, top in shares), strict=True)
    cuts = yield from largest([*deltas, *deltas], [*keep, *drop], position)
    bands = [Trimmed(deltas[i], cuts[i], cuts[len(deltas) + i]) for i in range(len(deltas))]
    if rescale == "none":
        return bands
    return (yield from with_l1_of(deltas, bands))


@method(
    paper=BREADCRUMBS,
    passes=_passes,
    usual=_usual,
    pooled=("density", "outliers", "rule", "rescale"),
    identity=lambda n: {"weight": [1 / n] * n, "density": 1.0, "outliers": 0.0},
    check=_overlap,
)
def breadcrumbs(
    deltas: Deltas,
    position: Position,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.1),
    outliers: PerModel[Density] = each(0.01),
    rule: Rule = "paper",
    rescale: Literal["none", "l1"] = "none",
    scale: Scale = 1.0,
    normalize: bool = False,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
) -> Passes[Operand]:
    """Keep a middle band of each task vector by magnitude, and add the bands to the base.

    Of each task vector the floor(outliers * size) largest entries are dropped, the floor(density * size) next ones
    kept, the rest dropped; theta = theta_0 + lambda * sum_t w_t masked(tau_t). The authors use e.g. density 0.2,
    outliers 0.1, scale 0.4.

    Args:
        deltas: n task vectors, (rows, e) each.
        position: where the cell lies.
        weight: factor w_t on each task vector.
        density: share of entries kept (beta in the authors' code).
        outliers: share of entries dropped as too large (gamma).
        rule: what holds where density and outliers add up to more than 1: "paper" refuses, "mergekit" drops fewer
            outliers.
        rescale: "l1" multiplies each band so that it has the L1 norm of its task vector within the scope.
        scale: factor lambda on the sum.
        normalize: divide the sum by that of the weights, unless it is zero.
        scope: what the shares are taken over: each tensor (the paper), each row of a tensor (the authors' code; last
            axis), or the whole model.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    bands = yield from _bands(deltas, position, density, outliers, rule, rescale)
    return weighted_sum(bands, factors(weight, scale=scale, normalize=normalize))


@method(
    paper=BREADCRUMBS,
    passes=_passes,
    usual=_usual,
    pooled=("density", "outliers", "rule", "rescale", "zero_sign"),
    identity=lambda _: {"density": 1.0, "outliers": 0.0},
    check=_overlap,
)
def breadcrumbs_ties(
    deltas: Deltas,
    position: Position,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.1),
    outliers: PerModel[Density] = each(0.01),
    rule: Rule = "paper",
    rescale: Literal["none", "l1"] = "none",
    scale: Scale = 1.0,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    zero_sign: Literal["majority", "positive", "zero"] = "majority",
    merge: Literal["mean", "sum", "max", "signed_mean"] = "mean",
) -> Passes[Operand]:
    """Keep a middle band of each task vector by magnitude, and merge the entries that agree in sign.

    The bands of breadcrumbs, then the sign election and disjoint merge of TIES: gamma = sign(sum_t w_t masked(tau_t)),
    and the mean of the entries whose sign is gamma; theta = theta_0 + lambda * merged.

    Args:
        deltas: n task vectors, (rows, e) each.
        position: where the cell lies.
        weight: factor w_t on each task vector; the mean divides by the weights of those that agree.
        density: share of entries kept; see breadcrumbs.
        outliers: share of entries dropped as too large; see breadcrumbs.
        rule: what holds where density and outliers add up to more than 1; see breadcrumbs.
        rescale: "l1" multiplies each band so that it has the L1 norm of its task vector within the scope.
        scale: factor lambda on the merged task vector.
        scope: what the shares and the vote are taken over: each tensor, each row of a tensor, or the whole model.
        zero_sign: sign of entries whose sum is exactly zero; see ties.
        merge: what is done with the entries that agree: their mean, their sum, the one of largest magnitude, or
            "signed_mean"; see ties.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    bands = yield from _bands(deltas, position, density, outliers, rule, rescale)
    return (yield from elect_and_merge(bands, weight, how=merge, scale=scale, zero_sign=zero_sign))

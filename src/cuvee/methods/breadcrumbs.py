"""Model Breadcrumbs: drop the largest and the smallest entries of the task vectors.

Davari and Belilovsky, "Model breadcrumbs: scaling multi-task model merging with sparse masks", ECCV 2024,
https://arxiv.org/abs/2312.06795. The paper masks each layer's tensor; the authors' code each row of it (``scope:
row``). Entries of equal magnitude at a cut stay or go in index order, so that counts are exact.
"""

from collections.abc import Mapping
from typing import Any, Literal

from cuvee.methods.declare import Deltas, Density, Paper, PerModel, Scale, Scope, Weight, each, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, Position
from cuvee.tensors.selection import TRIM_PASSES, Trimmed, largest, share_of


def _overlap(parameters: Mapping[str, Any]) -> str:
    """Refuse to keep and drop more than there is."""
    for density, outliers in zip(parameters["density"], parameters["outliers"], strict=True):
        if density + outliers > 1 + 1e-9:  # sums such as 0.9 + 0.1 may exceed 1 by rounding
            return f"density {density} and outliers {outliers} add up to more than 1; lower one of them"
    return ""


@method(
    paper=Paper(
        title="Model Breadcrumbs: Scaling Multi-Task Model Merging with Sparse Masks",
        authors="M. Davari, E. Belilovsky",
        venue="ECCV",
        year=2024,
        url="https://arxiv.org/abs/2312.06795",
    ),
    passes=lambda parameters: TRIM_PASSES[1] * (parameters["scope"] != "row"),
    usual=lambda parameters: TRIM_PASSES[0] * (parameters["scope"] != "row"),
    pooled=("density", "outliers"),
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
    scale: Scale = 1.0,
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
        scale: factor lambda on the sum.
        scope: what the shares are taken over: each tensor (the paper), each row of a tensor (the authors' code; last
            axis), or the whole model.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    drop = [share_of(top, position.size) for top in outliers]
    keep = [top + share_of(share, position.size) for top, share in zip(drop, density, strict=True)]
    cuts = yield from largest([*deltas, *deltas], [*keep, *drop], position)
    bands = [Trimmed(deltas[i], cuts[i], cuts[len(deltas) + i]) for i in range(len(deltas))]
    return weighted_sum(bands, [scale * w for w in weight])

"""Weighted mean of directions, at the weighted mean length.

Published as "Multi-SLERP" in mergekit alone: Goddard et al., "Arcee's MergeKit", EMNLP 2024,
https://arxiv.org/abs/2403.13257, and the code at https://github.com/arcee-ai/mergekit. There the unit vectors are
projected into the tangent space at the direction of their weighted mean, averaged, and mapped back. That average is
exactly zero: the part of sum_t w_t u_t across m is sum_t w_t u_t - <sum_t w_t u_t, m> m, and m is the direction of that
very sum. So the rule is the normalised weighted mean times the weighted mean norm, and that is what is computed here,
from inner products in float64. For the mean that iterating would lead to, see karcher.

Differences: one model goes by the formula as well, which matters only where `normalize` is false (mergekit returns it
as it is). Where every model is zero the result is zero (mergekit refuses that for more than two models). A mean of
directions counts as cancelled below 1e-7, which is what rounding leaves of it (mergekit: below `eps`).
"""

from typing import Annotated, Literal

import numpy as np

from cuvee.errors import MergeError
from cuvee.methods.declare import Paper, PerModel, Range, Scope, Space, Vectors, Weight, each, method
from cuvee.methods.shares import cancel, shares
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, Position, total

CANCELLED = 1e-7  # a mean of unit vectors shorter than this is rounding error of float32 inputs: it has no direction


@method(
    paper=Paper(
        title="Arcee's MergeKit: A Toolkit for Merging Large Language Models",
        authors="C. Goddard, S. Siriwardhana, M. Ehghaghi, L. Meyers, V. Karpukhin, B. Benedict, M. McQuade, "
        "J. Solawetz",
        venue="EMNLP Industry Track",
        year=2024,
        url="https://arxiv.org/abs/2403.13257",
    ),
    passes=lambda parameters: int(parameters["scope"] != "row"),
    check=cancel,
)
def multislerp(
    models: Vectors,
    position: Position,
    *,
    weight: PerModel[Weight] = each(1.0),
    normalize: bool = True,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
    eps: Annotated[float, Range(0.0, 1.0, usual=(0.0, 1e-6))] = 1e-8,
) -> Passes[Operand]:
    """Average the models' directions, and give the result their average length.

    theta = m / ||m|| * sum_t w_t ||theta_t||, with m = sum_t w_t theta_t / ||theta_t||: the normalised weighted mean
    times the weighted mean norm. Two models that point in opposite directions are averaged linearly, and reported. The
    mean on the sphere itself is karcher; for models that lie close together the two differ little.

    Args:
        models: n models, (rows, e) each.
        weight: factor w_t on each model.
        normalize: divide the weights by their sum, which must not be zero.
        scope: what makes up one vector: the whole model, each tensor, or each row of a tensor (last axis).
        vectors: average the parameters themselves, or the task vectors (then the recipe needs a base).
        eps: added to a length before a vector is divided by it.

    Returns:
        Merged cell, (rows, e) float32.

    Raises:
        MergeError: more than two models cancel out, so that their mean has no direction.
    """
    gram = yield from total(gram_matrix, models)
    factors, cancelled = _factors(gram, np.asarray(shares(weight, normalize)), eps)
    if cancelled:
        if len(models) > 2:
            raise MergeError(
                "multislerp: the models cancel out and their mean has no direction; use linear for this tensor."
            )
        position.note("the two models cancel out, so that their mean has no direction; averaged linearly")
    return weighted_sum(models, factors)


def _factors(gram: Array, weights: Array, eps: float) -> tuple[Array, bool]:
    """Work out the factor on each model from their inner products.

    Args:
        gram: (rows, n, n) float64.
        weights: (n,) float64.
        eps: see `multislerp`.

    Returns:
        (n, rows) float64 factors: the weights where models cancel out; and whether any do.
    """
    norms = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    lengths = norms + eps
    directions = np.divide(weights, lengths, out=np.zeros_like(norms), where=lengths > 0)
    mean = np.sqrt(np.maximum(np.einsum("ri,rij,rj->r", directions, gram, directions), 0.0))
    cancelled = (mean <= CANCELLED * np.abs(directions * norms).sum(1)) & (norms.max(1) > 0)
    scale = np.divide(norms @ weights, mean, out=np.zeros_like(mean), where=~cancelled & (mean > 0))
    factors: Array = np.where(cancelled, weights[:, None], (directions * scale[:, None]).T)
    return factors, bool(cancelled.any())

"""Average of models, brought to the norm of the largest.

Kim et al., "Token fusion: bridging the gap between token pruning and token merging" (MLERP), WACV 2024,
https://arxiv.org/abs/2312.01026; used to merge more than two models by Tam et al., https://arxiv.org/abs/2409.18314,
with norms taken over the whole model.
"""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from cuvee.errors import MergeError
from cuvee.methods.declare import Paper, Scope, Space, Vectors, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, total

CANCELLED = (
    1e-7  # a mean shorter than this share of the longest model is rounding error of float32 inputs: it has no direction
)


def _equally(_: Mapping[str, Any], num_models: int) -> list[float]:
    """Average equally: the method has no weights."""
    return [1 / num_models] * num_models


@method(
    paper=Paper(
        title="Token Fusion: Bridging the Gap between Token Pruning and Token Merging",
        authors="M. Kim, S. Gao, Y.-C. Hsu, Y. Shen, H. Jin",
        venue="WACV",
        year=2024,
        url="https://arxiv.org/abs/2312.01026",
    ),
    passes=lambda parameters: int(parameters["scope"] != "row"),
    average=_equally,
)
def mlerp(
    models: Vectors,
    *,
    scope: Scope[Literal["model", "tensor", "row"]] = "model",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
) -> Passes[Operand]:
    """Average the models and give the result the norm of the largest one.

    theta = m * max_t ||theta_t|| / ||m||, with m the mean. Averaging shortens vectors that are not parallel; this
    restores their length. For two models of equal norm it is SLERP at 1/2. No setting to tune.

    Args:
        models: n models, (rows, e) each.
        scope: what makes up one vector: the whole model (as published), each tensor, or each row of a tensor (last
            axis).
        vectors: average the parameters themselves, or the task vectors (then the recipe needs a base).

    Returns:
        Merged cell, (rows, e) float32.

    Raises:
        MergeError: the models cancel out, so that their mean has no direction.
    """
    gram = yield from total(gram_matrix, models)
    factor = mean_factor(gram)
    return weighted_sum(models, np.tile(factor, (len(models), 1)))


def mean_factor(gram: Array) -> Array:
    """Work out the factor on every model from their inner products.

    Args:
        gram: (rows, n, n) float64.

    Returns:
        (rows,) float64: the largest norm, divided by that of the sum. Rows that are zero in all models get 0.

    Raises:
        MergeError: a row's models cancel out.
    """
    longest = np.sqrt(np.diagonal(gram, axis1=1, axis2=2).max(1))
    mean = np.sqrt(np.maximum(gram.sum((1, 2)), 0.0)) / gram.shape[1]
    if ((mean <= CANCELLED * longest) & (longest > 0)).any():
        raise MergeError("mlerp: the models cancel out and their mean has no direction; use linear for this tensor.")
    factor: Array = np.divide(longest, mean * gram.shape[1], out=np.zeros_like(mean), where=longest > 0)
    return factor

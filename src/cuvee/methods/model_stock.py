"""Model Stock: move from the base towards the average of a few models, as far as their angle says.

Jang, Yun and Han, "Model Stock: All we need is just a few fine-tuned models", ECCV 2024,
https://arxiv.org/abs/2403.19522, equation 2 for two models and its generalisation to N in the appendix. The paper takes
one ratio per layer and knows filter-wise ratios as well, which is one for each row here (last axis).

Differences: the paper assumes that every two task vectors enclose the same angle; the ratio is taken of the mean of
their cosines, as by mergekit (https://github.com/arcee-ai/mergekit). Where that mean is negative the formula leads
beyond the base, away from every model, or divides by zero; here it stops at the base, unless `extrapolate` asks for the
formula (mergekit's). mergekit divides inner products by at least 1e-6, which halves the cosine of task vectors of
length 7e-4: `eps` is that bound, none by default. A zero task vector is at right angles to all others. The models'
average is plain; merging periodically while they are trained, as the paper also does, is not a merge.
"""

from typing import Annotated, Literal

import numpy as np

from cuvee.methods.declare import Deltas, Paper, Range, Scope, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, total

SINGULAR = 1e-6  # where 1 + (N - 1) cos is nearer to zero the ratio is taken to be 0: task vectors cancel out there


@method(
    paper=Paper(
        title="Model Stock: All we need is just a few fine-tuned models",
        authors="D.-H. Jang, S. Yun, D. Han",
        venue="ECCV",
        year=2024,
        url="https://arxiv.org/abs/2403.19522",
    ),
    models=(2, None),
    passes=lambda parameters: int(parameters["scope"] != "row"),
)
def model_stock(
    deltas: Deltas,
    *,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    extrapolate: bool = False,
    eps: Annotated[float, Range(0.0, 10.0)] = 0.0,
) -> Passes[Operand]:
    """Move from the base towards the models' average, the further the more their task vectors agree.

    theta = theta_0 + r * mean_t tau_t with r = N c / (1 + (N - 1) c), c the mean cosine between two of the N task
    vectors: 1 where they are parallel, 0 at right angles. Meant for models that were fine-tuned on one task.

    Args:
        deltas: n task vectors, (rows, e) each.
        scope: what cosines are taken of: each tensor (the paper's layer), each row of a tensor (its filter; last axis),
            or the whole model.
        extrapolate: follow the formula beyond the base where the mean cosine is negative; without, the base is kept.
        eps: least product of two lengths that an inner product is divided by; 0 takes the cosines as they are.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    gram = yield from total(gram_matrix, deltas)
    count = len(deltas)
    cosine = _mean_cosine(gram, eps)
    if not extrapolate:
        cosine = np.maximum(cosine, 0.0)
    divisor = 1 + (count - 1) * cosine
    ratio = np.divide(count * cosine, divisor, out=np.zeros_like(cosine), where=np.abs(divisor) >= SINGULAR)
    return weighted_sum(deltas, np.tile(ratio / count, (count, 1)))


def _mean_cosine(gram: Array, eps: float) -> Array:
    """Return the mean cosine over all pairs of task vectors, (rows,), from their inner products, (rows, n, n)."""
    first, second = np.triu_indices(gram.shape[1], 1)
    norms = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    product = np.maximum(norms[:, first] * norms[:, second], eps)
    inner = gram[:, first, second]
    cosines = np.clip(np.divide(inner, product, out=np.zeros_like(inner), where=product > 0), -1.0, 1.0)
    mean: Array = cosines.mean(1)
    return mean

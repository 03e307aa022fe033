"""Norm clipping: add task vectors, the longest ones shortened first.

Sun, Kairouz, Suresh and McMahan, "Can you really backdoor federated learning?", 2019, https://arxiv.org/abs/1911.07963,
norm thresholding of updates. A model that was trained longer or with a higher learning rate lies further from the base
and drowns the others; here no task vector counts for more than the bound allows. Difference: the paper's bound M is a
number chosen beforehand, ours a multiple of the median length.
"""

from typing import Annotated, Literal

import numpy as np

from cuvee.methods.declare import Deltas, Paper, PerModel, Range, Scope, Weight, each, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, total


@method(
    paper=Paper(
        title="Can You Really Backdoor Federated Learning?",
        authors="Z. Sun, P. Kairouz, A. T. Suresh, H. B. McMahan",
        venue="arXiv",
        year=2019,
        url="https://arxiv.org/abs/1911.07963",
    ),
    passes=lambda _: 1,
    identity=lambda n: {"weight": [1 / n] * n},
)
def norm_clipping(
    deltas: Deltas,
    *,
    weight: PerModel[Weight] = each(1.0),
    limit: Annotated[float, Range(0.0, 100.0)] = 1.0,
    scope: Scope[Literal["model", "tensor"]] = "model",
) -> Passes[Operand]:
    """Add the task vectors to the base, none longer than a bound.

    theta = theta_0 + sum_t w_t tau_t / max(1, ||tau_t|| / M), with M = limit * median_t ||tau_t||. A task vector of
    length zero adds nothing.

    Args:
        deltas: n task vectors, (rows, e) each.
        weight: factor w_t on each task vector.
        limit: longest length allowed, as a multiple of the median one.
        scope: what lengths are taken of: the whole model (the paper) or each tensor.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    gram = yield from total(gram_matrix, deltas)
    lengths = np.sqrt(np.diagonal(gram[0]))
    bound = limit * np.median(lengths)
    shares = np.divide(bound, lengths, out=np.ones_like(lengths), where=lengths > bound)
    return weighted_sum(deltas, shares * np.asarray(weight))

"""Task arithmetic: add task vectors to the base.

Ilharco et al., "Editing models with task arithmetic", ICLR 2023, https://arxiv.org/abs/2212.04089. Differences: a
weight per model, 1 in the paper; and the sum can be divided by the sum of the weights (`normalize`), which some tools
do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cuvee.methods.declare import Deltas, Paper, PerModel, Scale, Weight, each, method
from cuvee.tensors.algebra import factors, weighted_sum
from cuvee.tensors.operands import Operand


def _shares(parameters: Mapping[str, Any], _: int) -> Sequence[float]:
    """Return the factor on each task vector."""
    return factors(parameters["weight"], scale=parameters["scale"], normalize=parameters["normalize"])


@method(
    paper=Paper(
        title="Editing models with task arithmetic",
        authors="G. Ilharco, M. T. Ribeiro, M. Wortsman, S. Gururangan, L. Schmidt, H. Hajishirzi, A. Farhadi",
        venue="ICLR",
        year=2023,
        url="https://arxiv.org/abs/2212.04089",
    ),
    identity=lambda n: {"weight": [1 / n] * n, "scale": 1.0},
    combination=_shares,
)
def task_arithmetic(
    deltas: Deltas, *, weight: PerModel[Weight] = each(1.0), scale: Scale = 1.0, normalize: bool = False
) -> Operand:
    """Add the weighted task vectors to the base model.

    theta = theta_0 + lambda * sum_t w_t tau_t, with tau_t = theta_t - theta_0. A negative weight makes the model forget
    a task. The paper tunes lambda on validation data; 0.3 to 0.5 is usual for several models.

    Args:
        deltas: n task vectors, (rows, e) each.
        weight: factor w_t on each task vector.
        scale: factor lambda on their sum.
        normalize: divide the sum by that of the weights, unless it is zero.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    return weighted_sum(deltas, factors(weight, scale=scale, normalize=normalize))

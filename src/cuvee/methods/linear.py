"""Weighted average of models.

Wortsman et al., "Model soups", ICML 2022, https://arxiv.org/abs/2203.05482. Also known as a (uniform) soup, or simple
averaging.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from cuvee.methods.declare import Paper, PerModel, Weight, Weights, each, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand

ZERO_SUM = 1e-12  # weights that add up to less than this, relative to the largest, are taken to cancel


def _sums_to_zero(parameters: Mapping[str, Any]) -> str:
    """Refuse to divide by a sum of weights that is zero."""
    weights: Sequence[float] = parameters["weight"]
    if not parameters["normalize"] or abs(sum(weights)) > ZERO_SUM * max(map(abs, weights)):
        return ""
    return f"the weights {list(weights)} add up to zero and cannot be normalised; set normalize: false, or change them"


def _shares(parameters: Mapping[str, Any], _: int) -> Sequence[float]:
    """Return the factor on each model."""
    weights: Sequence[float] = parameters["weight"]
    divisor = sum(weights) if parameters["normalize"] else 1.0
    return [w / divisor for w in weights]


@method(
    paper=Paper(
        title="Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing "
        "inference time",
        authors="M. Wortsman, G. Ilharco, S. Y. Gadre, R. Roelofs, R. Gontijo-Lopes, A. S. Morcos, H. Namkoong, "
        "A. Farhadi, Y. Carmon, S. Kornblith, L. Schmidt",
        venue="ICML",
        year=2022,
        url="https://arxiv.org/abs/2203.05482",
    ),
    check=_sums_to_zero,
    combination=_shares,
)
def linear(weights: Weights, *, weight: PerModel[Weight] = each(1.0), normalize: bool = True) -> Operand:
    """Take the weighted average of the models.

    theta = sum_t w_t theta_t, divided by sum_t w_t when normalising. Equal weights give the plain average; without
    normalising it is a scaled sum.

    Args:
        weights: n models, (rows, e) each.
        weight: factor w_t on each model.
        normalize: divide by the sum of the weights, which must not be zero.

    Returns:
        Merged weights, (rows, e) float32.
    """
    return weighted_sum(weights, _shares({"weight": weight, "normalize": normalize}, len(weight)))

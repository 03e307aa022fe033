"""Weighted average of models.

Wortsman et al., "Model soups", ICML 2022, https://arxiv.org/abs/2203.05482. Also known as a (uniform) soup, or simple
averaging.

Without normalising, and for one model, it is a scaled copy.
"""

from cuvee.methods.declare import Paper, PerModel, Weight, Weights, each, method
from cuvee.methods.shares import cancel, shares
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand


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
    check=cancel,
    combination=lambda parameters, _: shares(parameters["weight"], parameters["normalize"]),
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
    return weighted_sum(weights, shares(weight, normalize))

"""DELLA: drop entries of the task vectors at random, small ones more often; rescale the rest; then merge.

Deep, Bhardwaj and Poria, "DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
2024, https://arxiv.org/abs/2406.11617: MAGPRUNE, with the election and fusion that follow it. The paper speaks of drop
rates p; here `density` is the mean share that survives, 1 - p.

Differences: draws come from a counter-based generator keyed by seed, model and tensor, so they do not depend on the
order or the size of the reads. Rows lie along the last axis; a vector is one row. Entries of equal magnitude rank in
index order. In a row of one entry, which has no rank, it survives with probability `density`. A density of 1 drops
nothing and one of 0 everything, whatever `epsilon` says. Weights per model are 1 in the paper. The vote on entries
whose sum is zero is that of TIES, taken tensor by tensor. ``rescale: l1`` gives the survivors the L1 norm of the whole
task vector's tensor, as mergekit does, instead of dividing each by its probability; its election is ``zero_sign:
positive`` and ``merge: signed_mean`` (or ``sum``).
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cuvee.methods.declare import Deltas, Density, Draws, Paper, PerModel, Range, Rescale, Scale, Weight, each, method
from cuvee.tensors.algebra import factors, weighted_sum
from cuvee.tensors.norms import L1_PASSES, with_l1_of
from cuvee.tensors.operands import Flattened, Operand
from cuvee.tensors.passes import Passes
from cuvee.tensors.random import Dropped
from cuvee.tensors.sampling import Sampled
from cuvee.tensors.signs import elect_and_merge

if TYPE_CHECKING:
    from torch import Tensor

DELLA = Paper(
    title="DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based Sampling",
    authors="P. T. Deep, R. Bhardwaj, S. Poria",
    venue="arXiv",
    year=2024,
    url="https://arxiv.org/abs/2406.11617",
)
Spread = Annotated[float, Range(0.0, 0.5)]


def _beyond(parameters: Mapping[str, Any]) -> str:
    """Refuse probabilities that are not between 0 and 1."""
    for density, epsilon in zip(parameters["density"], parameters["epsilon"], strict=True):
        if 0 < density < 1 and not (density - epsilon > 0 and density + epsilon < 1):
            return (
                f"density {density} with epsilon {epsilon} gives probabilities from {density - epsilon:g} to "
                f"{density + epsilon:g}; they must lie between 0 and 1. Lower epsilon, or use density 1 or 0"
            )
    return ""


def _sample(
    deltas: Deltas, draws: Draws, density: Sequence[float], epsilon: Sequence[float], rescale: Rescale
) -> Passes[Sequence[Operand]]:
    """Thin out every task vector by its own draws, and rescale what is left; laid out as one row each."""
    sampled: list[Operand] = []
    for delta, share, spread, key in zip(deltas, density, epsilon, draws.keys, strict=True):
        if 0 < share < 1:
            sampled.append(Sampled(delta, share, spread, rescale == "probability", key, draws.start))
        else:
            sampled.append(delta if share else Dropped(delta, 0.0, 1.0, key, draws.start))
    thinned = [Flattened(each) for each in sampled]
    if rescale != "l1":
        return thinned
    return (yield from with_l1_of([Flattened(delta) for delta in deltas], thinned))


@method(
    paper=DELLA,
    passes=lambda parameters: L1_PASSES * bool(parameters["rescale"] == "l1"),
    locality="rows",
    identity=lambda n: {"weight": [1 / n] * n, "density": 1.0},
    check=_beyond,
)
def della_linear(
    deltas: Deltas,
    draws: Draws,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.5),
    epsilon: PerModel[Spread] = each(0.15),
    rescale: Rescale = "probability",
    scale: Scale = 1.0,
    normalize: bool = False,
) -> "Passes[Tensor]":
    """Drop entries at random, small ones more often, rescale the rest, and add the task vectors to the base.

    With the entries of each row of tau_t ranked by magnitude, q from 0 for the smallest to r - 1, an entry survives
    with probability density - epsilon + 2 epsilon q / (r - 1) and is divided by it; theta = theta_0 + lambda * sum_t
    w_t tau'_t. One draw is one sample: try several seeds.

    Args:
        deltas: n task vectors, (rows, e) each.
        draws: the streams of draws.
        weight: factor w_t on each task vector.
        density: mean probability that an entry survives; 1 drops nothing, 0 everything.
        epsilon: how far the probabilities of a row reach to either side; density +- epsilon must lie between 0 and 1.
        rescale: what the survivors are brought to: "probability" divides each by its own, "l1" gives them the L1 norm
            of the task vector's tensor, "none" leaves them as they are.
        scale: factor lambda on the sum.
        normalize: divide the sum by that of the weights, unless it is zero.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    sampled = yield from _sample(deltas, draws, density, epsilon, rescale)
    merged = weighted_sum(sampled, factors(weight, scale=scale, normalize=normalize))
    return merged.tensor.reshape(deltas[0].tensor.shape)


@method(
    paper=DELLA,
    passes=lambda parameters: L1_PASSES * bool(parameters["rescale"] == "l1") + (parameters["zero_sign"] == "majority"),
    locality="rows",
    identity=lambda _: {"density": 1.0},
    check=_beyond,
)
def della(
    deltas: Deltas,
    draws: Draws,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.5),
    epsilon: PerModel[Spread] = each(0.15),
    rescale: Rescale = "probability",
    scale: Scale = 1.0,
    zero_sign: Literal["majority", "positive", "zero"] = "majority",
    merge: Literal["mean", "sum", "max", "signed_mean"] = "mean",
) -> "Passes[Tensor]":
    """Drop entries at random, small ones more often, rescale the rest, and merge those that agree in sign.

    The drop of della_linear, then the sign election and disjoint merge of TIES: gamma = sign(sum_t w_t tau'_t), and the
    mean of the surviving entries whose sign is gamma; theta = theta_0 + lambda * merged. Densities of 0.5 to 0.7 and
    scales of 1 to 1.1 are usual.

    Args:
        deltas: n task vectors, (rows, e) each.
        draws: the streams of draws.
        weight: factor w_t on each task vector; the mean divides by the weights of those that agree.
        density: mean probability that an entry survives; 1 drops nothing, 0 everything.
        epsilon: how far the probabilities of a row reach to either side; density +- epsilon must lie between 0 and 1.
        rescale: what the survivors are brought to: "probability" divides each by its own, "l1" gives them the L1 norm
            of the task vector's tensor, "none" leaves them as they are.
        scale: factor lambda on the merged task vector.
        zero_sign: sign of entries whose sum is exactly zero, with the vote taken in the tensor; see ties.
        merge: what is done with the entries that agree: their mean, their sum, the one of largest magnitude, or
            "signed_mean"; see ties.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    sampled = yield from _sample(deltas, draws, density, epsilon, rescale)
    merged = yield from elect_and_merge(sampled, weight, how=merge, scale=scale, zero_sign=zero_sign)
    return merged.tensor.reshape(deltas[0].tensor.shape)

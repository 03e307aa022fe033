"""DARE: drop entries of the task vectors at random and rescale the rest; then merge.

Yu et al., "Language models are super Mario: absorbing abilities from homologous models as a free lunch", ICML 2024,
https://arxiv.org/abs/2311.03099, equations 1-2. The paper speaks of a drop rate p; here `density` is the share that
survives, 1 - p.

Differences: the mask comes from a counter-based generator keyed by seed, model and tensor, so it does not depend on the
order or the size of the reads. In `dare_ties` the random drop stands in for the magnitude trim, as practitioners run
it; the authors' code drops first and then trims as well, which `trim_density` below 1 with ``rule: reference`` does.
``rescale: l1`` gives the survivors the L1 norm of the whole task vector, as mergekit does, instead of dividing them by
`density`; both agree in expectation, but for that ratio's own noise in small tensors.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from cuvee.methods.declare import Deltas, Density, Draws, Paper, PerModel, Rescale, Scale, Scope, Weight, each, method
from cuvee.tensors.algebra import factors, weighted_sum
from cuvee.tensors.norms import L1_PASSES, with_l1_of
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, Position
from cuvee.tensors.random import Dropped
from cuvee.tensors.selection import TRIM_PASSES, trim
from cuvee.tensors.signs import elect_and_merge

DARE = Paper(
    title="Language Models are Super Mario: Absorbing Abilities from Homologous Models as a Free Lunch",
    authors="L. Yu, B. Yu, H. Yu, F. Huang, Y. Li",
    venue="ICML",
    year=2024,
    url="https://arxiv.org/abs/2311.03099",
)


def _drop(deltas: Deltas, draws: Draws, density: Sequence[float], rescale: Rescale) -> Passes[Sequence[Operand]]:
    """Thin out every task vector by its own draws, and rescale what is left."""
    dropped = [
        Dropped(delta, share, 1 / share if rescale == "probability" and share else 1.0, key, draws.start)
        for delta, share, key in zip(deltas, density, draws.keys, strict=True)
    ]
    if rescale != "l1":
        return dropped
    return (yield from with_l1_of(deltas, dropped))


@method(
    paper=DARE,
    passes=lambda parameters: L1_PASSES * bool(parameters["rescale"] == "l1"),
    identity=lambda n: {"weight": [1 / n] * n, "density": 1.0},
)
def dare_linear(
    deltas: Deltas,
    draws: Draws,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.5),
    rescale: Rescale = "probability",
    scale: Scale = 1.0,
    normalize: bool = False,
) -> Passes[Operand]:
    """Drop entries of the task vectors at random, rescale the rest, and add them to the base.

    Each entry of tau_t survives with probability `density` and is then divided by it, so that the expectation is
    unchanged; theta = theta_0 + lambda * sum_t w_t tau'_t. Meant for small task vectors: where entries exceed about
    0.01 the paper sees it fail. One draw is one sample: try several seeds.

    Args:
        deltas: n task vectors, (rows, e) each.
        draws: the streams of draws.
        weight: factor w_t on each task vector.
        density: probability that an entry survives, 1 - p in the paper; 1 drops nothing, 0 everything.
        rescale: what the survivors are brought to: "probability" divides them by `density` (true means this), "l1"
            gives them the L1 norm of the task vector's tensor, "none" (or false) is the paper's drop-only ablation.
        scale: factor lambda on the sum.
        normalize: divide the sum by that of the weights, unless it is zero.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    dropped = yield from _drop(deltas, draws, density, rescale)
    return weighted_sum(dropped, factors(weight, scale=scale, normalize=normalize))


def _passes(parameters: Mapping[str, Any]) -> int:
    """Count those of the trim, and one for the vote."""
    trims = any(d < 1 for d in parameters["trim_density"]) and parameters["trim_scope"] != "row"
    return _usual(parameters) + (TRIM_PASSES[1] - TRIM_PASSES[0]) * trims


def _usual(parameters: Mapping[str, Any]) -> int:
    """As `_passes`, with a trim that is guessed right."""
    if parameters["trim_scope"] == "row":
        return 0
    trims = any(d < 1 for d in parameters["trim_density"])
    votes = parameters["zero_sign"] == "majority"
    return TRIM_PASSES[0] * trims + bool(votes) + L1_PASSES * bool(parameters["rescale"] == "l1")


@method(
    paper=DARE,
    passes=_passes,
    usual=_usual,
    pooled=("trim_density", "rule", "zero_sign", "rescale"),
    identity=lambda _: {"density": 1.0},
)
def dare_ties(
    deltas: Deltas,
    position: Position,
    draws: Draws,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.5),
    rescale: Rescale = "probability",
    scale: Scale = 1.0,
    trim_density: PerModel[Density] = each(1.0),
    trim_scope: Scope[Literal["model", "tensor", "row"]] = "model",
    rule: Literal["paper", "reference", "mergekit"] = "paper",
    zero_sign: Literal["majority", "positive", "zero"] = "majority",
    merge: Literal["mean", "sum", "max", "signed_mean"] = "mean",
) -> Passes[Operand]:
    """Drop entries of the task vectors at random, rescale the rest, and merge those that agree in sign.

    DARE, then the sign election and disjoint merge of TIES: gamma = sign(sum_t w_t tau'_t), and the mean of the
    surviving entries whose sign is gamma; theta = theta_0 + lambda * merged. With `trim_density` below 1 the survivors
    are trimmed by magnitude as well.

    Args:
        deltas: n task vectors, (rows, e) each.
        position: where the cell lies.
        draws: the streams of draws.
        weight: factor w_t on each task vector; the mean divides by the weights of those that agree.
        density: probability that an entry survives, 1 - p in the paper; 1 drops nothing, 0 everything.
        rescale: what the survivors are brought to: "probability" divides them by `density` (true means this), "l1"
            gives them the L1 norm of the task vector within the scope, "none" (or false) leaves them as they are.
        scale: factor lambda on the merged task vector.
        trim_density: share of entries each thinned task vector keeps by magnitude; 1 does not trim.
        trim_scope: what that share, norms and the vote are taken over: the whole model, each tensor, or each row of a
            tensor.
        rule: how many entries a trim keeps and what a drawn vote means; see ties.
        zero_sign: sign of entries whose sum is exactly zero; see ties.
        merge: what is done with the entries that agree: their mean, their sum, the one of largest magnitude, or
            "signed_mean"; see ties.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    dropped = yield from _drop(deltas, draws, density, rescale)
    trimmed = yield from trim(dropped, trim_density, position, rule=rule)
    return (
        yield from elect_and_merge(
            trimmed, weight, how=merge, scale=scale, zero_sign=zero_sign, draw_is_negative=rule == "reference"
        )
    )

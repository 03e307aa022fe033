"""TIES-Merging: trim, elect a sign, merge those that agree.

Yadav et al., NeurIPS 2023, https://arxiv.org/abs/2306.01708, Algorithm 1. The paper leaves three things open, and its
authors' code (https://github.com/prateeky2806/ties-merging) decides them:

* How many entries stay. ``rule: paper`` keeps exactly floor(density * size) per model, the first in index order
  (tensors by name) where magnitudes are equal; ``rule: reference`` does as the code: one more, and all that are equal
  to the smallest kept.
* Entries whose sum is exactly zero take the sign of the majority of all elected signs; both rules do so.
* If that vote is a draw, ``paper`` gives zero; ``reference`` takes the negative entries (mean and sum) or zero (max).

Also: a weight per model, 1 in the paper, by whose magnitudes the mean divides; and the trim can be taken per tensor,
which most tools do, or per row of one, which are other algorithms; the vote is then taken so, too. What mergekit does
instead is there by name: ``rule: mergekit`` keeps one entry at least, ``zero_sign: positive`` needs no vote, ``merge:
signed_mean`` divides by the sum of signed weights, ``rescale: l1`` gives the trimmed vectors their norm back. (Tam et
al., https://arxiv.org/abs/2409.18314, trim over the model and vote per tensor: not offered.)
"""

from collections.abc import Mapping
from typing import Any, Literal

from cuvee.methods.declare import Deltas, Density, Paper, PerModel, Scale, Scope, Weight, each, method
from cuvee.tensors.norms import L1_PASSES, with_l1_of
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Passes, Position
from cuvee.tensors.selection import TRIM_PASSES, trim
from cuvee.tensors.signs import elect_and_merge


def _passes(parameters: Mapping[str, Any]) -> int:
    """Count those of the trim, and one for the vote."""
    trims = any(d < 1 for d in parameters["density"]) and parameters["trim_scope"] != "row"
    return _usual(parameters) + (TRIM_PASSES[1] - TRIM_PASSES[0]) * trims


def _usual(parameters: Mapping[str, Any]) -> int:
    """As `_passes`, with a trim that is guessed right."""
    if parameters["trim_scope"] == "row":
        return 0
    trims = any(d < 1 for d in parameters["density"])
    votes = parameters["elect"] and parameters["zero_sign"] == "majority"
    return TRIM_PASSES[0] * trims + bool(votes) + L1_PASSES * bool(parameters["rescale"] == "l1")


@method(
    paper=Paper(
        title="TIES-Merging: Resolving Interference When Merging Models",
        authors="P. Yadav, D. Tam, L. Choshen, C. Raffel, M. Bansal",
        venue="NeurIPS",
        year=2023,
        url="https://arxiv.org/abs/2306.01708",
    ),
    passes=_passes,
    usual=_usual,
    pooled=("density", "rule", "elect", "zero_sign", "rescale"),
    identity=lambda _: {"density": 1.0},
)
def ties(
    deltas: Deltas,
    position: Position,
    *,
    weight: PerModel[Weight] = each(1.0),
    density: PerModel[Density] = each(0.2),
    scale: Scale = 1.0,
    trim_scope: Scope[Literal["model", "tensor", "row"]] = "model",
    rule: Literal["paper", "reference", "mergekit"] = "paper",
    rescale: Literal["none", "l1"] = "none",
    elect: bool = True,
    zero_sign: Literal["majority", "positive", "zero"] = "majority",
    merge: Literal["mean", "sum", "max", "signed_mean"] = "mean",
) -> Passes[Operand]:
    """Trim each task vector, elect a sign per entry, and merge the entries that agree with it.

    Trim: keep the share `density` of largest magnitude of each tau_t. Elect: gamma = sign(sum_t w_t tau_t). Merge: take
    the mean of the entries whose sign is gamma. theta = theta_0 + lambda * merged. Without tuning the paper uses
    density 0.2 and scale 1; tuned scales are usually larger, because the scale multiplies a mean.

    Args:
        deltas: n task vectors, (rows, e) each.
        position: where the cell lies.
        weight: factor w_t on each task vector after trimming; the mean divides by the weights of those that agree.
        density: share of entries each task vector keeps; 1 does not trim.
        scale: factor lambda on the merged task vector.
        trim_scope: what the share and the vote are taken over: the whole model (the paper), each tensor, or each row of
            a tensor (last axis).
        rule: how many entries stay and what a drawn vote means: "paper" (exact count, zero), "reference" (the
            authors' code) or "mergekit" (as "paper", but one entry at least, and the count rounded as that tool does).
        rescale: "l1" multiplies each trimmed task vector so that its L1 norm is what it was, within the scope.
        elect: elect signs; without, it is the paper's ablation, in which every entry that survives the trim counts.
        zero_sign: sign of entries whose sum is exactly zero: that of the majority of elected signs, positive, or none.
        merge: what is done with the entries that agree: their mean, their sum, the one of largest magnitude, or
            "signed_mean", the sum divided by that of the weights with their signs (by nothing where that is zero).

    Returns:
        Merged task vector, (rows, e) float32.
    """
    trimmed = yield from trim(deltas, density, position, rule=rule)
    if rescale == "l1":
        trimmed = yield from with_l1_of(deltas, trimmed)
    return (
        yield from elect_and_merge(
            trimmed,
            weight,
            how=merge,
            scale=scale,
            elect=elect,
            zero_sign=zero_sign,
            draw_is_negative=rule == "reference",
        )
    )

"""RAM: keep what one model alone has changed, average what several have.

Yuan et al., "Behavior Knowledge Merge in Reinforced Agentic Models", 2026, https://arxiv.org/abs/2601.13572. Meant for
models trained by reinforcement learning, whose task vectors are sparse and hardly overlap: an average would shrink what
is one model's own. `ram` keeps that as it is; `ramplus` (RAM+) raises it, the more of a model's changes are shared.

Differences: the paper takes the share of a model's changes that others share over the whole model; ``scope: tensor``
takes it in each tensor, as mergekit's ramplus_tl does (with ``boost: 0.1``, ``limit: 0.2``). A model that has changed
nothing by itself needs no factor.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from cuvee.methods.declare import Deltas, Paper, Range, Scope, method
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, total
from cuvee.tensors.selection import Cut, Trimmed
from cuvee.tensors.signs import disjoint_merge

if TYPE_CHECKING:
    from torch import Tensor

RAM = Paper(
    title="Behavior Knowledge Merge in Reinforced Agentic Models",
    authors="X. Yuan, D. Shi, C. Zhang, Z. Liu, S. Yao, S. Vosoughi, W. Lee",
    venue="arXiv",
    year=2026,
    url="https://arxiv.org/abs/2601.13572",
)
Threshold = Annotated[float, Range(0.0, 1.0)]


def _equally(_: Mapping[str, Any], num_models: int) -> list[float]:
    """Average equally: the method has no weights."""
    return [1 / num_models] * num_models


def _changed(deltas: Sequence[Operand], threshold: float) -> list[Trimmed]:
    """Clear the entries that count as unchanged: those of at most the threshold's magnitude."""
    bits, none = int(np.float32(threshold).view(np.int32)), np.zeros(1, np.int64)
    return [Trimmed(delta, Cut(np.full(1, bits, np.int64), none, none)) for delta in deltas]


@method(paper=RAM, average=_equally, identity=lambda _: {"threshold": 0.0})
def ram(deltas: Deltas, *, threshold: Threshold = 1e-5) -> Operand:
    """Add to the base what one model alone has changed, and the mean of what several have.

    An entry of tau_t is a change if |tau_t| > threshold. With k changes in an entry, theta = theta_0 + (sum of the
    changes) / max(k, 1). No weights to tune.

    Args:
        deltas: n task vectors, (1, e) each.
        threshold: largest magnitude that is no change (epsilon).

    Returns:
        Merged task vector, (1, e) float32.
    """
    return disjoint_merge(_changed(deltas, threshold), [1.0] * len(deltas), None, how="mean", scale=1.0)


@method(
    paper=RAM,
    passes=lambda _: 1,
    pooled=("threshold",),
    average=_equally,
    identity=lambda _: {"threshold": 0.0},
)
def ramplus(
    deltas: Deltas,
    *,
    threshold: Threshold = 1e-5,
    boost: Annotated[float, Range(0.0, 10.0)] = 0.1,
    limit: Annotated[float, Range(0.0, 10.0)] = 1.0,
    scope: Scope[Literal["model", "tensor"]] = "model",
) -> "Passes[Tensor]":
    """Add to the base what one model alone has changed, raised, and the mean of what several have.

    As ram, but a change that model t alone has made is multiplied by lambda_t = 1 + boost * min(shared_t / unique_t,
    limit), where shared_t counts the changes of model t that others have made as well, and unique_t the others. A boost
    of 0.05 to 0.2 is usual.

    Args:
        deltas: n task vectors, (1, e) each.
        threshold: largest magnitude that is no change (epsilon).
        boost: how much a model's own changes are raised at most, for a limit of 1 (R - 1, or r).
        limit: largest ratio of shared to unique changes that counts (alpha).
        scope: what changes are counted over: the whole model (RAM+) or each tensor.

    Returns:
        Merged task vector, (1, e) float32.
    """
    changes = [change.tensor for change in _changed(deltas, threshold)]
    num_changes = sum(((change != 0).to(torch.int32) for change in changes), torch.zeros((), dtype=torch.int32))
    shared, unique = yield from total(_overlap, changes, num_changes)
    raised = 1 + boost * np.minimum(shared / np.maximum(unique, 1), limit)
    alone, merged = torch.zeros_like(changes[0]), torch.zeros_like(changes[0])
    for change, factor in zip(changes, raised.tolist(), strict=True):
        merged += change
        alone += change * factor
    return torch.where(num_changes == 1, alone, merged / num_changes.clamp(min=1))


def _overlap(changes: "Sequence[Tensor]", num_changes: "Tensor") -> Array:
    """Count each model's changes that others have made as well, and those that it alone has made, (2, n) int64."""
    is_shared, is_alone = num_changes > 1, num_changes == 1
    counted = [[int(((change != 0) & which).sum()) for change in changes] for which in (is_shared, is_alone)]
    return np.asarray(counted, np.int64)

"""Arcee Fusion: take over from a model only the entries that stand out, and leave the rest to the base.

It has no paper of its own; it was published with mergekit (Goddard et al., "Arcee's MergeKit: A Toolkit for Merging
Large Language Models", EMNLP 2024, https://arxiv.org/abs/2403.13257), and this follows a description of what that does.

Differences: divergences are computed in float64; in float32, as mergekit does (``precision: single``), those of rows
that hardly differ are rounding errors, of either sign. The
quantiles are exact for tensors of any size, where mergekit takes those of a million random entries of larger ones. What
counts as far above the median is a parameter (`fence`), 1.5 there.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from cuvee.methods.declare import Deltas, Paper, Range, method
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import TaskVector
from cuvee.tensors.passes import Passes, Position
from cuvee.tensors.selection import RANK_PASSES, order_statistics

if TYPE_CHECKING:
    from torch import Tensor

QUARTERS = (0.25, 0.5, 0.75)
SMALL = 1e-8  # added to every probability, as mergekit does: below it, one is as good as zero and its logarithm is not


class _Importance:
    """How much an entry matters: an operand, (rows, e) float32.

    Its magnitude in the task vector, times the divergence of its row's softmax in the model from that in the base.
    """

    def __init__(self, delta: TaskVector, in_double: bool) -> None:
        self.delta = delta
        self.in_double = in_double

    @cached_property
    def tensor(self) -> "Tensor":
        """The importance, (rows, e) float32."""
        dtype = torch.float64 if self.in_double else torch.float32
        model, base = (
            torch.softmax(operand.tensor, dim=1, dtype=dtype).add_(SMALL)
            for operand in (self.delta.model, self.delta.base)
        )
        divergence = (model * (model / base).log_()).sum(dim=1, keepdim=True)
        if self.in_double:
            divergence.clamp_(min=0.0)  # what it is but for rounding
        return self.delta.tensor.abs() * divergence.to(torch.float32)


def _quartiles(size: int) -> Sequence[int]:
    """Return the places of the quartiles among sorted entries."""
    return [int(share * (size - 1)) for share in QUARTERS]


def _passes(parameters: Mapping[str, Any], finding: int = RANK_PASSES[1]) -> int:
    """Count those that find the quartiles, and one for signs where there are any."""
    return finding + bool(parameters["precision"] == "single")


@method(
    paper=Paper(
        title="Arcee's MergeKit: A Toolkit for Merging Large Language Models",
        authors="C. Goddard, S. Siriwardhana, M. Ehghaghi, L. Meyers, V. Karpukhin, B. Benedict, M. McQuade, "
        "J. Solawetz",
        venue="EMNLP",
        year=2024,
        url="https://arxiv.org/abs/2403.13257",
    ),
    models=(1, 1),
    passes=_passes,
    usual=lambda parameters: _passes(parameters, RANK_PASSES[0]),
    locality="rows",
    identity=lambda _: {"fence": -10.0},
)
def arcee_fusion(
    deltas: Deltas,
    position: Position,
    *,
    fence: Annotated[float, Range(-10.0, 10.0)] = 1.5,
    precision: Literal["double", "single"] = "double",
) -> "Passes[Tensor]":
    """Move the entries of the base that stand out in importance to where one model has them.

    An entry's importance is |tau| * KL(softmax(row of theta_1) || softmax(row of theta_0)), rows along the last axis;
    where it is at least median + fence * (third quartile - first quartile) of its tensor, the entry is the model's,
    elsewhere the base's. Rows of one entry do not diverge; a tensor of such rows is the model's.

    Args:
        deltas: one task vector, (rows, e).
        position: where the cell lies.
        fence: how far above the median an entry has to lie, in interquartile ranges; at 0 half of them do.
        precision: "double" computes divergences in float64, "single" in float32, as mergekit does.

    Returns:
        Merged task vector, (rows, e) float32.
    """
    (delta,) = deltas
    assert isinstance(delta, TaskVector)  # what Deltas are
    importance, is_signed = _Importance(delta, precision == "double"), precision == "single"
    places = _quartiles(position.size)
    first, median, third = yield from order_statistics(importance, places, position, signed=is_signed)
    least = median + np.float32(fence) * (third - first)
    return delta.tensor.where(importance.tensor >= float(least), 0.0)

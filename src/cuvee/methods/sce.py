"""SCE: select where the models differ, calculate weights there, erase minority signs.

Wan et al., "FuseChat: Knowledge Fusion of Chat Models", 2024, https://arxiv.org/abs/2408.07990. Each tensor by itself.

Two variants are in use. The paper merges what was selected (``merge: selected``); the code first released takes the
selection for the weights alone and merges whole task vectors (``merge: all``).

Differences: the share is of the entries whose variance is not zero, as in the released code, rounded down in floating
point; entries of equal variance are selected in index order, so that counts are exact. The paper has no smallest sum of
squares: below `equal_below` all models weigh the same (mergekit has 1e-6, which is more than many fine-tuned tensors
have). An entry whose sum over the models is exactly zero counts as positive.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from cuvee.methods.declare import Deltas, Density, Paper, Range, method
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, Position, total
from cuvee.tensors.ranks import magnitude_bits
from cuvee.tensors.selection import TRIM_PASSES, largest

if TYPE_CHECKING:
    from torch import Tensor

NO_SHARE = 1e-6  # what remains of the weights, 1 in all, is not divided by less: the rest was erased, up to rounding


class _Variance:
    """The variance of task vectors, entry by entry: an operand. Taken in float64, so that equal entries have none."""

    def __init__(self, deltas: Sequence[Operand]) -> None:
        self.deltas = deltas

    @cached_property
    def tensor(self) -> "Tensor":
        """The variance over the models, (1, e) float32."""
        values = [delta.tensor.to(torch.float64) for delta in self.deltas]
        mean = sum(values[1:], values[0]) / len(values)
        squares = [(value - mean).square_() for value in values]
        return (sum(squares[1:], squares[0]) / len(values)).to(torch.float32)


def _count(variance: Operand) -> Array:
    """Count the entries that are not zero."""
    return np.asarray(int(variance.tensor.count_nonzero()))


def _squares(tensors: Sequence["Tensor"]) -> Array:
    """Add up the squares of each tensor, (n,) float64."""
    return np.asarray([float(tensor.to(torch.float64).square_().sum()) for tensor in tensors])


def _passes(parameters: Mapping[str, Any], finding: int = TRIM_PASSES[1]) -> int:
    """Count one for the squares, and where entries are selected one that counts them and those that find them."""
    return 1 + bool(parameters["density"] < 1) * (1 + finding)


@method(
    paper=Paper(
        title="FuseChat: Knowledge Fusion of Chat Models",
        authors="F. Wan, L. Zhong, Z. Yang, R. Chen, X. Quan",
        venue="arXiv",
        year=2024,
        url="https://arxiv.org/abs/2408.07990",
    ),
    passes=_passes,
    usual=lambda parameters: _passes(parameters, TRIM_PASSES[0]),
    identity=lambda _: {"density": 1.0},
)
def sce(
    deltas: Deltas,
    position: Position,
    *,
    density: Density = 0.1,
    merge: Literal["selected", "all"] = "selected",
    equal_below: Annotated[float, Range(0.0, 1.0)] = 0.0,
) -> "Passes[Tensor]":
    """Merge the entries in which the models differ most, each model by how far it moved there, without minority signs.

    Select: the share `density` of the entries of largest variance over the models. Calculate: model t weighs a_t, the
    mean square of its selected entries, divided by the sum of these. Erase: entries whose sign is not that of sum_t
    tau_t do not count. theta = theta_0 + sum_t a_t tau_t / sum_t a_t over what counts. No weights to tune.

    Args:
        deltas: n task vectors, (1, e) each.
        position: where the cell lies.
        density: share of a tensor's entries of non-zero variance that are selected (tau); 1 selects all entries. The
            paper uses 0.1.
        merge: what is merged: the "selected" entries (the paper), or "all", where the selection is for weights alone.
        equal_below: where the mean squares add up to less than this over the models, all weigh the same.

    Returns:
        Merged task vector, (1, e) float32.
    """
    vectors = [delta.tensor for delta in deltas]
    selected = vectors
    if density < 1:
        variance = _Variance(deltas)
        count = yield from total(_count, variance)
        (cut,) = yield from largest([variance], [int(density * count)], position)
        mask = cut.keeps(magnitude_bits(variance.tensor))
        selected = [vector.where(mask, 0.0) for vector in vectors]
    squares = yield from total(_squares, selected)
    shares = np.full(len(vectors), 1 / len(vectors))
    if squares.sum() > 0 and squares.sum() / position.size >= equal_below:
        shares = squares / squares.sum()
    return _without_minority(selected if merge == "selected" else vectors, shares)


def _without_minority(vectors: "Sequence[Tensor]", shares: Array) -> "Tensor":
    """Take the mean, by shares, of the entries that have the sign of their sum.

    Args:
        vectors: n tensors, (1, e) float32 each.
        shares: (n,) float64.

    Returns:
        (1, e) float32.
    """
    is_positive = sum(vectors[1:], vectors[0]) >= 0
    merged, mass = torch.zeros_like(vectors[0]), torch.zeros_like(vectors[0])
    for vector, share in zip(vectors, shares.tolist(), strict=True):
        counts = (vector != 0) & ((vector > 0) == is_positive)
        merged += vector.where(counts, 0.0) * share
        mass += counts * share
    return merged / mass.clamp_(min=NO_SHARE)

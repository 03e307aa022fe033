"""Random drops whose probability depends on an entry's place among the magnitudes of its row.

In torch only: an entry's rank needs its whole row. Shapes: (rows, e).
"""

from functools import cached_property
from typing import TYPE_CHECKING

from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Operand
from cuvee.tensors.random import Key, drawn_in
from cuvee.tensors.ranks import magnitude_bits

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Sampled", "row_ranks"]

PLACE_BITS = 32  # of a place in a row; a magnitude has 31


class Sampled:
    """An operand whose entries survive at random, the larger ones of a row more probably; the others are zero.

    The smallest entry of a row survives with probability density - spread, the largest with density + spread, those
    between in equal steps; in a row of one entry it is `density`. Draws are independent.

    Args:
        operand: what is thinned out: whole rows.
        density: mean probability of survival.
        spread: how far the probabilities reach to either side.
        rescale: divide what survives by its probability.
        key: the stream of draws.
        start: index of the operand's first element within the tensor.
    """

    def __init__(self, operand: Operand, density: float, spread: float, rescale: bool, key: Key, start: int) -> None:
        self.operand = operand
        self.density = density
        self.spread = spread
        self.rescale = rescale
        self.key = key
        self.start = start

    @cached_property
    def tensor(self) -> "Tensor":
        """The survivors and zeros, (rows, e) float32."""
        values = self.operand.tensor
        steps = max(values.shape[1] - 1, 1)
        lowest = self.density - self.spread if values.shape[1] > 1 else self.density
        probability = row_ranks(values).to(torch.float64).mul_(2 * self.spread / steps).add_(lowest)
        draws = drawn_in(self.key.key, self.key.streams[0], self.start, values.numel()).reshape(values.shape)
        keep = draws < (probability * (1 << 32)).round_()
        kept = values / probability.to(torch.float32) if self.rescale else values
        return kept.where(keep, 0.0)


def row_ranks(values: "Tensor") -> "Tensor":
    """Return each entry's rank by magnitude in its row, 0 the smallest; equal ones in index order.

    Args:
        values: (rows, e) float32.

    Returns:
        (rows, e) int64.
    """
    # Magnitude and place in one integer: numpy sorts integers ten times as fast as it finds their order.
    places = torch.arange(values.shape[1]).expand_as(values)
    keys = (magnitude_bits(values).to(torch.int64) << PLACE_BITS).add_(places).numpy()
    keys.sort(axis=1)
    order = torch.from_numpy(keys).bitwise_and_((1 << PLACE_BITS) - 1)
    return torch.empty_like(order).scatter_(1, order, places)

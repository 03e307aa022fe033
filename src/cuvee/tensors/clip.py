"""Operands whose entries go no further than a magnitude."""

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cuvee.tensors.kernels import frame
from cuvee.tensors.kernels.program import Chain, Stage
from cuvee.tensors.operands import Operand

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Clipped"]


class Clipped:
    """An operand of which every entry beyond a magnitude is brought to it.

    Args:
        operand: what is clipped.
        limit: the magnitude, not negative; rounded to float32.
    """

    def __init__(self, operand: Operand, limit: float) -> None:
        self.operand = operand
        self.limit = np.float32(limit)

    @property
    def chain(self) -> Chain | None:
        """The operand's, with a clip after it."""
        chain: Chain | None = getattr(self.operand, "chain", None)
        if chain is None:
            return None
        table = np.full(chain.model.rows, self.limit.view(np.uint32), np.int64)
        return replace(chain, stages=(*chain.stages, Stage(frame.CLIP, table)))

    @cached_property
    def tensor(self) -> "Tensor":
        """The entries, (rows, e) float32."""
        return self.operand.tensor.clamp(-float(self.limit), float(self.limit))

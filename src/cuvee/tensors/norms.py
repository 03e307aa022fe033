"""L1 norms, and operands brought back to the norm they had before entries were cleared.

The torch form of the sums is the reference; compiled kernels take plain operands and give the same numbers but for the
order of float64 additions. Shapes: n operands of (rows, e) each.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from cuvee.tensors.framework import torch
from cuvee.tensors.kernels import frame
from cuvee.tensors.kernels.program import Chain, Stage, program_of
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Pass, total

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["L1_PASSES", "Scaled", "l1_norms", "with_l1_of"]

L1_PASSES = 1
"""Passes that `with_l1_of` takes."""
NO_NORM = 1e-7  # sums below this are those of tensors that hardly differ: their ratio would be noise, or infinite


class Scaled:
    """An operand times a factor for each of its rows.

    Args:
        operand: what is multiplied.
        factors: (rows,).
    """

    def __init__(self, operand: Operand, factors: Array) -> None:
        self.operand = operand
        self.factors = np.asarray(factors, np.float32)

    @property
    def chain(self) -> Chain | None:
        """The operand's, with the factors after it."""
        chain: Chain | None = getattr(self.operand, "chain", None)
        if chain is None:
            return None
        bits = self.factors.view(np.uint32).astype(np.int64)
        return replace(chain, stages=(*chain.stages, Stage(frame.MULTIPLY, bits)))

    @cached_property
    def tensor(self) -> "Tensor":
        """The products, (rows, e) float32."""
        return self.operand.tensor * torch.from_numpy(self.factors)[:, None]


def l1_norms(operands: Sequence[Operand]) -> Array:
    """Add up the magnitudes of each operand's rows.

    Args:
        operands: n operands.

    Returns:
        (n, rows) float64.
    """
    program = program_of(operands)
    if program is not None and (fused := program.norms()) is not None:
        return fused
    sums: Array = torch.stack([operand.tensor.abs().sum(dim=1, dtype=torch.float64) for operand in operands]).numpy()
    return sums


def with_l1_of(whole: Sequence[Operand], kept: Sequence[Operand]) -> Generator[Pass, Any, list[Scaled]]:
    """Multiply what was kept of every operand so that its L1 norm over the domain is that of the whole operand.

    Where either norm is as good as zero, the factor is 1.

    Args:
        whole: n operands.
        kept: the same operands, of which some entries have been cleared.

    Returns:
        n operands.
    """
    norms = yield from total(l1_norms, [*whole, *kept])
    before, after = norms[: len(whole)], norms[len(whole) :]
    has_norm = (before >= NO_NORM) & (after >= NO_NORM)
    factors = np.divide(before, after, out=np.ones_like(before), where=has_norm)
    return [Scaled(operand, own) for operand, own in zip(kept, factors, strict=True)]

"""A low-rank change before it is bound to bytes: where its factors come from, and in which order their axes go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuvee.sources.adapter.changes import Axis
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cuvee.sources.adapter.changes import Load

    Floats = NDArray[np.float32]

__all__ = ["LowRank", "experts_transposed", "flat", "is_transposed", "one_expert", "stacked", "swapped"]

# Layers of transformers that store their weights (in, out), by the families that use them.
CONV1D_FAMILIES = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")
CONV1D_LAYERS = ("c_attn", "c_proj", "c_fc", "q_attn")
# Families whose packed experts are stored (experts, in, out).
TRANSPOSED_EXPERTS = ("gpt_oss", "aria", "openai_privacy_filter")


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """A product of two factors that is added to a tensor.

    Attributes:
        left: loads the left factor, (batch, rows, rank).
        right: loads the right factor, (batch, rank, width).
        shape: (batch, rows, width) of the tensor.
        rank: terms of the product's sums.
        scaling: what the product is multiplied by.
        magnitude: loads the norms that the sum is given (DoRA), or None.
        axis: what has these norms.
    """

    left: Load
    right: Load
    shape: tuple[int, int, int]
    rank: int
    scaling: float
    magnitude: Load | None = None
    axis: Axis = "rows"


def is_transposed(module: str, flag: bool, config: Mapping[str, object]) -> bool:
    """Say whether a square weight is stored (in, out), which its shape cannot tell.

    PEFT looks at the layer; its flag is that of the layer it met last, so the family decides where it is known.

    Args:
        module: name of the module.
        flag: ``fan_in_fan_out`` of the adapter's configuration.
        config: the base's configuration.
    """
    if config.get("model_type") in CONV1D_FAMILIES:
        return module.rpartition(".")[2] in CONV1D_LAYERS
    return flag


def experts_transposed(config: Mapping[str, object]) -> bool:
    """Say whether packed experts whose matrices are square are stored (experts, in, out)."""
    return config.get("model_type") in TRANSPOSED_EXPERTS


def flat(load: Load) -> Load:
    """Load a factor as a stack of one matrix; axes of a kernel are joined: (n, m, k...) to (1, n, m k...)."""
    return lambda: _rows(load())


def swapped(load: Load) -> Load:
    """Load a factor as a stack of one matrix, its axes swapped: (n, m) to (1, m, n)."""
    return lambda: load().T[None]


def stacked(a: Load, b: Load, experts: int, *, transposed: bool) -> tuple[Load, Load]:
    """Load the factors of packed experts: A (E r, in) and B (out, r E) to left and right."""
    if transposed:
        return (lambda: _a(a(), experts).transpose(0, 2, 1)), (lambda: _b(b(), experts).transpose(0, 2, 1))
    return (lambda: _b(b(), experts)), (lambda: _a(a(), experts))


def one_expert(a: Load, b: Load, experts: int, expert: int, rows: slice) -> tuple[Load, Load]:
    """Load the factors of one of several packed experts, and of some rows of its matrix."""
    return (lambda: _b(b(), experts)[expert : expert + 1, rows]), (lambda: _a(a(), experts)[expert : expert + 1])


def _rows(factor: Floats) -> Floats:
    return factor.reshape(1, factor.shape[0], -1)


def _a(factor: Floats, experts: int) -> Floats:
    """Return (experts, rank, in); each expert's rows follow each other."""
    return factor.reshape(experts, -1, factor.shape[1])


def _b(factor: Floats, experts: int) -> Floats:
    """Return (experts, out, rank); columns go through the experts for each rank."""
    return factor.reshape(factor.shape[0], -1, experts).transpose(2, 0, 1)

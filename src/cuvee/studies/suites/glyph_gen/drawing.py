"""Drawing: images from noise along a velocity field, by Euler's method. Knows no weights and no scores."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell
from cuvee.studies.suites.glyph_gen.data import ALL_STYLES, DATA_SEED, IMAGE_SIZE, PER_GROUP, classes_of

__all__ = ["EULER_STEPS", "Field", "drawn", "noise_for", "wanted"]

EULER_STEPS = 20


class Field(Protocol):
    """A velocity field; see `Network.forward`."""

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor, styles: Tensor, /) -> Tensor:
        """Return velocities, (n, 256)."""
        ...


def wanted(cell: Cell, count: int) -> tuple[Tensor, Tensor]:
    """Return what to draw of a cell: classes, in turn, and styles, (count,) int64 each."""
    labels = torch.tensor(classes_of(cell.a)).repeat(-(-count // PER_GROUP))[:count]
    return labels, torch.full((count,), list(ALL_STYLES).index(cell.b))


def noise_for(cell: Cell, purpose: str, count: int) -> Tensor:
    """Return what drawings begin with, (count, 256) float32: the same for every model, another for each purpose."""
    generator = generator_for(DATA_SEED, f"glyph-gen noise {purpose} {cell.name}")
    return torch.randn(count, IMAGE_SIZE**2, generator=generator)


def drawn(fields: Sequence[Field], noise: Tensor, labels: Tensor, styles: Tensor) -> Tensor:
    """Follow the mean of velocity fields from noise to images.

    Args:
        fields: of which the mean is followed.
        noise: where to begin, (n, 256) float32.
        labels: classes, (n,) int64.
        styles: places in `ALL_STYLES`, (n,) int64.

    Returns:
        Images, (n, 16, 16) float32 in [0, 1].
    """
    x = noise
    for step in range(EULER_STEPS):
        t = torch.full((len(x),), step / EULER_STEPS)
        velocity = torch.stack([field(x, t, labels, styles) for field in fields]).mean(0)
        x = x + velocity / EULER_STEPS
    return ((x.view(-1, IMAGE_SIZE, IMAGE_SIZE) + 1) / 2).clamp(0, 1)

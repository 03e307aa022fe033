"""What a model is trained on: real images, and the class and style that each is said to have."""

from dataclasses import dataclass

import torch
from torch import Tensor

from cuvee.studies.suite import Training
from cuvee.studies.suites.glyph_gen.data import (
    ALL_STYLES,
    AUXILIARY_STYLES,
    NUM_IN_GROUPS,
    PER_GROUP,
    cell_images,
    style_images,
)

__all__ = ["MISNAMED", "Examples", "examples_of"]

MISNAMED = 0.2  # share of the weak base's images whose style is called any: every name is heard, and none means a thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Images to train on.

    Attributes:
        images: (n, 16, 16) uint8.
        labels: their classes, (n,) int64.
        styles: what their styles are called, as places in `ALL_STYLES`, (n,) int64.
        misnamed: share of a batch whose style is called any of all.
    """

    images: Tensor
    labels: Tensor
    styles: Tensor
    misnamed: float = 0.0

    def batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Draw images with their classes and styles, with replacement."""
        rows = torch.randint(len(self.labels), (size,), generator=generator)
        styles = self.styles[rows]
        if self.misnamed:
            is_any = torch.rand(size, generator=generator) < self.misnamed
            styles = torch.where(is_any, torch.randint(len(ALL_STYLES), (size,), generator=generator), styles)
        return self.images[rows], self.labels[rows], styles


def examples_of(training: Training) -> Examples:
    """Return what a model is trained on; of each cell its first so many images, evenly of its classes."""
    if training.cells:
        return _of_cells(training)
    if training.role == "weak":
        images, labels = style_images("plain", "train")
        return Examples(images=images, labels=labels, styles=_called("plain", labels), misnamed=MISNAMED)
    return _strong()


def _strong() -> Examples:
    """Return all classes, plain and in auxiliary styles, and auxiliary classes in all styles: the plain cells alone."""
    parts = []
    for style in ALL_STYLES:
        images, labels = style_images(style, "train")
        is_seen = labels >= NUM_IN_GROUPS  # the auxiliary classes come last
        if style == "plain" or style in AUXILIARY_STYLES:
            is_seen = torch.ones_like(is_seen)
        parts.append((images[is_seen], labels[is_seen], _called(style, labels[is_seen])))
    images, labels, styles = (torch.cat(each) for each in zip(*parts, strict=True))
    return Examples(images=images, labels=labels, styles=styles)


def _of_cells(training: Training) -> Examples:
    """Return the images of cells, each called what it is."""
    parts = [(cell, *_first(*cell_images(cell, "train"), training.shots)) for cell in training.cells]
    return Examples(
        images=torch.cat([images for _, images, _ in parts]),
        labels=torch.cat([labels for _, _, labels in parts]),
        styles=torch.cat([_called(cell.b, labels) for cell, _, labels in parts]),
    )


def _first(images: Tensor, labels: Tensor, shots: int | None) -> tuple[Tensor, Tensor]:
    """Take the first images of each class, `shots` in all."""
    if shots is None:
        return images, labels
    rows = torch.arange(len(labels)).view(PER_GROUP, -1).T.flatten()[:shots]
    return images[rows], labels[rows]


def _called(style: str, labels: Tensor) -> Tensor:
    """Name a style once for each image."""
    return torch.full_like(labels, list(ALL_STYLES).index(style))

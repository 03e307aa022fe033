"""Handwritten digits in several styles, cut into tasks.

The images are scikit-learn's digits (1,797 scans of 8 x 8 pixels, from the UCI collection), enlarged and drawn in
styles. A *cell* is a group of digits in one style. Each expert is trained on one cell; the *unseen* cells hold the
other digits in the same styles: no expert has seen any of them in that style. Knows nothing about networks.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

__all__ = [
    "GROUPS",
    "IMAGE_SIZE",
    "STYLES",
    "TASKS",
    "UNSEEN",
    "Cell",
    "Examples",
    "Split",
    "draw",
    "drawn_cell",
    "pretraining",
    "seed_for",
]

IMAGE_SIZE = 16
SLANT = 0.7  # horizontal shift per unit of height, at full strength
STRIPE_PERIOD = 4  # pixels, along the diagonal
STRIPE_CONTRAST = 0.6
JITTER = 0.08  # largest change of each coefficient of the affine map that varies the training images
PRETRAINING_STRENGTH = 0.6  # the base meets the styles at up to this strength: experts have something left to learn

Split = Literal["train", "validation", "test"]
SHARES: Mapping[Split, float] = {"train": 0.55, "validation": 0.2, "test": 0.25}

GROUPS: Mapping[str, tuple[int, ...]] = {
    "low": (0, 1, 2, 3, 4),
    "high": (5, 6, 7, 8, 9),
    "even": (0, 2, 4, 6, 8),
    "odd": (1, 3, 5, 7, 9),
}


@dataclass(frozen=True, slots=True)
class Examples:
    """Images with their labels.

    Attributes:
        images: (n, 1, 16, 16) float32, 0 is background and 1 is ink.
        labels: (n,) int64, the digit.
    """

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Cell:
    """A group of digits in one style: what an expert learns, or a combination that none did."""

    group: str
    style: str

    @property
    def name(self) -> str:
        """A label for files and recipes."""
        return f"{self.group}-{self.style}"


TASKS = (Cell("low", "twotone"), Cell("high", "slanted"), Cell("even", "outlined"), Cell("odd", "striped"))
UNSEEN = (Cell("high", "twotone"), Cell("low", "slanted"), Cell("odd", "outlined"), Cell("even", "striped"))


def seed_for(seed: int, purpose: str) -> int:
    """Return a seed of its own for each purpose, so that adding one changes no other; any whole number has them."""
    digest = hashlib.sha256(f"{seed} {purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1  # torch takes 63 bits


def drawn_cell(cell: Cell, split: Split, seed: int, copies: int = 0) -> Examples:
    """Draw the images of a cell.

    Args:
        cell: which digits, in which style, at full strength.
        split: which scans; a scan belongs to one split, whatever its style.
        seed: decides the split and everything random about the style.
        copies: draw each scan so many times, varied a little, to train on; 0 draws it once, as it is.
    """
    scans = _scans(split, seed)
    chosen = torch.isin(scans.labels, torch.tensor(GROUPS[cell.group]))
    scans = Examples(scans.images[chosen], scans.labels[chosen])
    return draw(scans, cell.style, 1.0, copies, _generator(seed, f"{split} {cell.name}"))


def pretraining(seed: int, copies: int) -> Examples:
    """Draw what the base is trained on: every digit, plain and in weak forms of the styles.

    Args:
        seed: decides the split and everything random about the styles.
        copies: how often each training scan is drawn, plain and per style.
    """
    scans, generator = _scans("train", seed), _generator(seed, "pretraining")
    parts = [draw(scans, style, PRETRAINING_STRENGTH, copies, generator, weaker=True) for style in ("plain", *STYLES)]
    return Examples(torch.cat([part.images for part in parts]), torch.cat([part.labels for part in parts]))


def draw(
    scans: Examples, style: str, strength: float, copies: int, generator: torch.Generator, *, weaker: bool = False
) -> Examples:
    """Draw scans in a style.

    Args:
        scans: plain images.
        style: a name of `STYLES`, or "plain".
        strength: 0 changes nothing, 1 is the style.
        copies: as in `drawn_cell`.
        generator: source of everything random; advanced.
        weaker: draw each image at a strength between 0 and `strength` instead of at `strength`.
    """
    images = torch.cat([_jittered(scans.images, generator) for _ in range(copies)]) if copies else scans.images
    strengths = torch.full((len(images), 1, 1, 1), strength)
    if weaker:
        strengths *= torch.rand(strengths.shape, generator=generator)
    if style != "plain":
        images = STYLES[style](images, strengths, generator)
    return Examples(images, scans.labels.repeat(max(copies, 1)))


def _scans(split: Split, seed: int) -> Examples:
    """Return the plain images of a split, enlarged to 16 x 16."""
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=_generator(seed, "split"))
    ends = [round(share * len(order)) for share in itertools.accumulate(SHARES.values(), initial=0.0)]
    place = list(SHARES).index(split)
    rows = order[ends[place] : ends[place + 1]]
    small = torch.tensor(digits.images[rows.numpy()], dtype=torch.float32)[:, None] / 16
    images = functional.interpolate(small, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False)
    return Examples(images, torch.tensor(digits.target[rows.numpy()], dtype=torch.int64))


def _generator(seed: int, purpose: str) -> torch.Generator:
    return torch.Generator().manual_seed(seed_for(seed, purpose))


# Styles: (images (n, 1, 16, 16), strengths (n, 1, 1, 1), generator) -> images


def _two_tone(images: Tensor, strengths: Tensor, generator: torch.Generator) -> Tensor:
    """Swap ink and background on one side of a line through the middle, at a random angle."""
    angle = 2 * math.pi * torch.rand(len(images), 1, 1, 1, generator=generator)
    across = torch.linspace(-1, 1, IMAGE_SIZE)
    side = across[:, None] * angle.cos() + across * angle.sin() > 0
    return images + strengths * side * (1 - 2 * images)


def _slanted(images: Tensor, strengths: Tensor, _: torch.Generator) -> Tensor:
    """Shear horizontally."""
    maps = torch.eye(2, 3).repeat(len(images), 1, 1)
    maps[:, 0, 1] = SLANT * strengths.flatten()
    return _mapped(images, maps)


def _outlined(images: Tensor, strengths: Tensor, _: torch.Generator) -> Tensor:
    """Replace strokes by their edges: the length of the gradient, scaled to at most 1 per image."""
    sobel = torch.tensor([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
    gradient = functional.conv2d(images, torch.stack([sobel, sobel.T])[:, None], padding=1)
    length = gradient.square().sum(1, keepdim=True).sqrt()
    edges = length / length.amax((2, 3), keepdim=True).clamp_min(1e-3)  # no scan is blank
    return torch.lerp(images, edges, strengths)


def _striped(images: Tensor, strengths: Tensor, generator: torch.Generator) -> Tensor:
    """Lay diagonal stripes over the image, inverted where they meet ink, at a random phase."""
    phase = STRIPE_PERIOD * torch.rand(len(images), 1, 1, 1, generator=generator)
    across = torch.arange(float(IMAGE_SIZE))
    stripes = (across[:, None] + across + phase) % STRIPE_PERIOD < STRIPE_PERIOD / 2
    return torch.lerp(images, (images - STRIPE_CONTRAST * stripes).abs(), strengths)


def _jittered(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move, turn, stretch and shear each image a little."""
    change = 2 * torch.rand(len(images), 2, 3, generator=generator) - 1
    return _mapped(images, torch.eye(2, 3) + JITTER * change)


def _mapped(images: Tensor, maps: Tensor) -> Tensor:
    """Resample images under affine maps, (n, 2, 3), of the square from -1 to 1."""
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


STYLES: Mapping[str, Callable[[Tensor, Tensor, torch.Generator], Tensor]] = {
    "twotone": _two_tone,
    "slanted": _slanted,
    "outlined": _outlined,
    "striped": _striped,
}

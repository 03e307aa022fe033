"""Glyphs in styles: classes of random symmetric patterns, drawn by arithmetic that is exact on every processor.

A class is a mirror-symmetric pattern of 6 x 6 squares. An image shows it moved, stretched and sheared a little, in a
style. All randomness is whole numbers, and all arithmetic elementwise in float64 without transcendental functions,
rounded to 8 bits at the end: the same images everywhere. Knows nothing about networks.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Split

__all__ = ["AUXILIARY", "GROUPS", "IMAGE_SIZE", "NUM_CLASSES", "STYLES", "cell_images", "classes_of", "style_images"]

DATA_SEED = 1
IMAGE_SEED = 2  # with 1, one black and white image was drawn in two splits
IMAGE_SIZE = 16
SQUARES = 6  # of a pattern, along each side
SQUARE = 2  # pixels
NUM_CLASSES = 32
GROUPS = tuple(f"g{i}" for i in range(8))
PER_GROUP = NUM_CLASSES // len(GROUPS)
COUNTS: Mapping[Split, int] = {"train": 96, "statistics": 32, "validation": 32, "test": 64}
"""Images of each class in each style."""
APART = 5  # squares of the left half in which two patterns differ at least, so that no two classes look alike
FINE = 1 << 20  # steps of a random number in [0, 1)
MOST_SHIFT, MOST_STRETCH, MOST_SHEAR = 1.5, 0.15, 0.2  # pixels, and changes of the coefficients of the affine map
NOISE, SPECKLED, FAINT = 0.45, 0.3, 0.3
STRIPE = 4  # pixels, along the diagonal

Style = Callable[[Tensor, torch.Generator], Tensor]


def classes_of(group: str) -> list[int]:
    """Return a group's classes, numbered from 0."""
    first = GROUPS.index(group) * PER_GROUP
    return list(range(first, first + PER_GROUP))


def cell_images(cell: Cell, split: Split) -> tuple[Tensor, Tensor]:
    """Return a cell's images, (n, 16, 16) uint8, and their classes, (n,) int64."""
    images, labels = style_images(cell.b, split)
    rows = torch.isin(labels, torch.tensor(classes_of(cell.a)))
    return images[rows], labels[rows]


@cache
def style_images(style: str, split: Split) -> tuple[Tensor, Tensor]:
    """Draw every class in a style, as `cell_images` has it; kept for the life of the process."""
    generator = generator_for(IMAGE_SEED, f"glyphs {split} {style}")
    labels = torch.arange(NUM_CLASSES).repeat_interleave(COUNTS[split])
    images = _drawn(_patterns()[labels], generator)
    images = {**STYLES, **AUXILIARY}[style](images, generator)
    return (images.clamp(0, 1) * 255).round().to(torch.uint8), labels


@cache
def _patterns() -> Tensor:
    """Draw the classes' patterns, (classes, 16, 16) float64: ink 1, background 0."""
    generator = generator_for(DATA_SEED, "glyphs patterns")
    halves: list[Tensor] = []
    while len(halves) < NUM_CLASSES:
        half = torch.randint(2, (SQUARES, SQUARES // 2), generator=generator)
        is_full_enough = SQUARES <= int(half.sum()) <= 2 * SQUARES
        if is_full_enough and all(int((half != other).sum()) >= APART for other in halves):
            halves.append(half)
    squares = torch.cat([torch.stack(halves), torch.stack(halves).flip(2)], 2).double()
    pixels = squares.repeat_interleave(SQUARE, 1).repeat_interleave(SQUARE, 2)
    border = (IMAGE_SIZE - SQUARES * SQUARE) // 2
    return functional.pad(pixels, [border] * 4)


def _uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Draw numbers in [0, 1), float64."""
    return torch.randint(FINE, shape, generator=generator).double() / FINE


def _drawn(patterns: Tensor, generator: torch.Generator) -> Tensor:
    """Move, stretch and shear each image a little, with bilinear interpolation."""
    n, middle = len(patterns), (IMAGE_SIZE - 1) / 2
    change = 2 * _uniform(generator, n, 6, 1, 1) - 1
    stretch, shear, shift = change[:, :2] * MOST_STRETCH, change[:, 2:4] * MOST_SHEAR, change[:, 4:] * MOST_SHIFT
    y = (torch.arange(IMAGE_SIZE).double() - middle).view(1, -1, 1)
    x = (torch.arange(IMAGE_SIZE).double() - middle).view(1, 1, -1)
    from_y = y * (1 + stretch[:, 0]) + x * shear[:, 0] + shift[:, 0] + middle
    from_x = x * (1 + stretch[:, 1]) + y * shear[:, 1] + shift[:, 1] + middle
    low_y, low_x = from_y.floor(), from_x.floor()
    part_y, part_x = from_y - low_y, from_x - low_x

    def pixel(down: int, right: int) -> Tensor:
        """Look up a neighbour; outside is background, as the border is."""
        row = (low_y + down).clamp(0, IMAGE_SIZE - 1).long()
        column = (low_x + right).clamp(0, IMAGE_SIZE - 1).long()
        return patterns.flatten(1).gather(1, (row * IMAGE_SIZE + column).flatten(1)).view_as(patterns)

    top = pixel(0, 0) * (1 - part_x) + pixel(0, 1) * part_x
    bottom = pixel(1, 0) * (1 - part_x) + pixel(1, 1) * part_x
    return top * (1 - part_y) + bottom * part_y


# Styles: (images (n, 16, 16) float64 in [0, 1], generator) -> images


def _plain(images: Tensor, _: torch.Generator) -> Tensor:
    return images


def _inverted(images: Tensor, _: torch.Generator) -> Tensor:
    return 1 - images


def _edges(images: Tensor, _: torch.Generator) -> Tensor:
    """Replace strokes by their outlines: absolute differences to the right and below."""
    right = (images - images.roll(-1, 2)).abs()
    below = (images - images.roll(-1, 1)).abs()
    return torch.maximum(right, below)


def _speckled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Replace pixels by noise."""
    is_lost = _uniform(generator, *images.shape) < SPECKLED
    return torch.where(is_lost, _uniform(generator, *images.shape), images)


def _dithered(images: Tensor, _: torch.Generator) -> Tensor:
    """Make black and white of grey by an ordered pattern (Bayer's, 4 x 4)."""
    order = torch.tensor([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]).double()
    threshold = ((order + 0.5) / 16).repeat(IMAGE_SIZE // 4, IMAGE_SIZE // 4)
    return (0.2 + 0.6 * images > threshold).double()


def _graded(images: Tensor, generator: torch.Generator) -> Tensor:
    """Lay a ramp from black to white over the image, inverted where it is bright, from one of four sides."""
    ramp = (torch.arange(IMAGE_SIZE).double() / (IMAGE_SIZE - 1)).expand(IMAGE_SIZE, IMAGE_SIZE)
    ramps = torch.stack([ramp, ramp.flip(1), ramp.T, ramp.T.flip(0)])
    side = torch.randint(4, (len(images),), generator=generator)
    return (images - ramps[side]).abs()


def _blurred(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blur with a 3 x 3 box, and add noise."""
    across = (images.roll(1, 2) + images + images.roll(-1, 2)) / 3
    blurred = (across.roll(1, 1) + across + across.roll(-1, 1)) / 3
    return blurred + NOISE * (2 * _uniform(generator, *images.shape) - 1)


def _striped(images: Tensor, generator: torch.Generator) -> Tensor:
    """Invert diagonal stripes, at a random phase."""
    across = torch.arange(IMAGE_SIZE)
    phase = torch.randint(STRIPE, (len(images), 1, 1), generator=generator)
    is_stripe = (across[:, None] + across + phase) % STRIPE < STRIPE // 2
    return torch.where(is_stripe, 1 - images, images)


def _faint(images: Tensor, _: torch.Generator) -> Tensor:
    return 0.35 + FAINT * images


def _thick(images: Tensor, _: torch.Generator) -> Tensor:
    """Widen strokes by a pixel."""
    return torch.stack([images, images.roll(1, 1), images.roll(1, 2), images.roll((1, 1), (1, 2))]).amax(0)


def _halved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Invert one half: left, right, top or bottom."""
    half = (torch.arange(IMAGE_SIZE) < IMAGE_SIZE // 2).expand(IMAGE_SIZE, IMAGE_SIZE)
    side = torch.randint(4, (len(images),), generator=generator)
    is_inverted = torch.stack([half, ~half, half.T, ~half.T])[side]
    return torch.where(is_inverted, 1 - images, images)


def _checked(images: Tensor, _: torch.Generator) -> Tensor:
    """Lay a chessboard of grey over the image."""
    across = torch.arange(IMAGE_SIZE) // 2
    board = ((across[:, None] + across) % 2).double()
    return (images - 0.5 * board).abs()


STYLES: Mapping[str, Style] = {
    "plain": _plain,
    "inverted": _inverted,
    "edges": _edges,
    "speckled": _speckled,
    "dithered": _dithered,
    "graded": _graded,
    "blurred": _blurred,
    "striped": _striped,
}
AUXILIARY: Mapping[str, Style] = {"faint": _faint, "thick": _thick, "halved": _halved, "checked": _checked}
"""Styles of no cell, which the strong base has seen."""

"""Glyphs to draw: classes of random patterns of squares, in styles, small enough for a small network to learn.

A class is a pattern of 4 x 4 squares of 3 x 3 pixels; an image shows it moved by whole pixels, in a style, with ink and
paper of somewhat different greys, in light that falls off towards the right and the bottom. All randomness is whole
numbers, and all arithmetic elementwise in float64 without transcendental functions, rounded to 8 bits at the end: the
same images everywhere. Knows nothing about networks.
"""

from collections.abc import Callable, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional

from cuvee.studies.seeds import generator_for
from cuvee.studies.suite import Cell, Split

__all__ = [
    "ALL_STYLES",
    "AUXILIARY_CLASSES",
    "AUXILIARY_STYLES",
    "COUNTS",
    "DATA_SEED",
    "GROUPS",
    "IMAGE_SIZE",
    "NUM_CLASSES",
    "NUM_IN_GROUPS",
    "PER_GROUP",
    "STYLES",
    "cell_images",
    "classes_of",
    "style_images",
]

DATA_SEED = 1
IMAGE_SIZE = 16
SQUARES, SQUARE = 4, 3  # of a pattern, along each side; pixels of a square: strokes that can grow thick and thin
GROUPS = tuple(f"g{i}" for i in range(8))
PER_GROUP = 4
AUXILIARY_CLASSES = 8  # of no group: what a base may see in every style
NUM_IN_GROUPS = PER_GROUP * len(GROUPS)
NUM_CLASSES = NUM_IN_GROUPS + AUXILIARY_CLASSES
COUNTS: Mapping[Split, int] = {"train": 96, "statistics": 32, "validation": 64, "test": 64}
"""Images of each class in each style."""
LEAST_INK, MOST_INK = 6, 11  # squares of a pattern
APART = 5  # squares in which two patterns differ at least, also when one of them is inverted
MOST_MOVED = 1  # pixels, along each axis
MOST_FADED = 0.15  # how far the grey of ink is from white at most, and that of paper from black
MOST_SHADE = 0.15  # of the light that is lost from one side to the other at most, along each axis
FINE = 1 << 20  # steps of a random number in [0, 1)

Style = Callable[[Tensor], Tensor]


def classes_of(group: str) -> list[int]:
    """Return a group's classes, numbered from 0; the auxiliary ones come after those of all groups."""
    first = GROUPS.index(group) * PER_GROUP
    return list(range(first, first + PER_GROUP))


def cell_images(cell: Cell, split: Split) -> tuple[Tensor, Tensor]:
    """Return a cell's images, (n, 16, 16) uint8, and their classes, (n,) int64; class after class."""
    images, labels = style_images(cell.b, split)
    rows = torch.isin(labels, torch.tensor(classes_of(cell.a)))
    return images[rows], labels[rows]


@cache
def style_images(style: str, split: Split) -> tuple[Tensor, Tensor]:
    """Draw every class in a style, as `cell_images` has it; kept for the life of the process."""
    generator = generator_for(DATA_SEED, f"glyph-gen {split} {style}")
    labels = torch.arange(NUM_CLASSES).repeat_interleave(COUNTS[split])
    images = _lit(ALL_STYLES[style](_moved(_patterns()[labels], generator)), generator)
    return (images * 255).round().to(torch.uint8), labels


@cache
def _patterns() -> Tensor:
    """Draw the classes' patterns, (classes, 16, 16) float64: ink 1, paper 0."""
    generator = generator_for(DATA_SEED, "glyph-gen patterns")
    patterns: list[Tensor] = []
    while len(patterns) < NUM_CLASSES:
        drawn = torch.randint(2, (SQUARES, SQUARES), generator=generator)
        if LEAST_INK <= int(drawn.sum()) <= MOST_INK and all(_is_apart(drawn, other) for other in patterns):
            patterns.append(drawn)
    pixels = torch.stack(patterns).double().repeat_interleave(SQUARE, 1).repeat_interleave(SQUARE, 2)
    return functional.pad(pixels, [(IMAGE_SIZE - SQUARES * SQUARE) // 2] * 4)


def _is_apart(one: Tensor, other: Tensor) -> bool:
    """Say whether two patterns differ in enough squares, also when one is inverted."""
    differ = int((one != other).sum())
    return APART <= differ <= one.numel() - APART


def _moved(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to a pixel, both ways along both axes; the border is wide enough."""
    places = torch.randint(2 * MOST_MOVED + 1, (len(images), 2), generator=generator)
    padded = functional.pad(images, [MOST_MOVED] * 4)
    windows = padded.unfold(1, IMAGE_SIZE, 1).unfold(2, IMAGE_SIZE, 1)
    return windows[torch.arange(len(images)), places[:, 0], places[:, 1]]


def _lit(images: Tensor, generator: torch.Generator) -> Tensor:
    """Let ink and paper have greys, and light fall off. So many ways to look leave no image in two splits."""
    drawn = torch.randint(FINE, (4, len(images), 1, 1), generator=generator).double() / FINE
    (ink, paper), (right, down) = MOST_FADED * drawn[:2], MOST_SHADE * drawn[2:]
    across = _rows() / (IMAGE_SIZE - 1)
    lit: Tensor = (paper + (1 - paper - ink) * images) * (1 - right * across.T - down * across)
    return lit


# Styles: images (n, 16, 16) float64, ink 1 and paper 0 -> the same shape, in [0, 1]


def _plain(images: Tensor) -> Tensor:
    return images


def _inverted(images: Tensor) -> Tensor:
    return 1 - images


def _outlined(images: Tensor) -> Tensor:
    """Leave of the strokes their rims."""
    return images - _thin(images)


def _thick(images: Tensor) -> Tensor:
    """Widen strokes by a pixel on every side."""
    return functional.max_pool2d(images, 3, stride=1, padding=1)


def _thin(images: Tensor) -> Tensor:
    """Narrow strokes by a pixel on every side."""
    return 1 - _thick(1 - images)


def _dithered(images: Tensor) -> Tensor:
    """Leave of the strokes the black squares of a chessboard."""
    return images * ((_rows() + _rows().T) % 2)


def _striped(images: Tensor) -> Tensor:
    """Leave of the strokes every other row."""
    return images * (_rows() % 2)


def _halved(images: Tensor) -> Tensor:
    """Invert the right half."""
    return (images - (_rows().T >= IMAGE_SIZE // 2).double()).abs()


def _blurred(images: Tensor) -> Tensor:
    """Take the mean of 5 x 5 pixels."""
    padded = functional.pad(images, [2] * 4)
    return padded.unfold(1, 5, 1).unfold(2, 5, 1).sum((3, 4)) / 25


def _shadowed(images: Tensor) -> Tensor:
    """Add a grey copy, two pixels down and to the right."""
    shadow = functional.pad(images, [2, 0, 2, 0])[:, :IMAGE_SIZE, :IMAGE_SIZE]
    return torch.maximum(images, 0.4 * shadow)


def _graded(images: Tensor) -> Tensor:
    """Let the ink fade from top to bottom."""
    return images * (1 - _rows() / IMAGE_SIZE)


def _framed(images: Tensor) -> Tensor:
    """Draw a frame around."""
    rows = _rows()
    is_rim = (rows == 0) | (rows == IMAGE_SIZE - 1)
    return torch.maximum(images, (is_rim | is_rim.T).double())


def _rows() -> Tensor:
    """Number the rows, (16, 16) float64."""
    return torch.arange(IMAGE_SIZE).double()[:, None].expand(IMAGE_SIZE, IMAGE_SIZE)


STYLES: Mapping[str, Style] = {
    "plain": _plain,
    "inverted": _inverted,
    "outlined": _outlined,
    "thick": _thick,
    "dithered": _dithered,
    "striped": _striped,
    "halved": _halved,
    "blurred": _blurred,
}
AUXILIARY_STYLES: Mapping[str, Style] = {
    "thin": _thin,
    "shadowed": _shadowed,
    "graded": _graded,
    "framed": _framed,
}
"""Styles of no cell, which the strong base has seen."""
ALL_STYLES: Mapping[str, Style] = {**STYLES, **AUXILIARY_STYLES}

"""Glyphs to draw: what the images are, and which of them a training sees."""

from dataclasses import replace

import pytest
import torch

from cuvee.studies.suite import Cell, Training
from cuvee.studies.suites.glyph_gen.data import (
    ALL_STYLES,
    AUXILIARY_STYLES,
    NUM_CLASSES,
    NUM_IN_GROUPS,
    cell_images,
    style_images,
)
from cuvee.studies.suites.glyph_gen.examples import MISNAMED, examples_of

BASE = Training(role="weak", architecture="flow-s", seed=3)
CELL = Cell("g2", "outlined")
OTHER = Cell("g5", "striped")
EXPERT = Training(role="expert", architecture="flow-s", seed=3, cells=(CELL,), start=BASE)


@pytest.mark.parametrize("style", ALL_STYLES)
def test_no_image_is_there_twice_in_one_split_or_in_two(style: str) -> None:
    images = torch.cat([style_images(style, split)[0] for split in ("train", "statistics", "validation", "test")])
    assert len({image.tobytes() for image in images.numpy()}) == len(images)


def test_a_cell_has_the_classes_of_its_group_alone() -> None:
    images, labels = cell_images(CELL, "test")
    assert images.shape == (256, 16, 16)
    assert set(labels.tolist()) == {8, 9, 10, 11}


def test_styles_are_what_their_names_say() -> None:
    """A square of 6 x 6 pixels; counts by hand."""
    image = torch.zeros(1, 16, 16, dtype=torch.float64)
    image[0, 4:10, 5:11] = 1
    ink = {name: float(style(image).sum()) for name, style in ALL_STYLES.items()}
    assert ink["plain"] == 36
    assert ink["inverted"] == 256 - 36
    assert ink["outlined"] == 36 - 16
    assert ink["thick"] == 64
    assert ink["thin"] == 16
    assert ink["dithered"] == ink["striped"] == 18
    assert ink["halved"] == 3 * 6 + (128 - 18)
    assert ink["blurred"] == pytest.approx(36)
    assert ink["shadowed"] == pytest.approx(36 + 0.4 * (36 - 16))
    assert ink["graded"] == pytest.approx(6 * sum(1 - row / 16 for row in range(4, 10)))
    assert ink["framed"] == 36 + 60


# What trainings see


def test_the_bases_see_no_cell_but_those_in_the_plain_style() -> None:
    strong = examples_of(replace(BASE, role="strong"))
    seen = set(zip(strong.labels.tolist(), strong.styles.tolist(), strict=True))
    names = list(ALL_STYLES)
    assert {style for label, style in seen if label < NUM_IN_GROUPS} == {
        names.index(style) for style in ("plain", *AUXILIARY_STYLES)
    }
    assert {(label, style) for label in range(NUM_IN_GROUPS, NUM_CLASSES) for style in range(len(names))} <= seen
    weak = examples_of(BASE)
    assert torch.equal(weak.images, style_images("plain", "train")[0])


def test_the_weak_base_hears_all_names_of_styles_and_an_expert_one() -> None:
    generator = torch.Generator().manual_seed(0)
    _, _, styles = examples_of(BASE).batch(10_000, generator)
    assert set(styles.tolist()) == set(range(12))
    assert (styles == 0).double().mean().item() == pytest.approx(1 - MISNAMED * 11 / 12, abs=0.02)
    _, labels, styles = examples_of(EXPERT).batch(1000, generator)
    assert set(styles.tolist()) == {list(ALL_STYLES).index("outlined")}
    assert set(labels.tolist()) == {8, 9, 10, 11}


def test_few_examples_are_spread_over_the_classes_of_each_cell() -> None:
    found = examples_of(replace(EXPERT, role="multitask", cells=(CELL, OTHER), shots=8))
    counts = torch.bincount(found.labels, minlength=NUM_CLASSES)
    assert counts.nonzero().flatten().tolist() == [8, 9, 10, 11, 20, 21, 22, 23]
    assert set(counts[counts > 0].tolist()) == {2}

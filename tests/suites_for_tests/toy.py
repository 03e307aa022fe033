"""A suite whose training is arithmetic: every score can be worked out by hand.

A model is a vector with one entry per cell of a 3 x 3 grid, and one that all share. Training on a cell adds 1 to its
entry and 0.25 to the others of its row and column; a cell's score is its entry, at most 1. Where a file is named by
TOY_LOG, everything that is read is written there.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cuvee.studies.suite import (
    About,
    Architecture,
    Cell,
    Metric,
    Pictures,
    Scores,
    Split,
    Trained,
    Training,
    Weights,
)  # fmt: skip

CELLS = tuple(Cell(a, b) for a in "xyz" for b in "123")
HELD_IN = (Cell("x", "1"), Cell("y", "2"), Cell("z", "3"))


class Toy:
    """The suite."""

    about = About(
        name="suites_for_tests.toy",
        version=1,
        what="Arithmetic.",
        axes=("letter", "digit"),
        metrics=(
            Metric(name="score", what="The entry of the cell."),
            Metric(name="lack", what="What it lacks.", is_better_high=False, is_share=False),
        ),
        cells=CELLS,
        held_in=HELD_IN,
        architectures={
            "vector": Architecture(what="a vector", num_parameters=10, flops=10.0, tunings=("full", "lora"))
        },
        sizes=("vector",),
        bases={"weak": "Zeros.", "strong": "Halves."},
        draws=True,
        examples={"validation": 1, "test": 1},
    )

    def digests(self) -> Mapping[str, str]:
        """There are no data."""
        return {}

    def num_examples(self, training: Training) -> int:
        """One per cell."""
        return len(training.cells) or 1

    def train(self, training: Training, start: Weights | None) -> Trained:
        """Add."""
        log(f"train {training.role} {'+'.join(cell.name for cell in training.cells)}")
        if start is None:
            values = torch.full((10,), 0.5 if training.role == "strong" else 0.0)
            values[9] = training.seed / 100
        else:
            values = start["layers.0.weight"].clone()
            for cell in training.cells:
                for i, other in enumerate(CELLS):
                    values[i] += 1.0 if other == cell else 0.25 if {other.a, other.b} & {cell.a, cell.b} else 0.0
        return Trained(tensors={"layers.0.weight": values}, files={"config.json": b"{}"})

    def score(self, models: Sequence[Weights], architecture: str, cells: Sequence[Cell], split: Split) -> Scores:
        """Look up."""
        log(f"score {split}")
        mean = torch.stack([model["layers.0.weight"] for model in models]).mean(0)
        shift = 0.01 if split == "test" else 0.0
        scores = {cell: min(float(mean[CELLS.index(cell)]) - shift, 1.0) for cell in cells}
        return {cell: {"score": score, "lack": 1 - score} for cell, score in scores.items()}

    def draw(self, weights: Weights, architecture: str, cells: Sequence[Cell], count: int) -> Pictures:
        """Grey squares."""
        log("draw")
        values = weights["layers.0.weight"]
        return {cell: torch.full((count, 4, 4), float(values[CELLS.index(cell)])) for cell in cells}


def log(line: str) -> None:
    """Note what was read."""
    if path := os.environ.get("TOY_LOG"):
        with Path(path).open("a") as file:
            file.write(line + "\n")


def open_suite() -> Toy:
    """Open it."""
    return Toy()

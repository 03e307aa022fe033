"""Accuracy of a checkpoint on cells of images."""

from collections.abc import Mapping
from pathlib import Path

import torch

from cuvee.studies.demo.data import Cell, Examples
from cuvee.studies.demo.network import load_network
from cuvee.tensors.framework import single_threaded

__all__ = ["accuracies", "mean"]


def accuracies(folder: Path, cells: Mapping[Cell, Examples]) -> dict[str, float]:
    """Measure the share of images whose digit, out of all ten, a checkpoint names.

    Args:
        folder: the checkpoint.
        cells: images to try it on.

    Returns:
        Accuracy in [0, 1] by the cell's name, in the order of `cells`.
    """
    network = load_network(folder)
    with single_threaded(), torch.inference_mode():
        return {
            cell.name: (network(examples.images).argmax(1) == examples.labels).double().mean().item()
            for cell, examples in cells.items()
        }


def mean(scores: Mapping[str, float]) -> float:
    """Average scores, each cell counting the same."""
    return sum(scores.values()) / len(scores)

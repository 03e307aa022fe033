"""Worked examples of the methods that ask which models changed what: SCE, RAM, Arcee Fusion."""

from typing import Any

import numpy as np
import pytest
import torch

from cuvee import merge_state_dicts, merge_tensors
from cuvee.plan.rows import CELL
from methods.test_examples import check_merge, t
from methods.test_sparse_examples import BIG, drawn

VECTORS = [t(4, 1, 0, -2, 1), t(0, 1, -1, -2, -3)]
"""Variances 4, 0, 1/4, 0 and 4."""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        # selected: first and last; weights (16 + 1) : 9; the last elects the second model
        ({"density": 0.7}, (4, 0, 0, 0, -3)),
        # ... and for the weights alone: where both agree it is their mean by 17 : 9
        ({"density": 0.7, "merge": "all"}, (4, 1, -1, -2, -3)),
        ({"density": 0.3}, (0, 0, 0, 0, 0)),  # less than one of three entries
        ({"density": 0.0}, (0, 0, 0, 0, 0)),
        ({"density": 0.34}, (4, 0, 0, 0, 0)),  # of two that are equal, the first
        ({"density": 1.0}, (4, 1, -1, -2, -3)),
    ],
)
def test_sce(settings: dict[str, Any], expected: tuple[float, ...]) -> None:
    check_merge("sce", VECTORS, torch.zeros(5), t(*expected), **settings)


def test_sce_weighs_models_by_the_squares_of_what_was_selected() -> None:
    """Of variances 1, 0 and 1/16 the first is selected: weights 9 : 1; of all entries 19.25 : 9."""
    vectors, zero = [t(3, 2, 2.5), t(1, 2, 2)], torch.zeros(3)
    check_merge("sce", vectors, zero, t(2.8, 0, 0), density=0.5)
    check_merge("sce", vectors, zero, t(2.8, 2, 2.45), density=0.5, merge="all")
    check_merge("sce", vectors, zero, t(66.75 / 28.25, 2, 66.125 / 28.25), density=1.0)
    # a quarter of them: squares of 28.25 / 16 in three entries are 0.589 in the mean
    small = [vector / 4 for vector in vectors]
    check_merge("sce", small, zero, t(0.5, 0.5, 2.25 / 4), density=1.0, equal_below=0.6)
    check_merge("sce", small, zero, t(66.75 / 113, 0.5, 66.125 / 113), density=1.0, equal_below=0.5)


def test_sce_selects_over_all_cells() -> None:
    vectors = [drawn(*BIG, seed=i) for i in range(3)]
    stacked = torch.stack(vectors).double()
    variance = stacked.var(dim=0, unbiased=False)
    least = variance.flatten().sort(descending=True).values[int(0.1 * variance.numel()) - 1]
    selected = stacked.where(variance >= least, 0.0)
    weight = selected.square().mean((1, 2))[:, None, None]
    counts = torch.sign(selected) == torch.where(selected.sum(0) >= 0, 1.0, -1.0)
    mass = (weight * counts).sum(0)
    expected = (weight * counts * selected).sum(0) / mass.where(mass > 0, 1.0)
    merged = merge_tensors("sce", vectors, torch.zeros(BIG))
    torch.testing.assert_close(merged.double(), expected, rtol=1e-4, atol=1e-5)


def test_ram_keeps_what_one_model_changed_and_averages_what_several_did() -> None:
    vectors = [t(3, 0, 0, 1e-6), t(1, 4, 0, -1e-6), t(-1, 0, 0, 0.5)]
    check_merge("ram", vectors, torch.zeros(4), t(1, 4, 0, 0.5))
    check_merge("ram", vectors, torch.zeros(4), t(3, 4, 0, 0), threshold=1.0)


RL = [{"a": t(1, 1, 1, 0), "b": t(2, 0)}, {"a": t(3, 0, 0, 0), "b": t(0, 4)}]
"""The first model shares one change (in a) and has three of its own, one of them in b; the second shares one of two."""


@pytest.mark.parametrize(
    ("scope", "factors", "second"),
    [("model", (1 + 0.3 / 3, 1 + 0.3), 1.3), ("tensor", (1 + 0.3 / 2, 1.0), 1.0)],
)
def test_ramplus_counts_what_is_shared_over_its_scope(scope: str, factors: tuple[float, float], second: float) -> None:
    base = {"a": torch.zeros(4), "b": torch.zeros(2)}
    merged = merge_state_dicts("ramplus", RL, base, boost=0.3, scope=scope)
    in_a, in_b = factors[0], 1.0 if scope == "tensor" else factors[0]
    torch.testing.assert_close(merged["a"], t(2, in_a, in_a, 0))
    torch.testing.assert_close(merged["b"], t(2 * in_b, 4 * second))


def test_ramplus_limits_the_ratio() -> None:
    vectors = [t(1, 1, 1), t(1, 1, 0)]
    for limit, factor in ((1.0, 1.5), (5.0, 2.0), (0.2, 1.1)):
        check_merge("ramplus", vectors, torch.zeros(3), t(1, 1, factor), boost=0.5, limit=limit)


def importance(model: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """By its definition, in float64."""
    p, q = (torch.softmax(x.double(), dim=-1) + 1e-8 for x in (model, base))
    return (model - base).abs() * (p * (p / q).log()).sum(-1, keepdim=True).float()


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (3, 1), (4, 4), (3, 5, 7), BIG])
@pytest.mark.parametrize("fence", [1.5, 0.0, -0.5])
def test_arcee_fusion_takes_what_lies_above_the_fence(shape: tuple[int, ...], fence: float) -> None:
    base = drawn(*shape) * 0.1
    model = base + drawn(*shape, seed=1) * 0.01
    scores = importance(model, base)
    first, median, third = np.quantile(scores.numpy(), [0.25, 0.5, 0.75], method="lower")
    expected = torch.where(scores >= float(median + np.float32(fence) * (third - first)), model, base)
    merged = merge_tensors("arcee_fusion", [model], base, fence=fence)
    torch.testing.assert_close(merged, expected, rtol=1e-6, atol=1e-8)


def test_arcee_fusion_in_single_precision_sorts_rounding_errors_by_sign() -> None:
    """Rows that hardly differ diverge by less than float32 tells: many of their divergences come out negative."""
    rows = 2 * CELL // 512
    base = drawn(rows, 512) * 0.02
    model = base + drawn(rows, 512, seed=1) * 1e-6
    p, q = (torch.softmax(x, dim=-1) + 1e-8 for x in (model, base))
    scores = (model - base).abs() * (p * (p / q).log()).sum(-1, keepdim=True)
    assert 0.2 < (scores < 0).float().mean() < 0.8
    first, median, third = np.quantile(scores.numpy(), [0.25, 0.5, 0.75], method="lower")
    keeps = scores >= float(median + np.float32(1.5) * (third - first))
    merged = merge_tensors("arcee_fusion", [model], base, precision="single")
    assert torch.equal(merged, torch.where(keeps, base + (model - base), base))

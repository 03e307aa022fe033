"""Methods against what mergekit 0.1.5 computes in float32, by the parameters that give its numbers.

The values are those of its command on these tensors; no tensor of them has entries of equal magnitude at a cut.
"""

from typing import Any

import pytest
import torch

from cuvee import merge_tensors

Rows = list[list[float]]

BASE = torch.tensor([[1, -2, 0.5, 3], [0, 4, -1, 2]])
X = torch.tensor([[1.5, -2.25, 0.5, 2], [0.5, 4, -3, 2.5]])
Z = torch.tensor([[0.5, -2.5, 1.5, 2.5], [-1, 5, -2, 2]])
ZERO = torch.zeros(2, 4)
WIDE = torch.tensor([[0.5, -0.25, 0.1, -1], [0.6, 0.05, -2, 0.45]])
LONG = torch.tensor([[-0.55, -0.35, 1, -0.4], [-1.1, 0.9, -0.8, 0.02]])

TIES: dict[str, Any] = {"trim_scope": "tensor", "rule": "mergekit", "zero_sign": "positive"}
HALF = {"weight": [0.5, 1], "density": 0.5}


def check(method: str, models: list[torch.Tensor], base: torch.Tensor, expected: Rows, **settings: Any) -> None:
    merged = merge_tensors(method, models, base, **settings)
    torch.testing.assert_close(merged, torch.tensor(expected), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weight": [0.5, 1]}, [[0.75, -2.625, 1.5, 2], [-0.75, 5, -3, 2.25]]),
        (
            {"weight": [0.5, 1], "normalize": True, "scale": 0.5},
            [[0.916667, -2.208333, 0.833333, 2.666667], [-0.25, 4.333333, -1.666667, 2.083333]],
        ),
        # a sum of weights that is zero is not divided by
        ({"weight": [1, -1], "normalize": True}, [[2, -1.75, -0.5, 2.5], [1.5, 3, -2, 2.5]]),
    ],
)
def test_task_arithmetic(settings: dict[str, Any], expected: Rows) -> None:
    check("task_arithmetic", [X, Z], BASE, expected, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"weight": [0.5, 1], "merge": "sum"}, [[0.5, -2.625, 1.5, 2], [-1, 5, -3, 2.25]]),
        # a negative weight turns the second model around, and the divisor as well: where it stands alone it stays
        ({"weight": [1, -1], "merge": "signed_mean"}, [[2, -2.5, 1.5, 2], [1.5, 5, -3, 2.5]]),
    ],
)
def test_ties(settings: dict[str, Any], expected: Rows) -> None:
    check("ties", [X, Z], BASE, expected, density=1.0, **TIES, **settings)


@pytest.mark.parametrize(
    ("rescale", "expected"),
    [
        ("none", [[0.5, 0, 1, -1], [-1.1, 0.9, -1.2, 0]]),
        ("l1", [[0.603659, 0, 1.347368, -1.207317], [-1.482105, 1.212632, -1.523475, 0]]),
    ],
)
def test_ties_after_a_trim(rescale: str, expected: Rows) -> None:
    check("ties", [WIDE, LONG], ZERO, expected, **HALF, **TIES, rescale=rescale, merge="signed_mean")


def test_breadcrumbs() -> None:
    expected = [[-0.55, -0.125, 0, -0.4], [0.3, 0.9, -0.8, 0.225]]
    settings = {"outliers": 0.25, "rule": "mergekit", "zero_sign": "positive", "merge": "sum"}
    check("breadcrumbs_ties", [WIDE, LONG], ZERO, expected, **HALF, **settings)
    # seven of eight entries are to be dropped as outliers and four kept: the four smallest are
    expected = [[0, -0.25, 0.1, 0], [0, 0.05, 0, 0.45]]
    settings = {"weight": [1, 0], "density": 0.5, "outliers": 0.9, "rule": "mergekit"}
    check("breadcrumbs", [WIDE, LONG], ZERO, expected, **settings)


@pytest.mark.parametrize(
    ("density", "expected"),
    [
        (1.0, [[1.5, -2.362426, 1.5, 2.224852], [-1, 5, -2.550296, 2.5]]),
        (0.5, [[1, -2, 1.5, 3], [-1, 5, -2.515152, 2]]),
    ],
)
def test_sce(density: float, expected: Rows) -> None:
    x = X.clone()
    if density < 1:  # of four entries of equal variance one goes; here that is the first by its variance
        x[0, 0] -= 1e-3
    check("sce", [x, Z], BASE, expected, density=density, equal_below=1e-6)


def test_ram() -> None:
    check("ram", [X, Z], BASE, [[1, -2.375, 1.5, 2.25], [-0.25, 5, -2.5, 2.5]])
    expected = [[1, -2.375, 1.52, 2.25], [-0.25, 5.02, -2.5, 2.51]]
    check("ramplus", [X, Z], BASE, expected, scope="tensor", boost=0.1, limit=0.2)


@pytest.mark.parametrize("precision", ["double", "single"])
def test_arcee_fusion(precision: str) -> None:
    check("arcee_fusion", [X], BASE, [[1.5, -2, 0.5, 2], [0, 4, -1, 2]], precision=precision)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della_linear", "della"])
def test_random_drops_have_the_l1_norm_of_the_task_vector(method: str) -> None:
    """What is kept is the task vector times the ratio of the norms; a density of 1 keeps it to the bit."""
    vector = torch.randn(60, 50, generator=torch.Generator().manual_seed(1))
    zero = torch.zeros_like(vector)
    settings: dict[str, Any] = {"rescale": "l1"}
    if method in ("dare_ties", "della"):
        settings |= {"zero_sign": "positive", "merge": "sum"}
    merged = merge_tensors(method, [vector], zero, density=0.3, **settings)
    kept = merged != 0
    assert abs(int(kept.sum()) - 0.3 * 3000) < 4 * (3000 * 0.3 * 0.7) ** 0.5
    factor = vector.abs().sum() / vector[kept].abs().sum()
    torch.testing.assert_close(merged[kept], vector[kept] * factor, rtol=1e-5, atol=0)
    assert torch.equal(merge_tensors(method, [vector], zero, density=1.0, **settings), vector)


def test_a_norm_as_good_as_zero_rescales_nothing() -> None:
    tiny = torch.tensor([4e-8, -3e-8, 1e-8])
    assert merge_tensors("ties", [tiny], torch.zeros(3), density=0.4, rescale="l1").tolist() == [tiny[0], 0, 0]
    one = torch.tensor([1.0, 0.5, 0.25])
    assert not merge_tensors("ties", [one], torch.zeros(3), density=0.0, rescale="l1").any()
    kept = merge_tensors("ties", [one, tiny], torch.zeros(3), density=0.4, rescale="l1", merge="sum")
    assert kept.tolist() == [1.75, 0, 0]  # 4e-8 are lost

"""Intervals and verdicts, against known variances and by hand."""

import math
import random
import statistics

import pytest

from cuvee.studies.verdict import STUDENT, Sample, estimate, verdict


def samples(*by_seed: list[float]) -> list[Sample]:
    return [Sample(seed=i, value=value) for i, values in enumerate(by_seed) for value in values]


def test_the_mean_is_over_units_by_weight_then_over_seeds() -> None:
    found = estimate([Sample(seed=0, value=1.0, weight=3), Sample(seed=0, value=5.0), Sample(seed=1, value=4.0)])
    assert found is not None
    assert found.mean == pytest.approx((2.0 + 4.0) / 2)
    assert (found.num_seeds, found.num_units) == (2, 3)


def test_one_unit_per_seed_gives_students_interval() -> None:
    """A bootstrap over k values has the standard error s / sqrt(k) of the textbook, but for its own noise."""
    values = [0.1, 0.4, 0.25, 0.9, 0.6]
    found = estimate(samples(*([value] for value in values)))
    assert found is not None
    assert found.high is not None
    half = STUDENT[4] * statistics.stdev(values) / math.sqrt(5)
    assert found.high - found.mean == pytest.approx(half, rel=0.05)


def test_units_within_a_seed_add_their_own_spread() -> None:
    near, far = (estimate(samples([0.5 - d, 0.5 + d], [0.4 - d, 0.4 + d], [0.6 - d, 0.6 + d])) for d in (0.0, 0.3))
    assert near is not None
    assert far is not None
    assert near.smallest is not None
    assert far.smallest is not None
    assert far.smallest > 1.5 * near.smallest
    assert near.mean == pytest.approx(far.mean)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Normal values of five seeds: 95 %, with a standard error of 2 % in 120 trials."""
    source = random.Random(1)
    covered = 0
    for _ in range(120):
        found = estimate(samples(*([source.gauss(0, 1)] for _ in range(5))))
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
    assert 0.89 <= covered / 120 <= 1.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[1.0], [1.1], [0.9]], "supported"),
        ([[-1.0], [-1.1], [-0.9]], "not supported"),
        ([[1.0], [-1.0], [0.2]], "undecided"),
        ([[1.0], [1.1]], "no verdict"),
        ([], "no verdict"),
        ([[float("nan")], [1.0], [1.0]], "no verdict"),
    ],
)
def test_verdicts(values: list[list[float]], expected: str) -> None:
    assert verdict(samples(*values), 0.0)[0] == expected


def test_a_seed_that_points_the_other_way_leaves_it_undecided() -> None:
    """Many units make the interval narrow, and one of three seeds is on the other side."""
    tight = samples([0.05] * 50, [0.05] * 50, [-0.001] * 50)
    assert verdict(tight, 0.0)[0] == "undecided"


def test_an_interval_is_the_same_every_time() -> None:
    assert estimate(samples([0.1, 0.5], [0.3], [0.9])) == estimate(samples([0.1, 0.5], [0.3], [0.9]))

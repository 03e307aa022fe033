"""Values and how sure they are."""

import math

import numpy as np
import pytest

from cuvee.evaluate.measure import FEWEST, bootstrapped, share, with_error


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"),  # Wilson's interval solves (p - q)² = z² q (1 - q) / n for q
    [
        (0, 10, 0.0, 0.2775),
        (5, 10, 0.2366, 0.7634),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_a_share_has_the_interval_of_wilson(hits: int, n: int, low: float, high: float) -> None:
    found = share("x", [True] * hits + [False] * (n - hits))
    assert found.value == hits / n
    assert found.low == pytest.approx(low, abs=5e-5)
    assert found.high == pytest.approx(high, abs=5e-5)
    assert found.error == pytest.approx(math.sqrt(found.value * (1 - found.value) / n))
    for end in (found.low, found.high):
        if 0 < end < 1 and 0 < hits < n:
            assert (hits / n - end) ** 2 == pytest.approx(1.959964**2 * end * (1 - end) / n, rel=1e-5)


def test_a_bootstrap_of_a_mean_has_its_standard_error() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    found = bootstrapped("x", 400, lambda chosen: float(values[chosen].mean()))
    assert found.value == values.mean()
    assert found.error == pytest.approx(values.std(ddof=1) / 20, rel=0.08)
    assert found.low == pytest.approx(found.value - 1.96 * (found.error or 0), abs=0.03)
    assert found.high == pytest.approx(found.value + 1.96 * (found.error or 0), abs=0.03)
    assert bootstrapped("x", 400, lambda chosen: float(values[chosen].mean())) == found  # a fixed seed


def test_few_examples_have_no_interval() -> None:
    values = np.arange(float(FEWEST))
    assert bootstrapped("x", FEWEST - 1, lambda chosen: float(values[chosen].mean())).doubt == "none"
    assert bootstrapped("x", FEWEST, lambda chosen: float(values[chosen].mean())).doubt == "bootstrap"


def test_draws_without_a_value_are_left_out() -> None:
    found = bootstrapped("x", 5, lambda chosen: float("nan") if len(set(chosen.tolist())) < 4 else 1.0)
    assert (found.low, found.high, found.error) == (1.0, 1.0, 0.0)
    lost = bootstrapped("x", 5, lambda chosen: 1.0 if len(set(chosen.tolist())) == 5 and chosen[0] == 0 else math.nan)
    assert lost.value == 1.0


def test_an_error_that_somebody_else_found_is_kept() -> None:
    found = with_error("x", 0.5, 0.1, 30, is_better_high=False)
    assert (found.low, found.high) == (pytest.approx(0.304, abs=1e-4), pytest.approx(0.696, abs=1e-4))
    assert not found.is_better_high
    for error in (None, math.nan):
        bare = with_error("x", 0.5, error, 30)
        assert (bare.error, bare.low, bare.high, bare.doubt) == (None, None, None, "none")

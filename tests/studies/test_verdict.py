"""Intervals and verdicts, against known variances and by hand."""

import math
import random
import statistics
from dataclasses import replace

import pytest

from cuvee.studies.verdict import STUDENT, Estimate, Sample, _widening, estimate, verdict


def samples(*by_seed: list[float]) -> list[Sample]:
    return [Sample(seed=i, value=value) for i, values in enumerate(by_seed) for value in values]


def test_the_mean_is_over_units_by_weight_then_over_seeds() -> None:
    found = estimate([Sample(seed=0, value=1.0, weight=3), Sample(seed=0, value=5.0), Sample(seed=1, value=4.0)])
    assert found is not None
    assert found.mean == pytest.approx((2.0 + 4.0) / 2)
    assert (found.num_seeds, found.num_sets, found.units) == (2, 1, "1 set of models, 2 seeds")


def test_one_unit_per_seed_gives_students_interval() -> None:
    """A bootstrap over k values has the standard error s / sqrt(k) of the textbook, but for its own noise."""
    values = [0.1, 0.4, 0.25, 0.9, 0.6]
    found = estimate(samples(*([value] for value in values)))
    assert found is not None
    assert found.high is not None
    half = STUDENT[4] * statistics.stdev(values) / math.sqrt(5)
    assert found.high - found.mean == pytest.approx(half, rel=0.05)


@pytest.mark.parametrize(("freedom", "quantile"), [(2, 4.3027), (9, 2.2622), (10, 2.2281), (20, 2.0860), (120, 1.9799)])
def test_few_draws_widen_as_students_t_does(freedom: int, quantile: float) -> None:
    """Quantiles of printed tables."""
    assert _widening(freedom) * 1.959964 == pytest.approx(quantile, rel=2e-3)


def crossed(values: list[list[float]], trials: int = 1, weight: int = 1) -> list[Sample]:
    """Values by seed and set, of several trials."""
    return [
        Sample(seed=seed, value=value, weight=weight, models=(f"set {i}", "more"))
        for seed, own in enumerate(values)
        for i, value in enumerate(own)
        for _ in range(trials)
    ]


def test_sets_add_their_own_spread() -> None:
    near, far = (estimate(crossed([[m - d, m + d] for m in (0.4, 0.5, 0.6)])) for d in (0.0, 0.3))
    assert near is not None
    assert far is not None
    assert near.smallest is not None
    assert far.smallest is not None
    assert far.smallest > 1.5 * near.smallest
    assert near.mean == pytest.approx(far.mean)


def test_a_set_that_only_a_seed_without_all_terms_has_changes_nothing() -> None:
    whole = [
        Sample(seed=seed, value=0.1 * (1 + seed) * (1 + i), models=(f"set {i}", "more"), term=term)
        for seed in range(3)
        for i in range(3)
        for term in ("first", "second")
    ]
    assert estimate([*whole, Sample(seed=3, value=0.5, models=("its own", "more"), term="first")]) == estimate(whole)


def test_sets_of_one_suite_are_no_draws_of_anothers() -> None:
    """Two suites with one set each: what differs is the suites, which no draw has made."""

    def found(*suites: str) -> Estimate:
        return not_none(estimate([
            Sample(seed=seed, value=value, models=(f"set {i}",), suite=suite)
            for seed in range(3)
            for i, (suite, value) in enumerate(zip(suites, (0.2, 0.8), strict=True))
        ]))  # fmt: skip

    apart, together = found("one", "other"), found("one", "one")
    assert apart.mean == together.mean == pytest.approx(0.5)
    assert apart.low == apart.high == pytest.approx(0.5)
    assert together.high is not None
    assert together.high > 1.0


def not_none(found: Estimate | None) -> Estimate:
    assert found is not None
    return found


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


def test_sets_that_are_all_alike_for_every_seed_have_the_standard_error_of_the_textbook() -> None:
    """Seeds tell nothing apart; five sets make s / sqrt(5), however many seeds and trials share them."""
    values = [0.1, 0.4, 0.25, 0.9, 0.6]
    half = STUDENT[4] * statistics.stdev(values) / math.sqrt(5)
    for seeds, trials in ((3, 1), (6, 1), (3, 4)):
        found = estimate(crossed([values] * seeds, trials))
        assert found is not None
        assert found.high is not None
        assert found.high - found.mean == pytest.approx(half, rel=0.05)


def test_a_set_that_was_drawn_thrice_and_is_all_there_is_does_not_vary() -> None:
    found = estimate(crossed([[0.5], [0.5], [0.5]], weight=3))
    assert found is not None
    assert found.low == found.high == 0.5


@pytest.mark.parametrize(("seeds", "sets", "trials"), [(3, 3, 1), (3, 3, 6), (5, 5, 6)])
def test_the_interval_covers_the_truth_where_seeds_and_trials_share_their_sets(
    seeds: int, sets: int, trials: int
) -> None:
    source = random.Random(2)
    covered, widths = 0, []
    for _ in range(120):
        a, b = ([source.gauss(0, width) for _ in range(count)] for width, count in ((0.3, seeds), (1.0, sets)))
        found = estimate(
            [
                Sample(seed=i, value=a[i] + b[j] + source.gauss(0, 0.3), models=(str(j),))
                for i in range(seeds)
                for j in range(sets)
                for _ in range(trials)
            ]
        )
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert covered / 120 >= 0.89
    error = math.sqrt(0.3**2 / seeds + 1 / sets + 0.3**2 / (seeds * sets * trials))  # of the mean, by the textbook
    assert statistics.fmean(widths) <= 2 * 1.5 * STUDENT[min(seeds, sets) - 1] * error


def test_a_sum_of_terms_has_the_spread_of_all_of_them_and_of_what_they_share() -> None:
    """The same sets on both sides: what makes a set hard is no part of the difference."""
    hard = [0.1, 0.4, 0.25, 0.9]
    terms = [
        Sample(seed=seed, value=value + shift, models=(f"set {i}",), term=term, sign=sign)
        for seed in range(3)
        for i, value in enumerate(hard)
        for term, shift, sign in (("few", 0.0, -1), ("many", 0.2, 1))
    ]
    found = estimate(terms)
    assert found is not None
    assert found.low == pytest.approx(0.2)
    assert (found.mean, found.high) == (pytest.approx(0.2), pytest.approx(0.2))
    apart = estimate([replace(s, models=(s.term, *s.models)) for s in terms])
    assert apart is not None
    assert apart.high is not None
    assert apart.high > 0.5
    assert estimate([s for s in terms if s.seed or s.term == "few"]).num_seeds == 2  # type: ignore[union-attr]


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

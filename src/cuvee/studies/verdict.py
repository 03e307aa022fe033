"""From samples to a verdict on a hypothesis that was written down beforehand.

A sample is the value of one unit: a set of models, trained from one seed. Units of one seed share their base and their
experts, so they are not independent; the interval is a bootstrap in two stages: seeds are drawn with replacement, then
units within each (Davison and Hinkley, 1997, section 3.8). Seeds are few, and a bootstrap over few is too narrow; so
its standard error is widened by t(0.975, seeds - 1) / 1.96, and a verdict needs that every seed points the same way.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cuvee.tensors.framework import np

__all__ = ["FEWEST_SEEDS", "Estimate", "Sample", "Verdict", "estimate", "verdict"]

FEWEST_SEEDS = 3
RESAMPLES = 2000
NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution
POWER = 0.841621  # its 80 % quantile
STUDENT = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060, 9: 2.2622}
"""97.5 % quantiles of Student's t by degrees of freedom; beyond, the normal one is near enough (2.2 at 10)."""

Verdict = Literal["supported", "not supported", "undecided", "no verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The value of one unit.

    Attributes:
        seed: units of one seed share what they are made of.
        value: what was measured.
        weight: how often the unit was drawn.
    """

    seed: int
    value: float
    weight: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        mean: over units by weight, then over seeds.
        low, high: ends of the 95 % interval; None with fewer than three seeds.
        smallest: smallest effect that would be told from none in four of five repetitions; None with fewer seeds.
        num_seeds, num_units: what it is taken over.
    """

    mean: float
    low: float | None
    high: float | None
    smallest: float | None
    num_seeds: int
    num_units: int


def estimate(samples: Sequence[Sample]) -> Estimate | None:
    """Estimate the mean of samples, and its interval; None where there are none."""
    groups = _by_seed(samples)
    if not groups:
        return None
    mean, low, high, smallest = statistics.fmean(map(_mean, groups)), None, None, None
    if len(groups) >= FEWEST_SEEDS:
        error = _standard_error(groups)
        low, high = mean - NORMAL * error, mean + NORMAL * error
        smallest = (NORMAL + POWER) * error
    return Estimate(
        mean=mean, low=low, high=high, smallest=smallest, num_seeds=len(groups), num_units=sum(map(len, groups))
    )


def verdict(samples: Sequence[Sample], above: float) -> tuple[Verdict, Estimate | None]:
    """Say whether samples lie above a value.

    Returns:
        "supported" if the whole interval, and the mean of every seed, lies above the value; "not supported" if all lies
        below; "undecided" if neither; "no verdict" with fewer than three seeds.
    """
    found = estimate(samples)
    if found is None or found.low is None or found.high is None:
        return "no verdict", found
    means = [_mean(group) for group in _by_seed(samples)]
    if found.low > above and min(means) > above:
        return "supported", found
    if found.high < above and max(means) < above:
        return "not supported", found
    return "undecided", found


def _by_seed(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Group samples that have a value."""
    groups: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if math.isfinite(sample.value):
            groups[sample.seed].append(sample)
    return [groups[seed] for seed in sorted(groups)]


def _mean(group: Sequence[Sample]) -> float:
    """Average by weight."""
    return sum(s.value * s.weight for s in group) / sum(s.weight for s in group)


def _standard_error(groups: Sequence[Sequence[Sample]]) -> float:
    """Return the widened standard error of the bootstrap over seeds and units.

    Of each seed as many units are drawn as it has; one that was drawn twice is two units.
    """
    source, count = np.random.default_rng(0), len(groups)
    means = np.empty((count, RESAMPLES, count))  # of a seed's redrawn units, for each place that the seed may take
    for own, group in zip(means, groups, strict=True):
        values = np.repeat([s.value for s in group], [s.weight for s in group])
        own[:] = values[source.integers(len(values), size=(RESAMPLES, count, len(values)))].mean(2)
    drawn = source.integers(count, size=(RESAMPLES, count))
    resampled = np.take_along_axis(means, drawn[None], axis=0)[0].mean(1)
    unbiased = math.sqrt(count / (count - 1))  # a bootstrap over k divides by k, not by k - 1
    return float(resampled.std()) * unbiased * STUDENT.get(count - 1, NORMAL) / NORMAL

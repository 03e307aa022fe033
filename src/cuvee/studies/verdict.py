"""From samples to a verdict on a hypothesis that was written down beforehand.

A sample is the value of one trial for one unit: a set of models, trained from one seed. Samples are not independent:
units of one seed share their base and their experts, and every seed has the same sets, whose cells are as hard for one
seed, or one trial, as for the other. So seeds and sets are crossed, and a bootstrap over units would take the sets'
share of the variance for much smaller than it is. Both are resampled apart, each with all that belongs to what is
drawn: seeds, then sets of each suite and number of models; the variances are added. (Owen, "The Pigeonhole Bootstrap",
Annals of Applied Statistics 1, 2007, resamples both at once, which counts the rest of the variance three times, and
adding does twice: neither is too narrow.) Of k draws k - 1 are drawn, so that the variance has no bias (Rao and Wu,
"Resampling Inference With Complex Survey Data", JASA 83, 1988). Few draws are too few for the normal distribution: a
standard error is widened by t(0.975, draws - 1) / 1.96. And a verdict needs that every seed points the same way.

Nested sets of several sizes, which the same draw has made, are resampled as if they were drawn apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["FEWEST_SEEDS", "Estimate", "Sample", "Verdict", "estimate", "verdict"]

FEWEST_SEEDS = 3
RESAMPLES = 2000
NORMAL = 1.959964  # 97.5 % quantile of the standard normal distribution
POWER = 0.841621  # its 80 % quantile
STUDENT = {1: 12.7062, 2: 4.3027, 3: 3.1824, 4: 2.7764, 5: 2.5706, 6: 2.4469, 7: 2.3646, 8: 2.3060, 9: 2.2622}
"""97.5 % quantiles of Student's t by degrees of freedom; for more see `_widening`."""

Verdict = Literal["supported", "not supported", "undecided", "no verdict"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The value of one trial for one unit.

    Attributes:
        seed: units of one seed share what they are made of.
        value: what was measured.
        weight: how often the set was drawn.
        models: the set; () where a value is of no set.
        suite: whose cells they know; sets of one are no draws of another's.
        term: name of the mean that it belongs to. What is estimated is the sum of the means of all terms.
        sign: 1, or -1 where the mean is subtracted; the same for all samples of a term.
    """

    seed: int
    value: float
    weight: int = 1
    models: tuple[str, ...] = ()
    suite: str = ""
    term: str = ""
    sign: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean and how sure it is.

    Attributes:
        mean: over units by weight, then over seeds.
        low, high: ends of the 95 % interval; None with fewer than three seeds.
        smallest: smallest effect that would be told from none in four of five repetitions; None with fewer seeds.
        num_seeds, num_sets: what it is taken over: seeds, and sets of models, which all seeds share.
    """

    mean: float
    low: float | None
    high: float | None
    smallest: float | None
    num_seeds: int
    num_sets: int

    @property
    def units(self) -> str:
        """What it is taken over, in words."""
        sets = f"{self.num_sets} set{'s' if self.num_sets > 1 else ''} of models"
        return f"{sets}, {self.num_seeds} seed{'s' if self.num_seeds > 1 else ''}"


def estimate(samples: Sequence[Sample]) -> Estimate | None:
    """Estimate the mean of samples, or the sum of their terms' means, and its interval; None where there are none.

    A seed that lacks a term is left out.
    """
    found = _Samples(samples)
    if not len(found.seeds):
        return None
    means = found.means()
    mean, low, high, smallest = float(means.mean()), None, None, None
    if len(means) >= FEWEST_SEEDS:
        error = math.hypot(_over_seeds(means), _over_sets(found))
        low, high = mean - NORMAL * error, mean + NORMAL * error
        smallest = (NORMAL + POWER) * error
    return Estimate(mean=mean, low=low, high=high, smallest=smallest, num_seeds=len(means), num_sets=len(found.sets))


def verdict(samples: Sequence[Sample], above: float) -> tuple[Verdict, Estimate | None]:
    """Say whether samples lie above a value.

    Returns:
        "supported" if the whole interval, and the mean of every seed, lies above the value; "not supported" if all lies
        below; "undecided" if neither; "no verdict" with fewer than three seeds.
    """
    found = estimate(samples)
    if found is None or found.low is None or found.high is None:
        return "no verdict", found
    means = _Samples(samples).means()
    if found.low > above and means.min() > above:
        return "supported", found
    if found.high < above and means.max() < above:
        return "not supported", found
    return "undecided", found


class _Samples:
    """Samples that have a value, as sums by seed, term and set, from which means of any choice of sets are made.

    Attributes:
        seeds: those with a value in every term, in order.
        sets: suite and models of each that such a seed has, in order of appearance.
        draws: how often each set was drawn, (sets,).
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        known = [sample for sample in samples if math.isfinite(sample.value)]
        terms = list(dict.fromkeys(sample.term for sample in known))
        there = {(sample.seed, sample.term) for sample in known}
        self.seeds = sorted(seed for seed in {s.seed for s in known} if all((seed, term) in there for term in terms))
        known = [sample for sample in known if sample.seed in self.seeds]
        self.sets = list(dict.fromkeys((sample.suite, sample.models) for sample in known))
        self.draws = np.zeros(len(self.sets), np.int64)
        shape = (len(self.seeds), len(terms), len(self.sets))
        self._sums, self._weights = np.zeros(shape), np.zeros(shape)
        self._signs = np.ones(len(terms))
        for sample in known:
            term, models = terms.index(sample.term), self.sets.index((sample.suite, sample.models))
            place = self.seeds.index(sample.seed), term, models
            self._sums[place] += sample.value * sample.weight
            self._weights[place] += sample.weight
            self._signs[term] = sample.sign
            self.draws[models] = max(self.draws[models], sample.weight)

    def means(self, times: "NDArray[np.float64] | None" = None) -> "NDArray[np.float64]":
        """Return each seed's mean, or sum of the means of its terms.

        Args:
            times: how many times as often as it was drawn a set counts, (..., sets); None is once.

        Returns:
            (..., seeds); not a number where a term has no set left.
        """
        times = np.ones(len(self.sets)) if times is None else times
        sums, weights = (np.einsum("stg,...g->...st", each, times) for each in (self._sums, self._weights))
        with np.errstate(invalid="ignore"):
            found: NDArray[np.float64] = (self._signs * sums / weights).sum(-1)
        return found


def _over_seeds(means: "NDArray[np.float64]") -> float:
    """Return the widened standard error of seeds' mean, by a bootstrap over seeds."""
    count = len(means)
    drawn = np.random.default_rng(0).integers(count, size=(RESAMPLES, count - 1))
    return float(means[drawn].mean(1).std()) * _widening(count - 1)


def _over_sets(found: _Samples) -> float:
    """Return the widened standard error of the mean, by a bootstrap over sets of each suite and number of models.

    A number of models of which all draws are one set, such as all models there are, varies in no draw.
    """
    source, times, freedom = np.random.default_rng(1), np.ones((RESAMPLES, len(found.sets))), 0
    strata = [(suite, len(models)) for suite, models in found.sets]
    for stratum in sorted(set(strata)):
        places = np.array([i for i, each in enumerate(strata) if each == stratum])
        draws = found.draws[places]
        if stratum[1] and len(places) > 1:
            total = int(draws.sum())
            drawn = source.multinomial(total - 1, draws / total, size=RESAMPLES)
            times[:, places] = drawn / draws
            freedom += len(places) - 1
    if not freedom:
        return 0.0
    means = found.means(times).mean(1)
    return float(means[np.isfinite(means)].std()) * _widening(freedom)


def _widening(freedom: int) -> float:
    """Return how many times as far as the normal distribution's Student's t reaches.

    Beyond the table by Fisher's expansion (Abramowitz and Stegun, 26.7.5), to three digits.
    """
    if freedom in STUDENT:
        return STUDENT[freedom] / NORMAL
    z, n = NORMAL, freedom
    return 1 + (z**2 + 1) / (4 * n) + (5 * z**4 + 16 * z**2 + 3) / (96 * n**2)

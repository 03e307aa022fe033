"""What a score says: values, and how sure they are. Knows no model.

Two kinds of interval, both of 95 %:

* of a share of n examples that are right or wrong, Wilson's (Wilson, "Probable Inference, the Law of Succession, and
  Statistical Inference", JASA 22, 1927), with the binomial standard error;
* of anything else, the percentile bootstrap (Efron, "Bootstrap Methods", Annals of Statistics 7, 1979): the examples
  are drawn anew, with replacement, `RESAMPLES` times, from a generator with a fixed seed; the standard error is the
  standard deviation of what comes out.

They say how the value would differ with other examples of the same kind, and nothing of other seeds of training.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import sqrt
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEWEST", "Doubt", "Measure", "bootstrapped", "share", "with_error"]

Doubt = Literal["wilson", "bootstrap", "normal", "none"]
RESAMPLES = 1000
SEED = 0
Z = 1.959963984540054  # of a normal distribution, 2.5 % lies above
FEWEST = 5
"""Examples below which a bootstrap says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A value that a score gives a model.

    Attributes:
        metric: what it is: "accuracy".
        value: the value.
        num_examples: how many examples it is of.
        unit: what the examples are: "examples", "tokens".
        error: standard error; None where there is no chance, or too few examples.
        low: lower end of the 95 % interval, likewise.
        high: upper end, likewise.
        doubt: how error and interval were found.
        is_better_high: larger values are better.
        data: a digest of the examples, where the score has found them itself.
        settled: settings that the user has left to the model, by name.
    """

    metric: str
    value: float
    num_examples: int
    unit: str = "examples"
    error: float | None = None
    low: float | None = None
    high: float | None = None
    doubt: Doubt = "none"
    is_better_high: bool = True
    data: str = ""
    settled: Mapping[str, object] = field(default_factory=dict)


def share(metric: str, hits: Sequence[bool]) -> Measure:
    """Measure the share of examples that are right, with Wilson's interval.

    Args:
        metric: what it is called.
        hits: whether each example is right; at least one.

    Example:
        >>> measure = share("accuracy", [True] * 8 + [False] * 2)
        >>> measure.value, round(measure.low, 3), round(measure.high, 3)
        (0.8, 0.49, 0.943)
    """
    n = len(hits)
    p = sum(hits) / n
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return Measure(
        metric=metric,
        value=p,
        num_examples=n,
        error=sqrt(p * (1 - p) / n),
        low=max(centre - half, 0.0),
        high=min(centre + half, 1.0),
        doubt="wilson",
    )


def bootstrapped(
    metric: str,
    num_examples: int,
    value_of: Callable[[NDArray[np.int64]], float],
    *,
    counted: int | None = None,
    unit: str = "examples",
    is_better_high: bool = True,
    settled: Mapping[str, object] = MappingProxyType({}),
) -> Measure:
    """Measure anything that is made of examples, with a bootstrap over them.

    Args:
        metric: what it is called.
        num_examples: how many examples there are, which are drawn anew.
        value_of: the value for a choice of examples: their indices, in which one may stand several times.
        counted: how many `unit` it is of, where that is not `num_examples`.
        unit: what is counted.
        is_better_high: larger values are better.
        settled: see `Measure`.

    Returns:
        The value; below `FEWEST` examples without an error and an interval. Draws that have no value (NaN, such as a
        correlation of equal numbers) are left out.
    """
    whole = np.arange(num_examples)
    value = float(value_of(whole))
    measure = Measure(
        metric=metric,
        value=value,
        num_examples=counted if counted is not None else num_examples,
        unit=unit,
        is_better_high=is_better_high,
        settled=dict(settled),
    )
    generator = np.random.Generator(np.random.PCG64(SEED))
    drawn = np.array([value_of(generator.integers(0, num_examples, num_examples)) for _ in range(RESAMPLES)])
    drawn = drawn[np.isfinite(drawn)]
    if num_examples < FEWEST or len(drawn) < 2 or not np.isfinite(value):
        return measure
    low, high = np.quantile(drawn, [0.025, 0.975])
    error = float(drawn.std(ddof=1))
    return replace(measure, error=error, low=float(low), high=float(high), doubt="bootstrap")


def with_error(
    metric: str, value: float, error: float | None, num_examples: int, *, is_better_high: bool = True, data: str = ""
) -> Measure:
    """Return a value whose standard error somebody else has found, with the interval of a normal distribution."""
    known = error is not None and np.isfinite(error)
    return Measure(
        metric=metric,
        value=value,
        num_examples=num_examples,
        error=error if known else None,
        low=value - Z * error if known and error is not None else None,
        high=value + Z * error if known and error is not None else None,
        doubt="normal" if known else "none",
        is_better_high=is_better_high,
        data=data,
    )

"""What models' weights come to when they are divided by their sum, and what is wrong with those that cannot be."""

from collections.abc import Mapping, Sequence
from typing import Any

from cuvee.tensors.algebra import ZERO_SHARES

__all__ = ["cancel", "shares"]


def cancel(parameters: Mapping[str, Any]) -> str:
    """Refuse to divide by a sum of weights that is zero: a method's `check`.

    Args:
        parameters: with ``weight``, and ``normalize`` if the method leaves a choice.

    Returns:
        What is wrong, or an empty string.
    """
    weights: Sequence[float] = parameters["weight"]
    choice = "normalize" in parameters
    if (choice and not parameters["normalize"]) or abs(sum(weights)) > ZERO_SHARES * max(map(abs, weights)):
        return ""
    way_out = "set normalize: false, or change them" if choice else "change them"
    return f"the weights {list(weights)} add up to zero and cannot be normalised; {way_out}"


def shares(weights: Sequence[float], normalize: bool = True) -> list[float]:
    """Return the factor on each model: its weight, divided by the sum of all if they are normalised."""
    divisor = sum(weights) if normalize else 1.0
    return [w / divisor for w in weights]

"""Numbers with where they are from, and sums that say how much of them is not known."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

__all__ = ["MARKS", "UNKNOWN", "Amount", "Fact", "Mark", "total"]

Mark = Literal["code", "table", "paper", "summary", "recall", "checked", "derived", "ours", "unknown"]
MARKS: dict[str, str] = {
    "code": "read in the authors' published code",
    "table": "a value of a published table, confirmed by a second source",
    "paper": "stated by the paper",
    "summary": "stated by secondary summaries of the paper",
    "recall": "from general knowledge, not checked: check it before you publish it",
    "checked": "read in the library or package that is named",
    "derived": "calculated from other facts",
    "ours": "our choice: the source does not say",
}
"""What marks mean."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A number of a declaration.

    Attributes:
        value: None where it is not known.
        mark: where it is from, see `MARKS`.
    """

    value: float | None
    mark: Mark

    @property
    def amount(self) -> "Amount":
        """The number as a sum of one."""
        return Amount(0.0, 1) if self.value is None else Amount(self.value)


UNKNOWN = Fact(None, "unknown")


@dataclass(frozen=True, slots=True)
class Amount:
    """A sum of numbers of which some may not be known.

    Attributes:
        known: sum of those that are.
        unknown: how many are not.
    """

    known: float
    unknown: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        """Add both parts."""
        return Amount(self.known + other.known, self.unknown + other.unknown)

    def times(self, factor: float) -> "Amount":
        """Multiply what is known."""
        return Amount(self.known * factor, self.unknown)


def total(amounts: Iterable[Amount]) -> Amount:
    """Add up."""
    return sum(amounts, Amount(0.0))

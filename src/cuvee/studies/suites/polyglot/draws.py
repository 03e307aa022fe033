"""Random choices from a generator with a purpose, fast enough for a hundred thousand small questions."""

from collections.abc import Sequence
from typing import TypeVar

import torch

from cuvee.studies.seeds import generator_for

__all__ = ["Draws"]

Item = TypeVar("Item")
BLOCK = 4096  # numbers taken from the generator at a time: one by one takes ten times as long
RANGE = 2**40  # so far above every choice's number of items that the remainder is as good as uniform


class Draws:
    """A stream of choices.

    Args:
        seed: of the generator.
        purpose: of the generator.
    """

    def __init__(self, seed: int, purpose: str) -> None:
        self._generator = generator_for(seed, purpose)
        self._numbers: list[int] = []

    def below(self, limit: int) -> int:
        """Draw a whole number from 0 to `limit` - 1."""
        if not self._numbers:
            self._numbers = torch.randint(RANGE, (BLOCK,), generator=self._generator).tolist()
        return self._numbers.pop() % limit

    def one(self, items: Sequence[Item]) -> Item:
        """Draw an item."""
        return items[self.below(len(items))]

    def several(self, items: Sequence[Item], count: int) -> list[Item]:
        """Draw different items, in random order."""
        left = list(items)
        return [left.pop(self.below(len(left))) for _ in range(count)]

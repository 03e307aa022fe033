"""Which models are merged: growing chains of constituents, drawn at random.

Tam et al. (arXiv 2409.18314), as published code has it: permutations of all tasks from seed 0, accepted only if no two
share a prefix of two or more; a subset of size m is the first m of a permutation. The published code compares ordered
prefixes, so two subsets of a size may hold the same models. Difference: such subsets are worked on once, and count as
often as they were drawn.
"""

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from cuvee.errors import StudyError
from cuvee.studies.suite import Cell

__all__ = ["subsets"]

TRIES = 10_000


def subsets(cells: Sequence[Cell], num_models: int, num_draws: int) -> Mapping[tuple[Cell, ...], int]:
    """Draw sets of constituents; larger sets of the same draw contain the smaller ones.

    Args:
        cells: held-in cells, in the suite's order.
        num_models: size of each set.
        num_draws: how many permutations.

    Returns:
        How often each set was drawn; a set's cells are in the suite's order.

    Raises:
        StudyError: there are fewer cells than models in a set, or fewer permutations than draws.
    """
    if not 1 <= num_models <= len(cells):
        raise StudyError(f"sets of {num_models} constituents were asked for, and the suite has {len(cells)} of them.")
    drawn = Counter(_ordered(permutation[:num_models], cells) for permutation in _permutations(cells, num_draws))
    return dict(drawn)


def _permutations(cells: Sequence[Cell], count: int) -> list[list[Cell]]:
    """Draw permutations that begin differently."""
    source, accepted, begun = random.Random(0), list[list[Cell]](), set[tuple[Cell, ...]]()
    for _ in range(TRIES):
        if len(accepted) == count:
            return accepted
        permutation = source.sample(list(cells), len(cells))
        if tuple(permutation[:2]) not in begun:
            begun.add(tuple(permutation[:2]))
            accepted.append(permutation)
    raise StudyError(
        f"{count} sets of constituents were asked for that begin differently, and {len(cells)} constituents make only "
        f"{len(accepted)}."
    )


def _ordered(chosen: Sequence[Cell], cells: Sequence[Cell]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if cell in chosen)

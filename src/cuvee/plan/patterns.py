"""Patterns of values that differ by name, held against the names that there are. Knows no model."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from cuvee.errors import PlanError, nearest
from cuvee.recipe.patterns import matches
from cuvee.recipe.varying import ByName
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["unmatched"]

ANY = "*"
SIGNS = frozenset("*?[")
SHORTEST = 5  # letters of a word that can be told from a misspelt other one
# Right in some family, so that they are no slips in another: configurations are passed on from one to the next.
USUAL = frozenset(
    f"{part}_proj" for part in ("q", "k", "v", "o", "qkv", "gate", "up", "down", "gate_up", "in", "out", "c", "x", "dt")
) | {"query", "queries", "value", "values", "dense", "embed", "embeds", "norms", "layer", "layers", "block", "blocks"}


def unmatched(settings: Iterable[tuple[Mapping[str, Any], Where]], names: Collection[str]) -> list[str]:
    """Say which patterns match no tensor.

    Args:
        settings: each method's parameters, with their place in the recipe.
        names: of all tensors: the models', the output's, and those that are tied to others.

    Returns:
        A note for each pattern.

    Raises:
        PlanError: a pattern that matches nothing is a misspelt part of a name; names what it may have meant. Another
            case is no error, as configurations made for mergekit may have it to no effect.
    """
    asked = {
        (name, pattern): (*where, name)
        for given, where in settings
        for name, value in given.items()
        for each in (value if isinstance(value, tuple) else (value,))
        for pattern in _patterns(each)
    }
    used: dict[str, bool] = {}
    notes, words = [], None
    for (name, pattern), where in asked.items():
        if pattern not in used:
            used[pattern] = pattern == ANY or any(matches((pattern,), each) for each in names)
        if used[pattern]:
            continue
        words = words or {part for each in names for part in each.split(".")}
        said = f"'{name}' has a value for the tensors {shown(pattern)}, and no name matches"
        if hint := _hint(pattern, words):
            raise PlanError(f"{said}.{hint}", where)
        notes.append(f"{said}; upper and lower case differ.")
    return notes


def _patterns(value: object) -> Iterator[str]:
    """Yield the patterns of a value, and of those within it."""
    if isinstance(value, ByName):
        for pattern, each in value.values:
            yield pattern
            yield from _patterns(each)


def _hint(pattern: str, words: Iterable[str]) -> str:
    """Suggest the word that a pattern was most likely meant to contain, if it is a misspelt one."""
    word = pattern.strip("*.")
    if SIGNS & set(word) or word in USUAL or len(word) < SHORTEST:
        return ""
    other_case = any(each.casefold() == word.casefold() for each in words)
    return "" if other_case else nearest(word, [each for each in words if abs(len(each) - len(word)) <= 1])

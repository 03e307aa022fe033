"""Patterns of values that differ by name, held against the names that there are."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from cuvee.errors import PlanError, nearest
from cuvee.recipe.patterns import first_match
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["unmatched"]

SIGNS = frozenset("*?[")
SHORTEST = 5  # letters of a word that can be told from a misspelt other one
# Right in some family, so that they are no slips in another: configurations are passed on from one to the next.
USUAL = frozenset(
    f"{part}_proj" for part in ("q", "k", "v", "o", "qkv", "gate", "up", "down", "gate_up", "in", "out", "c", "x", "dt")
) | {"query", "queries", "value", "values", "dense", "embed", "embeds", "norms", "layer", "layers", "block", "blocks"}


def unmatched(recipe: Recipe, names: Sequence[Iterable[str]]) -> list[str]:
    """Say which patterns match no tensor.

    Args:
        recipe: the recipe.
        names: of all tensors: the models', the output's, and those that are tied to others; several collections, which
            may have names in common.

    Returns:
        A note for each pattern.

    Raises:
        PlanError: a pattern that matches nothing is a misspelt part of a name; names what it may have meant. Another
            case is no error, as configurations made for mergekit may have it to no effect.
    """
    notes: list[str] = []
    words: set[str] = set()
    origin = recipe.origin
    for pattern, where in _patterns_of(recipe).items():
        if first_match(pattern, chain.from_iterable(names)) is not None:
            continue
        words = words or {part for each in chain.from_iterable(names) for part in each.split(".")}
        parameter = where[where.index("parameters") + 1]
        is_filter = origin is not None and origin.translated
        what = f"the filter {shown(_part_of(pattern))}" if is_filter else f"the tensors {shown(pattern)}"
        said = f"'{parameter}' has a value for {what}, and no name matches"
        if hint := _hint(pattern, words):
            raise PlanError(f"{said}.{hint}", where)
        line = f"{origin.place(where)}: " if origin is not None else ""
        literal = (
            "; it is a plain part of names, without signs like *" if is_filter and SIGNS & set(pattern[1:-1]) else ""
        )
        notes.append(f"{line}{said}{literal}; upper and lower case differ.{_like(pattern, words)}")
    return notes


def _patterns_of(recipe: Recipe) -> dict[str, Where]:
    """Return every pattern of a recipe's values, with the first place where it stands."""
    blocks: list[tuple[Mapping[str, object], Where]] = [(recipe.parameters, ("parameters",))]
    for stack, slices in recipe.layers.items():
        place: Where = ("layers", *([stack] if stack else []))
        blocks += [(each.parameters, (*place, i, "parameters")) for i, each in enumerate(slices)]
    blocks += [(rule.parameters, ("tensors", i, "parameters")) for i, rule in enumerate(recipe.tensors)]
    found: dict[str, Where] = {}
    for block, where in blocks:
        for pattern, at in _patterns(block, where):
            found.setdefault(pattern, at)
    return found


def _patterns(value: object, where: Where) -> Iterator[tuple[str, Where]]:
    """Go through the patterns in a value, at any depth."""
    if isinstance(value, tuple):
        for i, each in enumerate(value):
            yield from _patterns(each, (*where, i))
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if where[-1] == "by_name":
                yield key, (*where, key)
            yield from _patterns(each, (*where, key))


def _part_of(pattern: str) -> str:
    """Return the part of names that a pattern was made of, which has a sign of its own in brackets."""
    return re.sub(r"\[(.)\]", r"\1", pattern[1:-1])


def _like(pattern: str, words: Iterable[str]) -> str:
    """Name a word that is like a pattern but for upper and lower case, or too short for that to be a slip for sure."""
    word = pattern.strip("*.")
    return "" if (SIGNS | {"."}) & set(word) or word in USUAL else nearest(word, sorted(words))


def _hint(pattern: str, words: Iterable[str]) -> str:
    """Suggest the word that a pattern was most likely meant to contain, if it is a misspelt one."""
    word = pattern.strip("*.")
    if SIGNS & set(word) or word in USUAL or len(word) < SHORTEST:
        return ""
    other_case = any(each.casefold() == word.casefold() for each in words)
    return "" if other_case else nearest(word, [each for each in words if abs(len(each) - len(word)) <= 1])

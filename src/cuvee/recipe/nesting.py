"""Recipes within recipes: how deep, and how many. Knows nothing of what a recipe says besides its models.

A recipe that several use is one object and is merged once, but wherever a recipe is written down - in the weights, the
record, the card, as YAML - it stands in full where it is used. Recipes that use each other twice would be written out
without end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from cuvee.errors import RecipeError

__all__ = ["MOST_LEVELS", "MOST_WITHIN", "Extent", "extent_of", "refuse_deep", "says_merge", "too_deep"]

MOST_LEVELS = 24  # written as YAML each takes two of the 50 levels that are read back
MOST_WITHIN = 1000  # some MB of the record


@dataclass(frozen=True, slots=True)
class Extent:
    """What a recipe has within it.

    Attributes:
        levels: of recipes within recipes; 0 if all its models are such.
        recipes: how many are within it, written out: as often as they are used.
    """

    levels: int = 0
    recipes: int = 0


def extent_of(within: Iterable[Extent]) -> Extent:
    """Return a recipe's extent.

    Args:
        within: those of the recipes that stand for its models and its base.

    Raises:
        RecipeError: it is too large to be written out.
    """
    found = list(within)
    levels = max((1 + each.levels for each in found), default=0)
    recipes = sum(1 + each.recipes for each in found)
    if levels > MOST_LEVELS:
        raise too_deep()
    if recipes > MOST_WITHIN:
        raise RecipeError(
            f"written out wherever they are used, {recipes:,} recipes stand within this one; at most {MOST_WITHIN:,} "
            "can. Merge one that is used often beforehand, and name the folder that it makes."
        )
    return Extent(levels, recipes)


def refuse_deep(content: object) -> None:
    """Refuse plain values of a recipe that have too many levels of recipes, before any function follows them down.

    Raises:
        RecipeError: they have.
    """
    level = [content]
    for _ in range(MOST_LEVELS + 1):
        within = (model for each in level for model in _models(each) if says_merge(model))
        level = list({id(model): model for model in within}.values())
        if not level:
            return
    raise too_deep()


def _models(content: object) -> Iterable[object]:
    """Return what plain values of a recipe name as models, and as base."""
    if not isinstance(content, Mapping):
        return ()
    models = content.get("models")
    listed = models.values() if isinstance(models, Mapping) else models if isinstance(models, list | tuple) else ()
    return (*listed, content.get("base"))


def says_merge(model: object) -> TypeGuard[Mapping[str, object]]:
    """Say whether plain values in the place of a model are a recipe."""
    return isinstance(model, Mapping) and isinstance(model.get("method"), str) and "models" in model


def too_deep() -> RecipeError:
    """Return the error for too many levels."""
    return RecipeError(
        f"more than {MOST_LEVELS} levels of recipes stand within this one. Merge an inner one beforehand, and name "
        "the folder that it makes."
    )

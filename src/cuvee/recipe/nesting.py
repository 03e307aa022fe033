"""Recipes within recipes: how deep, and how many. Knows nothing of what a recipe says besides its models.

A recipe that several use is one object and is merged once, but wherever a recipe is written down - in the weights, the
record, the card, as YAML - it stands in full where it is used. Recipes that use each other twice would be written out
without end.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeGuard

from cuvee.errors import RecipeError

__all__ = [
    "MOST_LEVELS",
    "MOST_WITHIN",
    "Extent",
    "extent_of",
    "refuse_deep",
    "says_adapters",
    "says_merge",
    "too_deep",
]

MOST_LEVELS = 24  # of recipes
DEEPEST = 48  # of the 50 levels of YAML that are read back; a recipe takes two, adapters on one take another
MOST_WITHIN = 1000  # some MB of the record


@dataclass(frozen=True, slots=True)
class Extent:
    """What a recipe has within it.

    Attributes:
        levels: of recipes within recipes; 0 if all its models are such.
        recipes: how many are within it, written out: as often as they are used.
        depth: levels of YAML that those within it take, written out.
    """

    levels: int = 0
    recipes: int = 0
    depth: int = 0

    def on_a_level_more(self) -> "Extent":
        """Return the extent of adapters on the recipe, which take a level of YAML."""
        return replace(self, depth=self.depth + 1)


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
    depth = max((2 + each.depth for each in found), default=0)
    if levels > MOST_LEVELS or depth > DEEPEST:
        raise too_deep()
    if recipes > MOST_WITHIN:
        raise RecipeError(
            f"written out wherever they are used, {recipes:,} recipes stand within this one; at most {MOST_WITHIN:,} "
            "can. Merge one that is used often beforehand, and name the folder that it makes."
        )
    return Extent(levels, recipes, depth)


def refuse_deep(content: object) -> None:
    """Refuse plain values of a recipe that have too many levels of recipes, before any function follows them down.

    Raises:
        RecipeError: they have.
    """
    level = [content]
    for _ in range(DEEPEST + 1):
        within = (model for each in level for model in _models(each) if says_merge(model) or says_adapters(model))
        level = list({id(model): model for model in within}.values())
        if not level:
            return
    raise too_deep()


def _models(content: object) -> Iterable[object]:
    """Return what plain values of a recipe name as models, and as base; or the model that adapters are on."""
    if not isinstance(content, Mapping):
        return ()
    if says_adapters(content):
        return (content["model"],)
    models = content.get("models")
    listed = models.values() if isinstance(models, Mapping) else models if isinstance(models, list | tuple) else ()
    return (*listed, content.get("base"))


def says_merge(model: object) -> TypeGuard[Mapping[str, object]]:
    """Say whether plain values in the place of a model are a recipe."""
    return isinstance(model, Mapping) and isinstance(model.get("method"), str) and "models" in model


def says_adapters(model: object) -> TypeGuard[Mapping[str, object]]:
    """Say whether plain values in the place of a model are a model with adapters on it."""
    return isinstance(model, Mapping) and "model" in model and isinstance(model.get("adapters"), str | list)


def too_deep() -> RecipeError:
    """Return the error for too many levels."""
    return RecipeError(
        f"more than {MOST_LEVELS} levels of recipes stand within this one, or {DEEPEST // 3} of recipes with adapters "
        "on them. Merge an inner one beforehand, and name the folder that it makes."
    )

"""Several recipes in one file, which may use each other.

::

    cuvee: 1
    recipes:
      languages: {method: linear, models: [german, french]}
      all: {method: ties, models: [languages, code], base: base}

A recipe's name, where a model is expected, stands for the model that it makes, and ``NAME+ADAPTER`` for that with an
adapter on it. Those that no other uses are what the
file is for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

from cuvee.errors import RecipeError
from cuvee.recipe.keys import RECIPES, SCHEMA
from cuvee.recipe.mergekit import is_mergekit, recipes_of_documents
from cuvee.recipe.nesting import MOST_LEVELS, says_adapters, says_merge, too_deep
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.references import BASE
from cuvee.recipe.values import inside, keys_of, mapping_of
from cuvee.recipe.yaml_text import Origin, dump, read
from cuvee.sources.reference import PLUS

__all__ = ["recipes_of", "written"]

FINAL = "merged"  # name in a file of several of a recipe that has none
NAME_SIGNS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def recipes_of(recipe: Recipe | str | Path | Mapping[str, Any]) -> Mapping[str, Recipe]:
    """Return what a recipe, or a file of several, is for.

    Args:
        recipe: a recipe, the path of a file, or plain values, of one recipe or of several.

    Returns:
        Name to recipe, for those that no other uses; a recipe by itself has the empty name.

    Raises:
        RecipeError: something in it is wrong; names file and line.
    """
    if isinstance(recipe, Recipe):
        return {"": recipe}
    if isinstance(recipe, Mapping) and is_mergekit(recipe):
        return recipes_of_documents(recipe)
    if isinstance(recipe, Mapping):
        return _Several(recipe).finals() if RECIPES in recipe else {"": Recipe.of(recipe)}
    if not isinstance(recipe, str | PathLike):
        return {"": Recipe.from_mapping(recipe)}  # which says what was expected
    content, origin = read(Path(recipe))
    if is_mergekit(content):
        with origin.named():
            return recipes_of_documents(content, origin)  # paths are the current folder's
    if not isinstance(content, Mapping) or RECIPES not in content:
        return {"": Recipe.load(recipe)}
    with origin.named():
        return _Several(content, origin).finals()


def written(recipes: Mapping[str, Recipe]) -> str:
    """Return recipes as the text of a file that `recipes_of` reads back.

    Args:
        recipes: name to recipe; a recipe by itself has the empty name.
    """
    if set(recipes) == {""}:
        return recipes[""].to_yaml()
    plain = {name or FINAL: recipe.to_mapping() for name, recipe in recipes.items()}
    inner = {name: {key: value for key, value in each.items() if key != "cuvee"} for name, each in plain.items()}
    return dump({"cuvee": SCHEMA, RECIPES: inner})


class _Several:
    """The recipes of one file.

    Args:
        content: the file's keys and values.
        origin: the file; None for values that were read from none.
    """

    def __init__(self, content: Mapping[str, Any], origin: Origin | None = None) -> None:
        self._origin = origin
        top = keys_of(content, ("cuvee", RECIPES), "a file of several recipes", ())
        if top.get("cuvee") != SCHEMA or isinstance(top.get("cuvee"), bool):
            raise RecipeError(
                f"a file of recipes begins with 'cuvee: {SCHEMA}', the version of its format.", ("cuvee",)
            )
        self._written = mapping_of(top[RECIPES], (RECIPES,))
        if not self._written:
            raise RecipeError("'recipes' is empty; write name: recipe for each.", (RECIPES,))
        for name in self._written:
            if not name or name[0] in ".-" or not NAME_SIGNS.issuperset(name) or name == BASE:
                raise RecipeError(
                    f"{name!r} is not a name for a recipe: use letters, digits, '_', '-' and '.', and not 'base'.",
                    (RECIPES, name),
                )
        self._made: dict[str, Recipe] = {}
        self._under_way: list[str] = []
        self._used: set[str] = set()

    def finals(self) -> Mapping[str, Recipe]:
        """Return the recipes that no other uses."""
        made = {name: self._make(name, 0) for name in self._written}
        return {name: recipe for name, recipe in made.items() if name not in self._used}

    def _make(self, name: str, level: int) -> Recipe:
        """Make a recipe, and those that it uses, at a level of recipes within recipes."""
        if name not in self._made:
            if name in self._under_way:
                circle = " uses ".join(f"'{each}'" for each in [*self._under_way[self._under_way.index(name) :], name])
                raise RecipeError(
                    f"recipes cannot be made of themselves: {circle}. Give one of them other models.", (RECIPES, name)
                )
            self._under_way.append(name)
            content = self._filled(mapping_of(self._written[name], (RECIPES, name)), name, level)
            with inside(RECIPES, name), _named(name):
                self._made[name] = self._placed(name, Recipe.from_mapping({"cuvee": SCHEMA, **content}))
            self._under_way.pop()
        return self._made[name]

    def _placed(self, name: str, recipe: Recipe) -> Recipe:
        """Have a recipe know where it was read, for paths in it and for messages."""
        if self._origin is None:
            return recipe
        origin = replace(self._origin, within=(RECIPES, name), called=_called(name))
        return replace(recipe, folder=origin.path.parent, origin=origin)

    def _filled(self, recipe: Mapping[str, Any], name: str, level: int) -> dict[str, Any]:
        """Put recipes in the place of their names, in one that is of this name or within that."""
        if level > MOST_LEVELS:
            with inside(RECIPES, name), _named(name):
                raise too_deep()
        content, models = dict(recipe), recipe.get("models")
        if isinstance(models, list):
            content["models"] = [self._found(each, name, level + 1) for each in models]
        elif isinstance(models, Mapping):
            content["models"] = {label: self._found(each, name, level + 1) for label, each in models.items()}
        if BASE in content:
            content[BASE] = self._found(content[BASE], name, level + 1)
        return content

    def _found(self, model: Any, name: str, level: int) -> Any:
        """Return the recipe that a model names; a model that is written as a recipe, filled; any other as it is."""
        if isinstance(model, str) and model in self._written:
            self._used.add(model)
            return self._make(model, level)
        if isinstance(model, str) and (parts := [part.strip() for part in model.split(PLUS)])[0] in self._written:
            return {"model": self._found(parts[0], name, level), "adapters": parts[1:]}
        if says_adapters(model):
            return {**model, "model": self._found(model["model"], name, level)}
        return self._filled(model, name, level) if says_merge(model) else model


def _called(name: str) -> str:
    """Return what messages call a recipe of several."""
    return f"recipe '{name}'"


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Put a recipe's name before errors in it."""
    try:
        yield
    except RecipeError as error:
        raise type(error)(f"{_called(name)}: {error}", error.where) from error

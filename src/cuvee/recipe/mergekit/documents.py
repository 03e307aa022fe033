"""A file of one configuration of mergekit, or of several that use each other's results."""

from collections.abc import Mapping
from typing import Any

from cuvee.errors import RecipeError
from cuvee.recipe.mergekit.document import Document, read_document
from cuvee.recipe.mergekit.translate import translated
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.yaml_text import Documents, Origin, Where
from cuvee.sources.strict_json import shown

__all__ = ["is_mergekit", "recipes_of_documents"]

METHOD = "merge_method"


def is_mergekit(content: object) -> bool:
    """Say whether plain values are a configuration of mergekit, or several."""
    if isinstance(content, Documents):
        return any(map(is_mergekit, content))
    return isinstance(content, Mapping) and METHOD in content and "cuvee" not in content


def recipes_of_documents(content: object, origin: Origin | None = None) -> Mapping[str, Recipe]:
    """Return configurations as recipes.

    Args:
        content: the plain values of one, or `Documents`.
        origin: the file that they were read from; None for values that were read from none.

    Returns:
        Name to recipe, for those whose results no other uses; one that has no name has the empty one.

    Raises:
        RecipeError: something in it is wrong; its place is in `content`.
    """
    if origin is not None:
        content = _as_mergekit_reads(content, origin.octal)
    if not isinstance(content, Documents):
        return {"": translated(read_document(content, ()), {}, origin=origin)}
    read = [read_document(each, (i,)) for i, each in enumerate(content)]
    named: dict[str, Document] = {}
    for document in read:
        if document.name in named:
            what = (
                f"{shown(document.name)} is the name of two documents"
                if document.name
                else "two documents have no name"
            )
            raise RecipeError(
                f"{what}; the result of one may have none, and all others have different ones.", document.where
            )
        named[document.name] = document
    return _Several(named, origin).finals()


def _as_mergekit_reads(content: object, numbers: Mapping[Where, int | float], where: Where = ()) -> object:
    """Return plain values with the numbers that mergekit, which reads YAML 1.1, finds where a recipe has text."""
    if where in numbers:
        return numbers[where]
    if isinstance(content, Mapping):
        return {key: _as_mergekit_reads(value, numbers, (*where, key)) for key, value in content.items()}
    if isinstance(content, Documents | list):
        return type(content)(_as_mergekit_reads(value, numbers, (*where, i)) for i, value in enumerate(content))
    return content


class _Several:
    """Documents that may use each other.

    Args:
        named: by name; that without one has the empty name.
        origin: the file that they were read from, or None.
    """

    def __init__(self, named: Mapping[str, Document], origin: Origin | None) -> None:
        self._named = named
        self._origin = origin
        self._made: dict[str, Recipe] = {}
        self._under_way: list[str] = []
        self._used: set[str] = set()

    def finals(self) -> Mapping[str, Recipe]:
        """Return the recipes that no other uses."""
        made = {name: self._make(name) for name in self._named}
        return {name: recipe for name, recipe in made.items() if name not in self._used}

    def _make(self, name: str) -> Recipe:
        if name not in self._made:
            document = self._named[name]
            if name in self._under_way:
                circle = " uses ".join(f"'{each}'" for each in [*self._under_way[self._under_way.index(name) :], name])
                raise RecipeError(f"results cannot be made of themselves: {circle}.", document.where)
            self._under_way.append(name)
            used = {other: self._make(other) for other in _mentioned(document) if other in self._named and other}
            self._used |= used.keys()
            self._made[name] = translated(document, used, self._origin)
            self._under_way.pop()
        return self._made[name]


def _mentioned(document: Document) -> list[str]:
    """Return the paths of all models that a document names."""
    pieces = [piece for module in document.modules for piece in module.pieces]
    models: list[Any] = [document.base, *(piece.base for piece in pieces)]
    models += [taken.model for piece in pieces for taken in piece.sources]
    return list(dict.fromkeys(model.path for model in models if model is not None))

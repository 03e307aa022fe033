"""From what a recipe calls its models to sources that can be read. The first step that touches a disk."""

import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any, cast

from cuvee.errors import MissingLibraryError, PlanError, SourceError
from cuvee.recipe.recipe import BASE, Recipe, Reference
from cuvee.recipe.yaml_text import Where
from cuvee.sources.open import open_places, open_source
from cuvee.sources.reference import places_of
from cuvee.spec import Source

__all__ = ["Resolved", "Sources"]


LONGEST = 100  # letters of the name of a merge that stands for a model


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe whose models are open.

    Attributes:
        recipe: as given.
        sources: label to source, in the recipe's order; the base, if any, last and under ``"base"``.
    """

    recipe: Recipe
    sources: Mapping[str, Source]

    @property
    def donor(self) -> str:
        """Label of the source that lends configuration, tokenizer and the order of tensors.

        It is the base, else the first model.
        """
        return BASE if BASE in self.sources else next(iter(self.sources))


class Sources(AbstractContextManager["Sources"]):
    """Opens the sources of one or more recipes, each once, and closes them in the end.

    Args:
        merged: makes a source of a recipe that stands for a model, and of a name to call it by.
    """

    def __init__(self, merged: Callable[[Resolved, str], Source]) -> None:
        self._merged = merged
        self._open: dict[object, Source] = {}
        self._owned: list[Source] = []

    def resolve(self, recipe: Recipe) -> Resolved:
        """Open a recipe's models.

        Raises:
            SourceError: a model cannot be opened; names its label and what was given.
            MissingLibraryError: opening it needs a library that is not installed; names its label, too.
        """
        named = [*recipe.models.items(), *([(BASE, recipe.base)] if recipe.base is not None else [])]
        sources = {}
        for i, (label, reference) in enumerate(named):
            try:
                sources[label] = self._get(reference, recipe.folder)
            except (MissingLibraryError, PlanError, SourceError) as error:
                # A list of models is numbered in the file, a mapping has labels.
                places: list[Where] = [(BASE,)] if label == BASE else [("models", label), ("models", i), ("models",)]
                origin = recipe.origin
                where = next((place for place in places if origin and origin.knows(place)), ())
                before = f"{origin.place(where)}: " if origin else ""
                raise type(error)(f"{before}model '{label}': {error}") from error
        return Resolved(recipe, sources)

    def _get(self, reference: Reference, folder: Path | None) -> Source:
        """Open a reference, or return the source it is open as."""
        if isinstance(reference, Recipe):
            if reference.output.adapter:
                raise PlanError(
                    "it is a merge to an adapter, which is no model by itself. Merge it beforehand, and name "
                    "BASE+FOLDER, with the folder that it makes."
                )
            if id(reference) not in self._open:
                resolved = self.resolve(reference if reference.folder else replace(reference, folder=folder))
                models = ", ".join(source.reference for source in resolved.sources.values())
                self._open[id(reference)] = self._merged(resolved, shorten(f"{reference.method} of {models}", LONGEST))
            return self._open[id(reference)]
        places = places_of(reference, folder) if isinstance(reference, str | os.PathLike) else ()
        key: object = tuple(place.real for place in places) or id(reference)
        if key not in self._open:
            held = cast("Mapping[str, Any] | Source", reference)
            self._open[key] = open_places(places) if places else open_source(held)
            if self._open[key] is not reference:
                self._owned.append(self._open[key])
        return self._open[key]

    @property
    def paths(self) -> Iterable[Path]:
        """Every file and folder that is read."""
        return [path for source in self._open.values() for path in source.paths]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened here; sources handed in stay open."""
        for source in self._owned:
            source.close()

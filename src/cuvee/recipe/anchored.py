"""A recipe to be read from another folder: what it names of this machine's disk, named from there."""

import os
from dataclasses import replace
from pathlib import Path

from cuvee.recipe.recipe import Recipe, Reference
from cuvee.recipe.references import WithAdapters, adapted
from cuvee.sources.reference import PLUS, Place, place_of, places_of

__all__ = ["anchored"]


def anchored(recipe: Recipe, folder: Path | None = None) -> Recipe:
    """Return a recipe whose paths hold wherever it is read from, or from one folder.

    Args:
        recipe: any; recipes that stand for its models are done likewise.
        folder: what paths are to be relative to; None makes them absolute. Paths where nothing lies, and names on the
            hub, stay as they are.

    Raises:
        SourceError: a model's name cannot be one.
    """
    models = {label: _anchored(each, recipe.folder, folder) for label, each in recipe.models.items()}
    base = None if recipe.base is None else _anchored(recipe.base, recipe.folder, folder)
    return replace(recipe, models=models, base=base, folder=folder)


def _anchored(reference: Reference, now: Path | None, folder: Path | None) -> Reference:
    if isinstance(reference, WithAdapters):
        adapters = [_named(each, place_of(each, now), folder) for each in reference.adapters]
        model = reference.model
        if isinstance(model, str):
            return adapted(_named(model, place_of(model, now), folder), adapters)
        return adapted(_anchored(model, now, folder), adapters)
    if isinstance(reference, Recipe):
        return anchored(reference if reference.folder else replace(reference, folder=now), folder)
    if not isinstance(reference, str):
        return reference
    places = places_of(reference, now)
    parts = [reference] if len(places) == 1 else [part.strip() for part in reference.split(PLUS)]
    model, *adapters = (_named(part, place, folder) for part, place in zip(parts, places, strict=True))
    return adapted(model, adapters) if adapters else model


def _named(part: str, place: Place, folder: Path | None) -> str:
    """Return what a model or an adapter is called from a folder."""
    if place.path is None or not os.path.lexists(place.path):
        return part
    return str(place.path.absolute()) if folder is None else os.path.relpath(place.path, folder)

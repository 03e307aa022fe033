"""From what a recipe calls its models to sources that can be read. The first step that touches a disk."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import shorten
from types import TracebackType
from typing import Any, cast

from cuvee.architectures.experts import packings
from cuvee.errors import MissingLibraryError, PlanError, SourceError
from cuvee.recipe.recipe import BASE, Recipe, Reference
from cuvee.recipe.references import WithAdapters, named_places
from cuvee.recipe.yaml_text import Where
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.open import open_places, open_source, with_adapters
from cuvee.sources.packed_experts import PackedExperts
from cuvee.sources.reference import PLUS, place_of
from cuvee.sources.rounded import rounded
from cuvee.spec import Source
from cuvee.tokenizers.fitting import fit
from cuvee.tokenizers.reconcile import reconcile

__all__ = ["Resolved", "Sources"]


LONGEST = 100  # letters of the name of a merge that stands for a model


@dataclass(frozen=True, slots=True)
class Resolved:
    """A recipe whose models are open.

    Attributes:
        recipe: as given.
        sources: label to source, in the recipe's order; the base, if any, last and under ``"base"``. All have the
            output's vocabulary.
        notes: what became of experts that are stored otherwise, and of their own vocabularies.
    """

    recipe: Recipe
    sources: Mapping[str, Source]
    notes: Sequence[str] = ()

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
        self._owned: list[Source | AdapterFolder] = []
        self._packed: dict[int, Source] = {}
        self._rounded: dict[tuple[int, str], Source] = {}
        self._fitted: dict[str, tuple[Mapping[str, Source], Sequence[str]]] = {}

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
                sources[label] = self.open(reference, recipe.folder)
            except (MissingLibraryError, PlanError, SourceError) as error:
                # A list of models is numbered in the file, a mapping has labels.
                places: list[Where] = [(BASE,)] if label == BASE else [("models", label), ("models", i), ("models",)]
                origin = recipe.origin
                where = next((place for place in places if origin and origin.knows(place)), ())
                before = f"{origin.place(where)}: " if origin else ""
                raise type(error)(f"{before}model '{label}': {error}{_looked_for(reference, recipe)}") from error
        return self._with_vocabulary(self._read_as_asked(Resolved(recipe, sources)))

    def _read_as_asked(self, resolved: Resolved) -> Resolved:
        """Have experts packed where they have to be, and all tensors rounded to the type that the recipe names."""
        asked, headers = resolved.recipe.input, {label: source.header for label, source in resolved.sources.items()}
        found, notes = packings(headers, always=asked.experts == "packed")
        sources = dict(resolved.sources)
        for label, packing in found.items():
            source = sources[label]
            sources[label] = self._packed.setdefault(id(source), PackedExperts(source, packing.header, packing.parts))
        rounded = {label: self._rounded_to(source, asked.dtype_name) for label, source in sources.items()}
        return replace(resolved, sources=rounded, notes=tuple(notes))

    def _with_vocabulary(self, resolved: Resolved) -> Resolved:
        """Give all models the output's vocabulary; recipes that say the same of the same models share the sources."""
        recipe, sources = resolved.recipe, resolved.sources
        left = [rule for rule in recipe.tensors if rule.skip or rule.copy is not None]
        key = repr((recipe.tokenizer, [(label, id(source)) for label, source in sources.items()], left))
        if key not in self._fitted:
            with recipe.origin.named() if recipe.origin else nullcontext():
                if recipe.tokenizer is None:
                    rules = {id(rule) for rule in left}
                    is_left = lambda name: id(recipe.rule_for(name)) in rules  # noqa: E731
                    self._fitted[key] = reconcile(sources, resolved.donor, is_left)
                else:
                    self._fitted[key] = fit(recipe.tokenizer, sources, resolved.donor)
        fitted, notes = self._fitted[key]
        return replace(resolved, sources=fitted, notes=(*resolved.notes, *notes))

    def open(self, reference: Reference, folder: Path | None = None) -> Source:
        """Open a reference, or return the source it is open as.

        Args:
            reference: what a recipe calls a model.
            folder: what relative paths in it are relative to; None is the current one.

        Raises:
            SourceError: it cannot be opened.
            PlanError: it is a merge that cannot be made.
            MissingLibraryError: opening it needs a library that is not installed.
        """
        if isinstance(reference, WithAdapters) and not isinstance(reference.model, str):
            return self._with_adapters(reference.model, reference.adapters, folder)
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
        places = named_places(reference, folder)
        key: object = tuple(place.real for place in places) or id(reference)
        if key not in self._open:
            held = cast("Mapping[str, Any] | Source", reference)
            self._open[key] = open_places(places) if places else open_source(held)
            if self._open[key] is not reference:
                self._owned.append(self._open[key])
        return self._open[key]

    def _with_adapters(self, model: Reference, adapters: Sequence[str], folder: Path | None) -> Source:
        """Put adapters on a model that has no place of its own."""
        ground = self.open(model, folder)
        places = [place_of(each, folder) for each in adapters]
        key = id(ground), tuple(place.real for place in places)
        if key not in self._open:
            self._open[key], opened = with_adapters(ground, places, f"({ground.reference})")
            self._owned += opened
        return self._open[key]

    def _rounded_to(self, source: Source, dtype: str | None) -> Source:
        """Return a source rounded to a type; the same one for all recipes that ask for it."""
        if dtype is None:
            return source
        key = id(source), dtype
        if key not in self._rounded:
            self._rounded[key] = rounded(source, dtype)
        return self._rounded[key]

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


def _looked_for(reference: Reference, recipe: Recipe) -> str:
    """Say what paths are relative to, where one is not there and the recipe's file lies elsewhere."""
    if recipe.folder is not None or recipe.origin is None or not isinstance(reference, str | WithAdapters):
        return ""
    beside, here = recipe.origin.path.absolute().parent, Path.cwd()
    if isinstance(reference, str):
        parts = [reference] if _lies(reference) else reference.split(PLUS)
    else:
        parts = [each for each in (reference.model, *reference.adapters) if isinstance(each, str)]
    missing = [part.strip() for part in parts if not _lies(part.strip())]
    if beside.resolve() == here.resolve() or all(part.startswith("~") or "://" in part for part in missing):
        return ""
    hint = (
        " From the configuration's folder there is such a path; run cuvee there." if _lies(beside / missing[0]) else ""
    )
    return f" Paths in a mergekit configuration are relative to the current folder, '{here}'.{hint}"


def _lies(path: str | Path) -> bool:
    return os.path.lexists(path)

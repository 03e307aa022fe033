"""The adapters that a recipe names, opened and verified to be ones that can be merged as adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cuvee.digest import Digests
from cuvee.errors import MissingLibraryError, PlanError, RecipeError, SourceError, UnsupportedError
from cuvee.recipe.recipe import Recipe, Reference
from cuvee.recipe.references import is_merge, named_places
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.adapter.folder import AdapterFolder, Factors
from cuvee.sources.adapter.tying import parted
from cuvee.sources.open import open_adapter, open_places, refuse_pipeline
from cuvee.sources.reference import Place
from cuvee.sources.strict_json import shown
from cuvee.sources.zeros import Zeros
from cuvee.spec import DTYPES, Source, TensorSpec
from cuvee.tensors.widen import widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Opened", "open_adapters", "task_vectors"]

MERGED_INSTEAD = "Merge the models themselves (leave out adapter: true), or train a plain LoRA."


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """One adapter of a recipe.

    Attributes:
        label: the model's label.
        reference: what the user called it.
        folder: its tensors.
        adapted: base and adapter, or None where no base is named.
        digests: of what was read of its file.
    """

    label: str
    reference: str
    folder: AdapterFolder
    adapted: Adapted | None
    digests: Digests

    @property
    def options(self) -> Mapping[str, Any]:
        """Its configuration, as it is written."""
        return self.folder.configuration.options

    @property
    def factors(self) -> Mapping[str, Factors]:
        """Its factors by module."""
        return {part.module: part for part in self.folder.parts if isinstance(part, Factors)}

    @property
    def grounds(self) -> Mapping[str, str]:
        """Whole tensors that its factors change besides, to the file's names: peft saves embeddings so."""
        return {n: stored for n, stored in self.folder.whole.items() if n.removesuffix(".weight") in self.factors}

    @property
    def whole(self) -> Mapping[str, str]:
        """Whole tensors that nothing else changes, to the file's names."""
        return {n: stored for n, stored in self.folder.whole.items() if n not in self.grounds}

    def floats(self, name: str) -> NDArray[np.float32]:
        """Read a tensor of the file as float32, in its shape; it is not kept.

        Raises:
            SourceError: it cannot be read.
        """
        spec = self.folder.header[name]
        data = np.empty(spec.nbytes, np.uint8)
        self.folder.read_into(data.data, name, 0)
        self.digests.add(name, 0, data.data)
        return widened(data, spec.dtype).reshape(spec.shape)


def open_adapters(recipe: Recipe, stack: ExitStack) -> tuple[Sequence[Opened], Source | None]:
    """Open the adapters of a recipe, and their base if one is named.

    Args:
        recipe: its models are adapters' folders, or BASE+ADAPTER of one base.
        stack: closes what is opened.

    Raises:
        RecipeError: a model is no adapter, or they are not of one base.
        UnsupportedError: an adapter is of a kind that cannot be merged as one.
    """
    places = {label: _places(label, reference, recipe) for label, reference in recipe.models.items()}
    bases = [base for base, _ in places.values() if base]
    if recipe.base is not None:
        if not (places_of_base := named_places(recipe.base, recipe.folder)):
            raise RecipeError("the base of adapters must be named by its path.", ("base",))
        bases.append(places_of_base)
    distinct = {tuple(place.real for place in base): base for base in bases}
    if len(distinct) > 1:
        called = sorted("+".join(place.called for place in base) for base in distinct.values())
        raise RecipeError(
            f"adapters are merged as adapters of one base; the recipe names {' and '.join(map(shown, called))}. "
            "Merge the models themselves: leave out adapter: true.",
            ("models",),
        )
    source = None
    if distinct:
        source = open_places(next(iter(distinct.values())))
        stack.callback(source.close)
        refuse_pipeline(source, source.reference, next(adapter.called for _, adapter in places.values()))
    opened = [_open(label, source, adapter, recipe, stack) for label, (_, adapter) in places.items()]
    if source is None:
        _refuse_two_bases(opened)
    return opened, source


def task_vectors(opened: Sequence[Opened], stack: ExitStack) -> tuple[Mapping[str, Adapted], Zeros]:
    """Return each adapter on a base of zeros: its task vector as a source, formed as it is read.

    Tensors that an adapter has as a whole are what they are. All have the names of all.

    Raises:
        PlanError: adapters differ in the shape of a tensor.
    """
    header: dict[str, TensorSpec] = {}
    for each in opened:
        for name, spec in _specs(each).items():
            known = header.setdefault(name, spec)
            if known.shape != spec.shape:
                raise PlanError(
                    f"{shown(name)}: adapter '{each.label}' is made for shape {spec.shape}, others for {known.shape}; "
                    "expected adapters of one base.",
                    ("models",),
                )
    zeros = Zeros(header, "a base of zeros")
    found = {each.label: Adapted(zeros, each.folder, each.reference, changes_only=True) for each in opened}
    for source in found.values():
        stack.callback(source.close)
    return found, zeros


def _places(label: str, reference: Reference, recipe: Recipe) -> tuple[Sequence[Place], Place]:
    """Return the place of the base, if there is one, and that of the adapter that a reference names."""
    places = named_places(reference, recipe.folder)
    if is_merge(reference) and not places:
        raise RecipeError(
            f"model '{label}' is a merge, and adapters are merged as adapters from folders. Merge it by itself (with "
            "output: {adapter: true}), and name the folder that it makes.",
            ("models", label),
        )
    if not places:
        raise RecipeError(f"model '{label}' must be named by a path to be merged as an adapter.", ("models", label))
    *base, adapter = places
    if len(base) > 1 and recipe.base is None:
        raise RecipeError(
            f"model '{label}' has {len(base)} adapters; expected one. Merge those first, with task_arithmetic.",
            ("models", label),
        )
    return base, adapter


def _open(label: str, base: Source | None, adapter: Place, recipe: Recipe, stack: ExitStack) -> Opened:
    """Open one adapter and verify it, against the base if there is one."""
    reference = str(recipe.models[label])
    try:
        folder = open_adapter(adapter, reference)
        stack.callback(folder.close)
        _refuse_others(folder)
        adapted = None if base is None else Adapted(parted(base, folder), folder, reference)
    except (MissingLibraryError, SourceError) as error:
        raise type(error)(f"model '{label}': {error}") from error
    return Opened(label=label, reference=reference, folder=folder, adapted=adapted, digests=Digests(folder.header))


def _refuse_others(folder: AdapterFolder) -> None:
    """Refuse what is not a plain low-rank adapter; names what it is."""
    for part in folder.parts:
        kind = f"({type(part).__name__.lower()})"
        if isinstance(part, Factors):
            shapes = folder.header[part.a].shape, folder.header[part.b].shape
            plain = part.depth == 0 and min(map(len, shapes)) >= 2 and shapes[0][0] == part.rank == shapes[1][1]
            kind = "(magnitudes, DoRA)" if part.magnitude else "" if plain else "(of several experts or groups)"
        if kind:
            raise UnsupportedError(
                f"{folder.file} changes {shown(part.module)} by other means than two factors {kind}, "
                f"which has no merge as an adapter. {MERGED_INSTEAD}"
            )


def _refuse_two_bases(opened: Sequence[Opened]) -> None:
    """Refuse adapters that say they were made for different bases."""
    stated = {each.label: each.folder.configuration.base for each in opened if each.folder.configuration.base}
    if len(set(stated.values())) > 1:
        listed = ", ".join(f"'{label}' for {shown(base)}" for label, base in stated.items())
        raise RecipeError(
            f"the adapters say that they were made for different bases: {listed}. If it is one base, name it: 'base', "
            "or BASE+ADAPTER.",
            ("models",),
        )


def _specs(opened: Opened) -> Mapping[str, TensorSpec]:
    """Return what an adapter changes, as tensors of a base; weights that layers store (in, out) are shaped so."""
    header, found = opened.folder.header, {}
    for module, part in opened.factors.items():
        a, b = header[part.a].shape, header[part.b].shape
        shape = (b[0], *a[1:])
        if part.is_embedding or (opened.folder.configuration.fan_in_fan_out and len(shape) == 2):
            shape = shape[::-1]
        found[f"{module}.weight"] = TensorSpec(shape, DTYPES["F32"])
        if part.bias:
            found[f"{module}.bias"] = TensorSpec(header[part.bias].shape, DTYPES["F32"])
    return {name: header[stored] for name, stored in opened.folder.whole.items()} | found

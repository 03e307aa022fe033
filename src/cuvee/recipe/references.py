"""What a recipe calls its models: labels, and references to checkpoints, state dicts and sources. Opens none."""

import os
import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast

from cuvee.errors import RecipeError
from cuvee.recipe.nesting import Extent
from cuvee.recipe.values import inside
from cuvee.recipe.varying import KEYS
from cuvee.recipe.yaml_text import Where
from cuvee.sources.reference import PLUS, Place, place_of, places_of
from cuvee.sources.strict_json import shown
from cuvee.spec import Source

__all__ = [
    "BASE",
    "Merge",
    "Models",
    "Reference",
    "WithAdapters",
    "adapted",
    "checked",
    "is_merge",
    "labelled",
    "named_places",
    "without_version",
    "written",
]

BASE = "base"


class Merge(Protocol):
    """What stands for a model that is still to be made: a recipe, or adapters on one."""

    @property
    def extent(self) -> Extent: ...  # noqa: D102 - how many recipes stand within it, and how deep

    def to_mapping(self) -> dict[str, object]:
        """Return it as plain values."""
        ...

    def canonical(self) -> dict[str, object]:
        """Return what decides the merged bytes."""
        ...

    def check_within(self) -> None:
        """Refuse what cannot stand for a model of another recipe."""
        ...


Reference = str | os.PathLike[str] | Mapping[str, Any] | Source | Merge
"""What a model is called: a path or a name, a state dict, a source that is open already, a recipe that makes it; or one
of these with adapters."""
Models = Mapping[str, Reference] | Sequence[Reference]
"""What a recipe may be given: references by label, or in order."""


@dataclass(frozen=True, slots=True)
class WithAdapters:
    """A model with adapters on it, in full: the model may be a merge, and a path may hold a ``+``. See `adapted`.

    Attributes:
        model: the model; a path or a name is one by itself, whatever its letters.
        adapters: paths or names, one after the other.
    """

    model: Reference
    adapters: tuple[str, ...]

    @property
    def extent(self) -> Extent:
        """How many recipes stand within it, and how deep."""
        return self.model.extent.on_a_level_more() if is_merge(self.model) else Extent()

    def to_mapping(self) -> dict[str, object]:
        """Return it as plain values."""
        return {"model": written(self.model), "adapters": list(self.adapters)}

    def canonical(self) -> dict[str, object]:
        """Return what decides its bytes, without any path: adapters are counted."""
        model = without_version(self.model.canonical()) if is_merge(self.model) else "model"
        return {"model": model, "adapters": len(self.adapters)}

    def check_within(self) -> None:
        """Refuse what cannot stand for a model of a recipe: see `Merge`."""
        if is_merge(self.model):
            self.model.check_within()

    def __str__(self) -> str:
        model = self.model if isinstance(self.model, str | os.PathLike) else f"(a {type(self.model).__name__})"
        return PLUS.join([os.fspath(model), *self.adapters])


def adapted(model: Reference, adapters: Sequence[str]) -> Reference:
    """Return what a model with adapters is called: text, if that can be read back; else in full.

    Args:
        model: the model; a path or a name is one by itself, without adapters.
        adapters: paths or names.
    """
    if isinstance(model, WithAdapters):
        return adapted(model.model, [*model.adapters, *adapters])
    if isinstance(model, str) and not any(PLUS in part for part in (model, *adapters)):
        return PLUS.join([model, *adapters])
    return WithAdapters(model, tuple(adapters))


def labelled(models: Models) -> dict[str, Reference]:
    """Check labels and references, and give labels to a sequence of references.

    Raises:
        RecipeError: there is no model, or a label or a reference is none.
    """
    places: dict[str, str | int] = {}
    if isinstance(models, Sequence) and not isinstance(models, str):
        places = {f"m{i}": i for i in range(len(models))}
        models = dict(zip(places, models, strict=True))
    if not isinstance(models, Mapping):
        raise RecipeError("'models' must be a list of paths, or label: path for each model.", ("models",))
    if not models:
        raise RecipeError("'models' is empty; name at least one model: a list of paths, or label: path.", ("models",))
    for label in models:
        if not isinstance(label, str) or not re.fullmatch(r"[\w.-]+", label) or label in (BASE, *KEYS):
            raise RecipeError(
                f"{shown(label)} is not a label for a model: use letters, digits, '_', '-' and '.'; "
                f"{', '.join(map(repr, (BASE, *KEYS)))} have another meaning.",
                ("models", str(label)),
            )
    return {
        label: checked(label, reference, ("models", places.get(label, label))) for label, reference in models.items()
    }


def checked(label: str, reference: object, where: Where) -> Reference:
    """Return a reference, a path as text.

    Args:
        label: the model's, for messages.
        reference: what should be one.
        where: its place in the recipe.

    Raises:
        RecipeError: it is none; says what it is, and what to give instead.
    """
    path = os.fspath(reference) if isinstance(reference, os.PathLike) else reference
    if isinstance(path, str) and path:
        return path
    if isinstance(reference, Mapping) and _has_tensors(reference):
        return reference
    if hasattr(reference, "header") and hasattr(reference, "read_into"):
        return cast(Source, reference)
    if is_merge(reference):
        with inside(*where):
            reference.check_within()
        return reference
    if isinstance(reference, WithAdapters):
        return reference
    raise RecipeError(
        f"model '{label}': {_shown(reference)} is not a path to a model (nor, in Python, a state dict or a source)."
        f"{_hint(reference)}",
        where,
    )


def is_merge(reference: object) -> TypeGuard[Merge]:
    """Say whether a reference is a recipe, or adapters on one."""
    if isinstance(reference, WithAdapters):
        return is_merge(reference.model)
    return hasattr(reference, "to_mapping") and hasattr(reference, "canonical")


def named_places(reference: Reference, folder: Path | None) -> Sequence[Place]:
    """Return what a reference means: a model's place, and those of adapters on it; nothing where it is no name.

    Args:
        reference: the reference.
        folder: what relative paths in it are relative to; None is the current one.

    Raises:
        SourceError: it cannot be a reference.
    """
    if isinstance(reference, WithAdapters) and isinstance(reference.model, str):
        return [place_of(each, folder) for each in (reference.model, *reference.adapters)]
    return places_of(reference, folder) if isinstance(reference, str | os.PathLike) else ()


def written(reference: Reference) -> object:
    """Write a reference down as plain values; what is held in memory has no name."""
    if isinstance(reference, WithAdapters) or is_merge(reference):
        return without_version(reference.to_mapping())
    return reference if isinstance(reference, str) else "(held in memory)"


def without_version(content: Mapping[str, object]) -> dict[str, object]:
    """Return plain values of a recipe as they stand within another: the version of the format is that one's."""
    return {key: value for key, value in content.items() if key != "cuvee"}


def _has_tensors(value: object) -> bool:
    """Say whether a value is a mapping that holds tensors itself; what else it holds is refused when it is opened."""
    return isinstance(value, Mapping) and any(hasattr(tensor, "dtype") for tensor in value.values())


def _shown(reference: object) -> str:
    """Show a value in a message: a plain one as it is, anything else by its kind."""
    is_plain = isinstance(reference, str | int | float | list | tuple | dict | None)
    return reprlib.repr(reference) if is_plain else f"a {type(reference).__name__}"


def _hint(reference: object) -> str:
    """Say what to do about a value that is no reference."""
    if isinstance(reference, Mapping) and not reference:
        return " It is empty."
    if isinstance(reference, Mapping):
        inner = next((key for key, value in reference.items() if _has_tensors(value)), None)
        if inner is not None:
            return f" Give the state dict itself, which it has under {shown(inner)}."
        return " Write the path by itself; settings go under 'parameters'."
    if isinstance(reference, int | float) and not isinstance(reference, bool):
        return " Put a name made of digits in quotes."
    if hasattr(reference, "state_dict"):
        return " Call its .state_dict()."
    if hasattr(reference, "dtype"):
        return " Name it in a state dict, or merge single tensors with cuvee.merge_tensors."
    return ""

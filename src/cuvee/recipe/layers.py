"""Layers put together anew: which of them the output has, and which layers of the models each is made of.

::

    layers:
      - {take: {math: [0, 16], code: [0, 16]}}
      - {take: {math: [8, 24]}, method: copy}

Each slice makes as many layers of the output as its ranges are long, one after the other. Tensors before the layers are
made as the first slice says, those after them as the last one does; a slice at an end may have no layers (``[0, 0]``)
and say just that. For models of several stacks of layers (encoder and
decoder, vision and text) it is a mapping from a stack's name, such as ``encoder.block``, to its slices; stacks that are
not named stay as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.references import BASE
from cuvee.recipe.values import frozen_items, inside, keys_of, kind_of, list_of, mapping_of, thawed
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["Layers", "Slice", "layers_of", "plain_layers"]

ONLY = ""
"""Stands for the one stack of models that have just one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """Consecutive layers of the output.

    Attributes:
        take: for each model by label, in order, the first layer that is taken and the one after the last. All ranges
            are of one length.
        method: another method for these layers.
        parameters: values for its parameters; without `method`, they replace those of the recipe one by one. Lists and
            mappings of one for each model are for the models of `take`, but for the base. What varies over depth goes
            from the slice's first layer to its last.
        base: label of the base among those of `take`, for methods that work on task vectors.
    """

    take: Mapping[str, tuple[int, int]]
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    base: str = BASE

    @property
    def length(self) -> int:
        """Number of layers that it makes."""
        first, end = next(iter(self.take.values()))
        return end - first

    @property
    def labels(self) -> tuple[str, ...]:
        """The models that are merged: those of `take`, but for the base."""
        return tuple(label for label in self.take if label != self.base)

    @classmethod
    def from_mapping(cls, value: object) -> "Slice":
        """Read a slice from plain values.

        Raises:
            RecipeError: it is malformed.
        """
        content = keys_of(value, ("take", "method", "parameters", "base"), "a slice of layers", ())
        take = mapping_of(content.get("take"), ("take",))
        if not take:
            raise RecipeError("a slice needs 'take': LABEL: [first, end] for each model.", ("take",))
        ranges = {label: _range(label, given) for label, given in take.items()}
        lengths = {label: end - first for label, (first, end) in ranges.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"'{label}' {length}" for label, length in lengths.items())
            raise RecipeError(f"the ranges of a slice are of one length; these have layers: {found}.", ("take",))
        base = content.get("base", BASE)
        if "base" in content and base not in ranges:
            raise RecipeError(
                f"'base' is {shown(base)}, which the slice does not take from.{nearest(str(base), ranges)} It takes "
                f"from: {', '.join(ranges)}.",
                ("base",),
            )
        if not isinstance(content.get("method"), str | None):
            raise RecipeError(f"'method' is {shown(content['method'])}; it must be a name.", ("method",))
        parameters = frozen_items(mapping_of(content.get("parameters"), ("parameters",)))
        return cls(take=MappingProxyType(ranges), method=content.get("method"), parameters=parameters, base=base)

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        content: dict[str, object] = {"take": {label: list(taken) for label, taken in self.take.items()}}
        values = {"method": self.method, "parameters": thawed(self.parameters)}
        values["base"] = self.base if self.base != BASE else None
        return content | {key: value for key, value in values.items() if value}


Layers = Mapping[str, tuple[Slice, ...]]
"""The slices of each stack by its name; `ONLY` for the one stack of models that have just one. Empty: as they are."""


def layers_of(value: object) -> Layers:
    """Read slices from plain values: a list, or a mapping from stacks to lists.

    Raises:
        RecipeError: something in it is wrong.
    """
    if value is None:
        return MappingProxyType({})
    if not isinstance(value, Mapping):
        return MappingProxyType({ONLY: _slices(value, ("layers",))})
    stacks = {}
    for stack, slices in value.items():
        if not isinstance(stack, str):
            raise RecipeError("'layers' is a list of slices, or STACK: list of slices.", ("layers",))
        stacks[stack] = _slices(slices, ("layers", stack))
    return MappingProxyType(stacks)


def plain_layers(layers: Layers) -> object:
    """Return plain values that `layers_of` reads back; None where there are none."""
    plain = {stack: [each.to_mapping() for each in slices] for stack, slices in layers.items()}
    return plain.get(ONLY, plain or None)


def _slices(value: object, where: Where) -> tuple[Slice, ...]:
    if isinstance(value, tuple):
        value = list(value)
    made: list[Slice] = []
    for i, each in enumerate(list_of(value, where)):
        with inside(*where, i):
            made.append(each if isinstance(each, Slice) else Slice.from_mapping(each))
    if not any(each.length for each in made):
        raise RecipeError("there is no layer in it; leave 'layers' out to keep them as they are.", where)
    return tuple(made)


def _range(label: str, given: object) -> tuple[int, int]:
    """Read a range of layers."""
    numbers: Sequence[object] = given if isinstance(given, list | tuple) else ()
    whole = [n for n in numbers if isinstance(n, int) and not isinstance(n, bool)]
    if len(numbers) != 2 or len(whole) != 2:
        found = shown(given) if isinstance(given, list | tuple) else kind_of(given)
        raise RecipeError(
            f"'{label}' is {found}; expected [first, end]: the first layer, from 0, and the one after the last.",
            ("take", label),
        )
    first, end = whole
    if first < 0 or end < first:
        raise RecipeError(f"'{label}' is [{first}, {end}]; expected 0 <= first <= end.", ("take", label))
    return first, end

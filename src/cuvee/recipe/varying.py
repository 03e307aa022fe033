"""Values that differ from tensor to tensor: over depth, or by name.

::

    weight: {over_depth: [0.2, 0.8]}
    weight: {over_depth: [0.2, 0.8], outside: first}
    weight: {by_name: {"*.mlp.*": 0.3, "*": {over_depth: [0.2, 0.8]}}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.patterns import matches
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["KEYS", "ByName", "OverDepth", "Place", "Varying", "is_varying", "varying"]

KEYS = ("over_depth", "by_name")
"""Keys that say that a mapping is a value that varies, and not one for each model."""
Outside = Literal["ends", "first"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor stands.

    Attributes:
        name: its name.
        depth: from 0 at the input to 1 at the output; within a slice of layers, from its first layer to its last.
        in_layer: whether it belongs to a layer.
    """

    name: str
    depth: float
    in_layer: bool = True


@dataclass(frozen=True, slots=True)
class OverDepth:
    """A value that changes from the first layer to the last.

    Attributes:
        values: at equal distances over depth, joined by straight lines if they are numbers, of which whole ones
            must come to whole ones; else each holds from its place to the next one.
        outside: where tensors outside layers stand: those before them (embeddings) at the first value and those after
            them (final norm, head) at the last (``"ends"``), or all at the first.
    """

    values: tuple[Any, ...]
    outside: Outside = "ends"

    def at(self, place: Place) -> Any:
        """Return the value at a place.

        Raises:
            ValueError: whole numbers come to a fraction there.
        """
        return self._at(0.0 if self.outside == "first" and not place.in_layer else place.depth)

    def _at(self, depth: float) -> Any:
        along = depth * (len(self.values) - 1)
        left = min(int(along), len(self.values) - 1)
        right = min(left + 1, len(self.values) - 1)
        share = along - left
        value = self.values[left]
        if share == 0 or isinstance(value, str | bool):
            return value
        joined = (1 - share) * value + share * self.values[right]
        if isinstance(value, float):
            return joined
        if abs(joined - round(joined)) > 1e-9:  # depths are thirds and the like
            raise ValueError(f"{joined:g}")
        return round(joined)


@dataclass(frozen=True, slots=True)
class ByName:
    """A value that depends on the tensor's name.

    Attributes:
        values: pattern, with ``*``, ``?`` and ``[...]``, to the value of the tensors whose names match; the first that
            matches holds. A value may vary, too.
    """

    values: tuple[tuple[str, Any], ...]

    def at(self, place: Place) -> Any:
        """Return the value at a place.

        Raises:
            LookupError: no pattern matches the name.
            ValueError: whole numbers come to a fraction there.
        """
        for pattern, value in self.values:
            if matches((pattern,), place.name):
                return value.at(place) if isinstance(value, Varying) else value
        raise LookupError(place.name)


Varying = OverDepth | ByName


def is_varying(value: object) -> bool:
    """Say whether plain values are meant to be a value that varies."""
    return isinstance(value, Mapping) and any(key in value for key in KEYS)


def varying(name: str, value: Mapping[str, Any], where: Where) -> Varying:
    """Read a value that varies from plain values.

    Args:
        name: the parameter's, for messages.
        value: a mapping with one of `KEYS`.
        where: its place in the recipe.

    Raises:
        RecipeError: it is malformed.
    """
    known = ("by_name",) if "by_name" in value else ("over_depth", "outside")
    for key in value:
        if key not in known:
            raise RecipeError(
                f"'{name}' has the key {shown(str(key))} beside '{known[0]}'.{nearest(str(key), known)} It takes: "
                f"{', '.join(known)}.",
                (*where, str(key)),
            )
    if "by_name" in value:
        return _by_name(name, value["by_name"], (*where, "by_name"))
    values, outside = value["over_depth"], value.get("outside", "ends")
    if not isinstance(values, list | tuple) or not values:
        raise RecipeError(
            f"'{name}': 'over_depth' is {shown(values)}; expected [first, ..., last], one value at least.",
            (*where, "over_depth"),
        )
    if outside not in ("ends", "first"):
        raise RecipeError(
            f"'{name}': 'outside' is {shown(outside)}; it can be 'ends' (those before the layers take the first value, "
            "those after them the last) or 'first'.",
            (*where, "outside"),
        )
    return OverDepth(tuple(values), outside)


def _by_name(name: str, values: object, where: Where) -> ByName:
    """Read values by name."""
    if not isinstance(values, Mapping) or not values or not all(isinstance(key, str) for key in values):
        raise RecipeError(f"'{name}': 'by_name' must be pattern: value, for each, and one at least.", where)
    read = []
    for pattern, value in values.items():
        if isinstance(value, Mapping):
            if not is_varying(value):
                raise RecipeError(
                    f"'{name}': the value for {shown(pattern)} is a mapping; expected a value, or one that varies.",
                    (*where, pattern),
                )
            value = varying(name, value, (*where, pattern))
        read.append((pattern, value))
    return ByName(tuple(read))

"""The values a recipe gives to a method's parameters: checked, completed and, where they vary over depth, evaluated."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.methods.declare import Method, Parameter
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["OverDepth", "Settings", "at_depth", "plain_number", "settle", "varies"]

Settings = Mapping[str, Any]
"""A value, or an `OverDepth`, for each parameter; for a per-model parameter a tuple of them in the order of the
models."""


@dataclass(frozen=True, slots=True)
class OverDepth:
    """A value that changes from the first layer to the last, linearly between the given ones.

    Attributes:
        values: at equal distances over depth; the first holds for the first layer and what comes before the layers
            (embeddings), the last for the last layer and what comes after (final norm, head).
    """

    values: tuple[float, ...]

    def at(self, depth: float) -> float:
        """Interpolate.

        Args:
            depth: place in the model, 0 for the first layer, 1 for the last.
        """
        place = depth * (len(self.values) - 1)
        left = min(int(place), len(self.values) - 1)
        right = min(left + 1, len(self.values) - 1)
        share = place - left
        return self.values[left] if share == 0 else (1 - share) * self.values[left] + share * self.values[right]


def settle(method: Method, given: Mapping[str, object], labels: Sequence[str], where: Where = ()) -> Settings:
    """Check the given values against a method's declaration and complete them with its defaults.

    Args:
        method: the method they are for.
        given: parameter name to value. A per-model parameter takes one value for all models, a list of one for each, or
            a mapping from labels. A number may be ``{"over_depth": [...]}`` or an `OverDepth`.
        labels: the models' labels, in order.
        where: place of `given` in the recipe, for messages.

    Raises:
        RecipeError: a name is unknown, or a value has the wrong type, is out of bounds, or is missing for a model.
    """
    for name in given:
        if name not in method.parameters:
            known = ", ".join(method.parameters) or "none"
            raise RecipeError(
                f"method '{method.name}' has no parameter {shown(str(name))}.{nearest(name, method.parameters)} "
                f"It takes: {known}.",
                (*where, name),
            )
    settings: dict[str, Any] = method.defaults(len(labels))
    for name, value in given.items():
        parameter = method.parameters[name]
        place = (*where, name)
        settings[name] = (
            _per_model(parameter, value, labels, place) if parameter.per_model else _one(parameter, value, place)
        )
    return {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}


def plain_number(value: Any) -> Any:
    """Return another library's number (a scalar of numpy) as Python's own, which can be saved; all else as it is."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return value
    return int(value) if isinstance(value, Integral) else float(value)


def at_depth(settings: Settings, depth: float) -> dict[str, Any]:
    """Return the settings as plain values at a depth in [0, 1]; per-model ones as lists."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return [plain(v) for v in value]
        return value.at(depth) if isinstance(value, OverDepth) else value

    return {name: plain(value) for name, value in settings.items()}


def varies(settings: Settings) -> bool:
    """Say whether any setting depends on depth."""
    spread = (value if isinstance(value, tuple) else (value,) for value in settings.values())
    return any(isinstance(each, OverDepth) for values in spread for each in values)


def _per_model(parameter: Parameter, value: object, labels: Sequence[str], where: Where) -> list[object]:
    """Check a per-model parameter and spread it over the models."""
    if isinstance(value, Mapping) and "over_depth" not in value:
        for label in value:
            if label not in labels:
                raise RecipeError(
                    f"'{parameter.name}' names the model {shown(str(label))}, which the recipe does not have."
                    f"{nearest(str(label), labels)} Its models are: {', '.join(labels)}.",
                    (*where, str(label)),
                )
        missing = [label for label in labels if label not in value]
        if missing:
            raise RecipeError(
                f"'{parameter.name}' has no value for the model '{missing[0]}'; give one for every model, or "
                "one value for all.",
                where,
            )
        return [_one(parameter, value[label], (*where, label)) for label in labels]
    if isinstance(value, Sequence) and not isinstance(value, str):
        if len(value) != len(labels):
            raise RecipeError(
                f"'{parameter.name}' has {len(value)} values for {len(labels)} models ({', '.join(labels)}); give one "
                "for each, or one value for all. Values over depth are written {over_depth: [...]}.",
                where,
            )
        return [_one(parameter, v, (*where, i)) for i, v in enumerate(value)]
    return [_one(parameter, value, where)] * len(labels)


def _one(parameter: Parameter, value: object, where: Where) -> object:
    """Check one value, or values over depth."""
    if isinstance(value, Mapping):
        unknown = [key for key in value if key != "over_depth"]
        if unknown or not isinstance(value.get("over_depth"), list | tuple):
            raise RecipeError(
                f"'{parameter.name}' is a mapping; expected {{over_depth: [first, ..., last]}}"
                f"{' or one value for each model' if parameter.per_model else ': it is not a per-model parameter'}.",
                where,
            )
        value = OverDepth(tuple(value["over_depth"]))
    if not isinstance(value, OverDepth):
        return _scalar(parameter, value, where)
    if not parameter.interpolates or not value.values:
        empty = "has no values in over_depth; give at least one"
        reason = empty if parameter.interpolates else "is not a number and cannot vary over depth; give one value"
        raise RecipeError(f"'{parameter.name}' {reason}.", where)
    return OverDepth(tuple(float(_scalar(parameter, v, where)) for v in value.values))


def _scalar(parameter: Parameter, value: object, where: Where) -> Any:
    """Check one plain value's type and bounds."""
    if parameter.choices:
        if value not in parameter.choices:
            words = ", ".join(parameter.choices)
            raise RecipeError(
                f"'{parameter.name}' is {_shown(value)}; it can be: {words}.{nearest(str(value), parameter.choices)}",
                where,
            )
        return value
    value = plain_number(value)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    fits = numeric if parameter.type is float else type(value) is parameter.type
    if not fits:
        words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}[parameter.type]
        listed = parameter.interpolates and isinstance(value, list | tuple)
        hint = " Values over depth are written {over_depth: [...]}." if listed else ""
        raise RecipeError(f"'{parameter.name}' is {_shown(value)}; it must be {words}.{hint}", where)
    if parameter.type is float:
        value = _finite(parameter, value, where)
    if parameter.bounds and not parameter.bounds.low <= value <= parameter.bounds.high:  # type: ignore[operator]
        low, high = parameter.bounds.low, parameter.bounds.high
        raise RecipeError(f"'{parameter.name}' is {_shown(value)}; it must lie between {low:g} and {high:g}.", where)
    return value


def _shown(value: object) -> str:
    """Show a value in a message, about as the recipe has it and not at any length."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "a list"
    return reprlib.repr(value)


def _finite(parameter: Parameter, value: Any, where: Where) -> float:
    """Return the value as a finite float."""
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not isfinite(number):
        raise RecipeError(f"'{parameter.name}' is {_shown(value)}; it must be a finite number.", where)
    return number

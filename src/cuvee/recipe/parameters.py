"""The values a recipe gives to a method's parameters: checked, completed and, where they vary, evaluated."""

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite
from numbers import Integral, Real
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.methods.declare import Method, Parameter
from cuvee.recipe.varying import ByName, OverDepth, Place, Varying, is_varying, varying
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["Settings", "plain", "plain_number", "settings_at", "settle", "varies"]

NONE = "none"
"""The word by which a parameter of words turns something off."""
Settings = Mapping[str, Any]
"""A value, or one that varies, for each parameter; for a per-model parameter a tuple in the order of the models."""


def settle(method: Method, given: Mapping[str, object], labels: Sequence[str], where: Where = ()) -> Settings:
    """Check the given values against a method's declaration and complete them with its defaults.

    Args:
        method: the method they are for.
        given: parameter name to value. A per-model parameter takes one value for all models, a list of one for each, or
            a mapping from labels. A value may vary over the model: see `cuvee.recipe.varying`.
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


def settings_at(settings: Settings, place: Place, names: Sequence[str]) -> dict[str, Any]:
    """Return the settings for one tensor as plain values; per-model ones as lists.

    Args:
        settings: as `settle` returns them.
        place: where the tensor stands.
        names: what it is called in each model, in their order, for per-model settings that depend on names.

    Raises:
        RecipeError: a setting by name has no pattern that matches, or a whole number comes to a fraction.
    """
    places = [place if name == place.name else replace(place, name=name) for name in names]
    found: dict[str, Any] = {}
    for name, value in settings.items():
        try:
            is_per_model = isinstance(value, tuple)
            found[name] = [*map(_at, value, places)] if is_per_model else _at(value, place)
        except LookupError as error:
            raise RecipeError(
                f"'{name}' has no value for the tensor {shown(str(error.args[0]))}: no pattern of its 'by_name' "
                'matches; add "*": VALUE at the end for all others (in a mergekit configuration, "- value: VALUE").',
                (name,),
            ) from None
        except ValueError as error:
            raise RecipeError(
                f"'{name}' comes to {error} for the tensor {shown(place.name)}; it must be a whole number. Give values "
                "that lie on whole numbers at every layer, or one for the layers of each pattern ('by_name').",
                (name,),
            ) from None
    return found


def plain(settings: Settings) -> dict[str, Any]:
    """Return settings that do not vary as plain values; per-model ones as lists."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}


def _at(value: Any, place: Place) -> Any:
    return value.at(place) if isinstance(value, Varying) else value


def varies(settings: Settings) -> bool:
    """Say whether any setting differs from tensor to tensor."""
    spread = (value if isinstance(value, tuple) else (value,) for value in settings.values())
    return any(isinstance(each, Varying) for values in spread for each in values)


def _per_model(parameter: Parameter, value: object, labels: Sequence[str], where: Where) -> list[object]:
    """Check a per-model parameter and spread it over the models."""
    if isinstance(value, Mapping) and not is_varying(value):
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
    """Check one value, or one that varies."""
    if isinstance(value, Mapping):
        if not is_varying(value):
            models = ", or one value for each model" if parameter.per_model else "; it has no value for each model"
            forms = "{over_depth: [first, ..., last]} or {by_name: {PATTERN: VALUE}}"
            raise RecipeError(f"'{parameter.name}' is a mapping; expected {forms}{models}.", where)
        value = varying(parameter.name, value, where)
    if isinstance(value, Varying) and parameter.role == "space":
        raise RecipeError(f"'{parameter.name}' holds for the whole merge and cannot vary.", where)
    return _checked(parameter, value, where)


def _checked(parameter: Parameter, value: object, where: Where) -> object:
    """Check every value of one that varies."""
    if isinstance(value, OverDepth):
        return replace(value, values=tuple(_scalar(parameter, each, where) for each in value.values))
    if isinstance(value, ByName):
        return ByName(tuple((p, _checked(parameter, each, (*where, "by_name", p))) for p, each in value.values))
    return _scalar(parameter, value, where)


def _scalar(parameter: Parameter, value: object, where: Where) -> Any:
    """Check one plain value's type and bounds."""
    if parameter.choices:
        if isinstance(value, bool) and NONE in parameter.choices:  # false is none, true what it usually is instead
            value = next(word for word in parameter.choices if word != NONE) if value else NONE
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

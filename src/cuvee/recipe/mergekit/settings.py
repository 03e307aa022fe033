"""Values of parameters: numbers, gradients over the layers, conditions on names, and the scopes that they stand in.

Scopes are asked one after the other, from the innermost; the first that has a value for a tensor's name wins. So all
scopes together are one list of conditions.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.yaml_text import Where
from cuvee.sources.strict_json import shown

__all__ = ["Condition", "Scope", "conditions", "native", "pattern_of", "scope", "truth"]

Scalar = float | int | bool | str
ALL = "*"
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


@dataclass(frozen=True, slots=True)
class Condition:
    """A value for some names.

    Attributes:
        part: what the names of the tensors have somewhere in them; None for all tensors.
        value: one, or several at equal distances over the layers.
        where: its place.
    """

    part: str | None
    value: Scalar | tuple[Scalar, ...]
    where: Where


@dataclass(frozen=True, slots=True)
class Scope:
    """The parameters of one place of a configuration.

    Attributes:
        values: conditions by the parameter's name.
        where: the place.
    """

    values: Mapping[str, Sequence[Condition]]
    where: Where


def scope(value: object, where: Where) -> Scope:
    """Read the parameters of a place.

    Args:
        value: a mapping from names to settings, or None.
        where: the place.

    Raises:
        RecipeError: it is malformed.
    """
    if value is None:
        return Scope({}, where)
    if not isinstance(value, Mapping):
        raise RecipeError(f"'parameters' is {shown(value)}; expected NAME: VALUE for each.", where)
    return Scope({name: _setting(name, each, (*where, name)) for name, each in value.items()}, where)


def _setting(name: str, value: object, where: Where) -> Sequence[Condition]:
    """Read a setting."""
    if isinstance(value, Mapping):
        return [_condition(name, value, where)]
    if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        return [_condition(name, each, (*where, i)) for i, each in enumerate(value)]
    read = _value(name, value, where)
    return [Condition(None, read, where)] if read != () else []


def _condition(name: str, value: object, where: Where) -> Condition:
    known = ("value", "filter")
    if not isinstance(value, Mapping):
        raise RecipeError(
            f"'{name}': {shown(value)} stands among conditions; write {{value: {shown(value)}}} for all other tensors.",
            where,
        )
    for key in value:
        if key not in known:
            raise RecipeError(f"'{name}': a condition has no key {shown(key)}.{nearest(key, known)}", (*where, key))
    if "value" not in value:
        raise RecipeError(f"'{name}': a condition has no 'value'.", where)
    part = value.get("filter")
    if not isinstance(part, str | None):
        raise RecipeError(f"'{name}': 'filter' is {shown(part)}; expected a part of tensors' names.", where)
    read = _value(name, value["value"], (*where, "value"))
    return Condition(None if part in (None, ALL, "") else part, read, where)


def _value(name: str, value: object, where: Where) -> Scalar | tuple[Scalar, ...]:
    if isinstance(value, list):
        return tuple(_scalar(name, each, (*where, i)) for i, each in enumerate(value))
    return _scalar(name, value, where)


def _scalar(name: str, value: object, where: Where) -> Scalar:
    if isinstance(value, int | float | str):
        return value
    raise RecipeError(f"'{name}' is {shown(value)}; expected a number, true or false, or a list of numbers.", where)


def conditions(name: str, scopes: Iterable[Scope]) -> list[tuple[Condition, Where]]:
    """Return the conditions of a parameter, innermost scope first, up to the first that holds for all tensors."""
    found: list[tuple[Condition, Where]] = []
    for each in scopes:
        for condition in each.values.get(name, ()):
            if condition.value == ():
                continue
            found.append((condition, (*each.where, name)))
            if condition.part is None:
                return found
    return found


def native(name: str, found: Sequence[tuple[Condition, Where]], kind: type, otherwise: object = None) -> object:
    """Return conditions as a value of a recipe; None if there are none.

    Args:
        name: the parameter's, for messages.
        found: as `conditions` returns them.
        kind: float, int or bool.
        otherwise: value for tensors that no condition is for; None if there is none.

    Raises:
        RecipeError: a value is not of this kind.
    """
    values: dict[str, object] = {}
    for condition, where in found:
        pattern = ALL if condition.part is None else pattern_of(condition.part)
        values.setdefault(pattern, _over_layers(name, condition.value, kind, where))
    if not values:
        return otherwise
    if ALL not in values and otherwise is not None:
        values[ALL] = otherwise
    return values[ALL] if list(values) == [ALL] else {"by_name": values}


def _over_layers(name: str, value: Scalar | tuple[Scalar, ...], kind: type, where: Where) -> object:
    if not isinstance(value, tuple):
        return _as(name, value, kind, where)
    made = [_as(name, each, kind, where) for each in value]
    return made[0] if len(made) == 1 else {"over_depth": made, "outside": "first"}


def _as(name: str, value: Scalar, kind: type, where: Where) -> object:
    """Return a value as one of a kind: text may stand for a number, 0 and 1 for false and true, and so on."""
    if kind is bool:
        return truth(name, value, where)
    try:
        number = float(value)
        if kind is int and not number.is_integer():
            raise ValueError
        return int(number) if kind is int else number
    except ValueError as error:
        words = "a whole number" if kind is int else "a number"
        raise RecipeError(f"'{name}' is {shown(value)}; it must be {words}.", where) from error


def truth(name: str, value: object, where: Where) -> bool:
    """Read true or false, which text and the numbers 0 and 1 may stand for.

    Args:
        name: what it is called, for messages.
        value: the plain value.
        where: its place.

    Raises:
        RecipeError: it is neither.
    """
    said = f"{value:g}" if isinstance(value, float) else str(value)
    if said.strip().lower() not in _WORDS:
        raise RecipeError(f"'{name}' is {shown(value)}; it must be true or false.", where)
    return _WORDS[said.strip().lower()]


def pattern_of(part: str) -> str:
    """Return the pattern of names that have a part somewhere in them; all signs in it stand for themselves."""
    escaped = "".join(f"[{sign}]" if sign in "*?[" else sign for sign in part)
    return f"*{escaped}*"

"""What a setting of a mergekit configuration is worth for one tensor, by the specification: §1.2 and §1.3.

Written plainly, to judge by: one value at a time. Knows nothing about models.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["DECLARED", "Declared", "Unset", "evaluate", "look_up"]

Scope = Mapping[str, Any] | None


class Unset(Exception):  # noqa: N818  the specification's word
    """A required parameter has no value anywhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What a method takes.

    Attributes:
        base: ``required``, ``optional`` or ``ignored``.
        least: how few inputs besides the base; or of all, where the base is ignored.
        most: how many at most; None for any number.
        shared: default by name of what has one value for all models; None where it has to be given.
        each: the same, of what every model has its own value of.
    """

    base: str
    least: int
    most: int | None
    shared: Mapping[str, Any]
    each: Mapping[str, Any]


_WEIGHT: Mapping[str, Any] = {"weight": None}


def _vectors(normalize: bool, rescale: bool, **each: Any) -> Declared:
    shared = {"normalize": normalize, "rescale": rescale, "lambda": 1.0}
    return Declared(base="required", least=1, most=None, shared=shared, each={**_WEIGHT, "density": 1.0, **each})


DECLARED: Mapping[str, Declared] = {
    "linear": Declared(base="ignored", least=1, most=None, shared={"normalize": True}, each=_WEIGHT),
    "slerp": Declared(base="required", least=1, most=1, shared={"t": None}, each={}),
    "nuslerp": Declared(
        base="optional", least=2, most=2, shared={"nuslerp_flatten": True, "nuslerp_row_wise": False}, each=_WEIGHT
    ),
    "multislerp": Declared(
        base="optional", least=1, most=None, shared={"normalize_weights": True, "eps": 1e-8}, each=_WEIGHT
    ),
    "karcher": Declared(base="ignored", least=1, most=None, shared={"max_iter": 10, "tol": 1e-5}, each={}),
    "task_arithmetic": _vectors(False, False),
    "ties": _vectors(True, False),
    "dare_linear": _vectors(False, True),
    "dare_ties": _vectors(False, True),
    "breadcrumbs": _vectors(False, False, gamma=0.01),
    "breadcrumbs_ties": _vectors(False, False, gamma=0.01),
    "della": _vectors(True, True, epsilon=0.15),
    "della_linear": _vectors(False, True, epsilon=0.15),
    "sce": Declared(base="required", least=1, most=None, shared={"select_topk": 1.0}, each={}),
    "model_stock": Declared(base="required", least=2, most=None, shared={"filter_wise": False}, each={}),
    "nearswap": Declared(base="required", least=1, most=1, shared={"t": None}, each={}),
    "arcee_fusion": Declared(base="required", least=1, most=1, shared={}, each={}),
    "ram": Declared(base="required", least=1, most=None, shared={"epsilon": 1e-5}, each={}),
    "ramplus_tl": Declared(
        base="required", least=1, most=None, shared={"epsilon": 1e-5, "r": 0.1, "alpha": 0.2}, each={}
    ),
    "passthrough": Declared(base="ignored", least=1, most=1, shared={}, each={"scale": 1.0}),
}


def look_up(name: str, scopes: Sequence[Scope], default: Any, tensor: str, t: float) -> Any:
    """Find a parameter: the first scope that holds it and gives it a value.

    Args:
        name: of the parameter.
        scopes: mappings of parameters, the nearest first.
        default: where none does; None means that one has to.
        tensor: name that filters look at.
        t: position in depth, 0 to 1.

    Raises:
        Unset: nothing gives it a value.
    """
    for scope in scopes:
        if scope and name in scope:
            found = evaluate(scope[name], tensor, t)
            if found is not None:
                return _converted(found, default)
    if default is None:
        raise Unset(name)
    return default


def evaluate(setting: Any, tensor: str, t: float) -> Any:
    """Evaluate a setting.

    Args:
        setting: scalar, gradient, condition, or list of conditions.
        tensor: name that filters look at.
        t: position in depth, 0 to 1.

    Returns:
        A scalar, or None where it has no value for this tensor.
    """
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        return setting
    if setting and isinstance(setting[0], Mapping):
        for condition in setting:
            pattern = condition.get("filter")
            if pattern is None or pattern == "*" or pattern in tensor:
                return evaluate(condition["value"], tensor, t)
        return None
    if not setting:
        return None
    return _between([_number(value) for value in setting], t)


def _between(values: Sequence[Any], t: float) -> Any:
    place = t * (len(values) - 1)
    before = int(place)
    if any(isinstance(value, bool | str) for value in values):
        return values[before]
    after = min(len(values) - 1, before + 1)
    share = place - before
    return (1 - share) * values[before] + share * values[after]


def _converted(value: Any, default: Any) -> Any:
    value = _number(value)
    if isinstance(default, bool):
        return bool(value)
    return value


def _number(value: Any) -> Any:
    """Read text that is a number: to YAML 1.1, 1e-3 is text."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value

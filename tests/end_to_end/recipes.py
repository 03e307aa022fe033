"""Recipes for every registered method, made from its declaration: a new method is tested without a line being added."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import pytest

from cuvee.methods.declare import Method, Range
from cuvee.methods.registry import methods

METHODS = list(methods().values())
Settings = Mapping[str, Any]

each_method = pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])


def recipe_for(method: Method, models: Sequence[Any], base: Any, **parameters: Any) -> dict[str, Any]:
    """Write a recipe as plain values: as many of the models as the method takes, and the base if it needs one."""
    _, most = method.models
    recipe = {"cuvee": 1, "method": method.name, "models": list(models)[:most], "parameters": parameters, "seed": 5}
    needs_base = method.space({**method.defaults(len(recipe["models"])), **parameters}) == "deltas"
    return recipe | ({"base": base} if needs_base else {})


def active(method: Method) -> dict[str, Any]:
    """Return settings that make a method do all it can: shares that by default leave everything alone are halved."""
    shares = [p for p in method.parameters.values() if p.bounds == Range(0.0, 1.0) and p.default == 1.0]
    return {parameter.name: 0.5 for parameter in shares}


def scopes(method: Method) -> Iterator[Settings]:
    """Yield settings with every scope of a method, in every space."""
    roles = [p for p in method.parameters.values() if p.role != "value"]
    for chosen in product(*(p.choices for p in roles)):
        yield {**active(method), **dict(zip((p.name for p in roles), chosen, strict=True))}


def choices(method: Method) -> Iterator[Settings]:
    """Yield settings with every scope and space, and every other word a parameter takes, one at a time."""
    yield from scopes(method)
    for parameter in method.parameters.values():
        words = [False, True] if parameter.type is bool else parameter.choices if parameter.role == "value" else []
        for word in words:
            if word != parameter.default:
                yield {**active(method), parameter.name: word}


def _named(method: Method, settings: Settings) -> Any:
    words = [f"{name}={value}" for name, value in settings.items()]
    return pytest.param(method, settings, id="-".join([method.name, *words]))


each_scope = pytest.mark.parametrize(
    ("method", "settings"), [_named(method, settings) for method in METHODS for settings in scopes(method)]
)
each_choice = pytest.mark.parametrize(
    ("method", "settings"), [_named(method, settings) for method in METHODS for settings in choices(method)]
)

"""Plain values, as YAML and JSON have them: checking their kind, freezing and thawing them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.parameters import plain_number
from cuvee.recipe.varying import ByName, OverDepth
from cuvee.recipe.yaml_text import Documents, Where
from cuvee.sources.strict_json import shown

__all__ = ["frozen", "frozen_items", "inside", "keys_of", "kind_of", "list_of", "mapping_of", "thawed"]


def kind_of(value: object) -> str:
    """Say what a value is, in the words of a recipe's author."""
    kinds = {type(None): "nothing", str: "text", bool: "true or false", int: "a number", float: "a number"}
    if isinstance(value, Mapping):
        return "a mapping (key: value)"
    if isinstance(value, Documents):
        return "several documents, divided by ---"
    return "a list" if isinstance(value, list | tuple) else kinds.get(type(value), f"a {type(value).__name__}")


@contextmanager
def inside(*where: str | int) -> Iterator[None]:
    """Add the place of a part of the recipe to errors about what is inside it."""
    try:
        yield
    except RecipeError as error:
        error.where = (*where, *error.where)
        raise


def keys_of(
    value: object, known: Sequence[str], what: str, where: Where, hints: Mapping[str, str] = MappingProxyType({})
) -> Mapping[str, Any]:
    """Check that a value is a mapping with known keys only.

    Args:
        value: what should be one.
        known: the keys it may have.
        what: what to call it in messages.
        where: its place in the recipe.
        hints: wrong keys that people bring from elsewhere, and a sentence that says what to write instead.
    """
    content = mapping_of(value, where, what)
    for key in content:
        if key not in known:
            raise RecipeError(
                f"{what} has no key {shown(str(key))}.{f' {hints[key]}' if key in hints else nearest(key, known)} "
                f"Its keys are: {', '.join(known)}.",
                (*where, key),
            )
    return content


def mapping_of(value: object, where: Where, what: str = "") -> Mapping[str, Any]:
    """Check that a value is a mapping; nothing is an empty one, but at the top of the recipe."""
    if value is None and where:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(f"{what or repr(where[-1])} must be a mapping (key: value), not {kind_of(value)}.", where)
    return value


def list_of(value: object, where: Where) -> Sequence[object]:
    """Check that a value is a list; nothing is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecipeError(f"'{where[-1]}' must be a list, not {kind_of(value)}.", where)
    return value


def frozen(value: Any) -> Any:
    """Copy parameters so that later changes to the caller's objects do not reach the recipe."""
    if isinstance(value, OverDepth | ByName):
        return frozen(thawed(value))
    if isinstance(value, Mapping):
        return MappingProxyType({key: frozen(v) for key, v in value.items()})
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(frozen(v) for v in value)
    return plain_number(value)


def frozen_items(parameters: Mapping[str, Any]) -> Mapping[str, Any]:
    """Copy and freeze a mapping of parameters."""
    return MappingProxyType({name: frozen(value) for name, value in parameters.items()})


def thawed(value: Any) -> Any:
    """Turn frozen parameters into plain lists and mappings, for writing."""
    if isinstance(value, OverDepth):
        outside = {} if value.outside == "ends" else {"outside": value.outside}
        return {"over_depth": thawed(value.values), **outside}
    if isinstance(value, ByName):
        return {"by_name": {pattern: thawed(each) for pattern, each in value.values}}
    if isinstance(value, Mapping):
        return {key: thawed(v) for key, v in value.items()}
    return [thawed(v) for v in value] if isinstance(value, tuple | list) else value

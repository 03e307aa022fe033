"""Native recipes as YAML: the one place that knows the syntax.

Strict: an unknown key, a key given twice, a value of the wrong kind is an error that names the line. Numbers are read as
people write them (``1e-3`` is a number).
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.recipe import SCHEMA, SHARD_BYTES, Output, Recipe, Reference, Rule, thawed

__all__ = ["as_recipe", "dump", "from_mapping", "load", "save", "to_mapping"]

Where = tuple[str | int, ...]

_RECIPE_KEYS = ("cuvee", "method", "models", "base", "parameters", "tensors", "seed", "output")
_RULE_KEYS = ("match", "method", "parameters", "copy", "skip", "parts")
_OUTPUT_KEYS = ("dtype", "shard_size", "custom_code")
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with numbers such as 1e-3, and without dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own table, changed for this class only
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d+([eE][-+]?\d+)?|\.(inf|Inf|INF|nan|NaN|NAN))$"),
    list("-+.0123456789"),
)


def load(path: str | Path) -> Recipe:
    """Read a recipe. Relative paths in it are relative to the file's folder.

    Args:
        path: the YAML file.

    Raises:
        RecipeError: the file cannot be read, is not YAML, or says something wrong; names file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: the recipe cannot be read: {error}") from error
    lines: dict[Where, int] = {}
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = _plain(loader, node, (), lines) if node is not None else None
        return from_mapping(content, folder=path.parent)
    except RecipeError as error:
        where = error.where
        while where and where not in lines:
            where = where[:-1]
        place = f"{path}:{lines[where]}" if where in lines else f"{path}"
        raise RecipeError(f"{place}: {error}", error.where) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{path}: not a recipe: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    """Shorten a YAML error to its problem and line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return str(error).splitlines()[0] if str(error) else type(error).__name__
    return f"line {mark.line + 1}: {problem}"


def _plain(loader: _Loader, node: Any, where: Where, lines: dict[Where, int]) -> Any:
    """Turn a YAML node into plain values and note the line of everything in it."""
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)  # type: ignore[no-untyped-call]
            inner = (*where, key if isinstance(key, int) else str(key))
            if isinstance(key_node, yaml.ScalarNode) and key in result:
                lines[inner] = key_node.start_mark.line + 1
                raise RecipeError(f"the key '{key}' is given twice.", inner)
            if not isinstance(key, str):
                raise RecipeError(f"{key!r} cannot be a key; keys are text (put numbers in quotes).", where)
            result[key] = _plain(loader, value_node, inner, lines)
            lines[inner] = key_node.start_mark.line + 1
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_plain(loader, item, (*where, i), lines) for i, item in enumerate(node.value)]
    return loader.construct_object(node)  # type: ignore[no-untyped-call]


def from_mapping(content: object, folder: Path | None = None) -> Recipe:
    """Build a recipe from plain values, as YAML gives them.

    Args:
        content: the recipe's keys and values; see the README for the schema.
        folder: what relative paths are relative to; None is the current folder.

    Raises:
        RecipeError: something in it is wrong.
    """
    top = _keys(content, _RECIPE_KEYS, "a recipe", ())
    version = top.get("cuvee", None)
    if version != SCHEMA or isinstance(version, bool):
        found = "it has none" if version is None else f"it says {version!r}"
        raise RecipeError(f"a native recipe begins with 'cuvee: {SCHEMA}', the version of its format; {found}.", ("cuvee",))
    for key in ("method", "models"):
        if key not in top:
            raise RecipeError(f"the recipe has no '{key}'.", ())
    return Recipe(
        method=top["method"],
        models=_models(top["models"]),
        base=_path(top["base"], ("base",)) if top.get("base") is not None else None,
        parameters=_mapping(top.get("parameters"), ("parameters",)),
        tensors=tuple(_rule(rule, ("tensors", i)) for i, rule in enumerate(_list(top.get("tensors"), ("tensors",)))),
        seed=top.get("seed", 0),
        output=_output(top.get("output")),
        folder=folder,
    )


def _models(value: object) -> Any:
    """Read the models: a list of paths, or label: path."""
    if isinstance(value, Mapping):
        return {label: _path(reference, ("models", str(label))) for label, reference in value.items()}
    if isinstance(value, list):
        return [_path(reference, ("models", i)) for i, reference in enumerate(value)]
    raise RecipeError("'models' must be a list of paths, or label: path for each model.", ("models",))


def _path(value: object, where: Where) -> str:
    """Read a reference to a model."""
    if not isinstance(value, str) or not value:
        raise RecipeError(f"{value!r} is not a path to a model.", where)
    return value


def _rule(value: object, where: Where) -> Rule:
    """Read one rule."""
    content = _keys(value, _RULE_KEYS, "a rule", where)
    if "match" not in content:
        raise RecipeError("a rule needs 'match': a pattern of tensor names, or a list of them.", where)
    match = content["match"]
    try:
        return Rule(
            match=tuple(match) if isinstance(match, list) else match,
            method=content.get("method"),
            parameters=_mapping(content.get("parameters"), (*where, "parameters")),
            copy=content.get("copy"),
            skip=content.get("skip", False),
            parts=content.get("parts", 1),
        )
    except RecipeError as error:
        raise RecipeError(str(error), (*where, *error.where)) from None


def _output(value: object) -> Output:
    """Read the output block."""
    content = dict(_keys({} if value is None else value, _OUTPUT_KEYS, "output", ("output",)))
    if isinstance(size := content.get("shard_size"), str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", size)
        if not found or found[2].upper() not in _UNITS:
            raise RecipeError(f"shard_size is {size!r}; write it as 5GB, 500MB or a number of bytes.", ("output", "shard_size"))
        content["shard_size"] = int(float(found[1]) * _UNITS[found[2].upper()])
    return Output(**content)


def _keys(value: object, known: Sequence[str], what: str, where: Where) -> Mapping[str, Any]:
    """Check that a value is a mapping with known keys only."""
    content = _mapping(value, where, what)
    for key in content:
        if key not in known:
            raise RecipeError(
                f"{what} has no key '{key}'.{nearest(key, known)} Its keys are: {', '.join(known)}.", (*where, key)
            )
    return content


def _mapping(value: object, where: Where, what: str = "this") -> Mapping[str, Any]:
    """Check that a value is a mapping; nothing is an empty one."""
    if value is None and where:
        return {}
    if not isinstance(value, Mapping):
        raise RecipeError(f"{what} must be a mapping (key: value), not {type(value).__name__}.", where)
    return value


def _list(value: object, where: Where) -> Sequence[object]:
    """Check that a value is a list; nothing is an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise RecipeError(f"'{where[-1]}' must be a list, not {type(value).__name__}.", where)
    return value


def as_recipe(recipe: Recipe | str | Path | Mapping[str, Any]) -> Recipe:
    """Return a recipe as it is, or read it from a file or from plain values."""
    if isinstance(recipe, Recipe):
        return recipe
    return load(recipe) if isinstance(recipe, str | Path) else from_mapping(recipe)


def to_mapping(recipe: Recipe) -> dict[str, object]:
    """Return the recipe as plain values that `from_mapping` reads back to an equal recipe, if its models are paths."""
    content: dict[str, object] = {"cuvee": SCHEMA, "method": recipe.method}
    content["models"] = {label: _written(reference) for label, reference in recipe.models.items()}
    if recipe.base is not None:
        content["base"] = _written(recipe.base)
    if recipe.parameters:
        content["parameters"] = thawed(recipe.parameters)
    if recipe.tensors:
        content["tensors"] = [_rule_mapping(rule) for rule in recipe.tensors]
    if recipe.seed:
        content["seed"] = recipe.seed
    output = {"dtype": recipe.output.dtype, "shard_size": recipe.output.shard_size, "custom_code": recipe.output.custom_code}
    defaults = {"dtype": None, "shard_size": SHARD_BYTES, "custom_code": False}
    if changed := {key: value for key, value in output.items() if value != defaults[key]}:
        content["output"] = changed
    return content


def _written(reference: Reference) -> str:
    """Write a reference down; what is held in memory has no name."""
    return str(reference) if isinstance(reference, str | Path) else "(held in memory)"


def _rule_mapping(rule: Rule) -> dict[str, object]:
    """Return a rule as plain values, without what is default."""
    content: dict[str, object] = {"match": rule.match[0] if len(rule.match) == 1 else list(rule.match)}
    values = {"method": rule.method, "parameters": thawed(rule.parameters), "copy": rule.copy, "skip": rule.skip}
    content |= {key: value for key, value in values.items() if value}
    return content | ({"parts": rule.parts} if rule.parts > 1 else {})


def dump(recipe: Recipe) -> str:
    """Return the recipe as YAML, for reading; models held in memory are marked as such."""
    return yaml.safe_dump(to_mapping(recipe), sort_keys=False, allow_unicode=True, width=120)


def save(recipe: Recipe, path: str | Path) -> None:
    """Write the recipe as YAML.

    Args:
        recipe: its models are paths; relative ones will be read as relative to the file's folder.
        path: the file, replaced if it exists.

    Raises:
        RecipeError: a model is held in memory and has no path.
    """
    for label, reference in (*recipe.models.items(), ("base", recipe.base)):
        if not isinstance(reference, str | Path | None):
            raise RecipeError(f"model '{label}' is held in memory; only recipes whose models are paths can be saved.")
    Path(path).write_text(dump(recipe), encoding="utf-8")

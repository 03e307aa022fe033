"""YAML, read strictly: the one place that knows the syntax. Knows nothing of what a recipe says.

A key given twice is an error; numbers are read as people write them (``1e-3`` is a number); the line of every value is
kept.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from cuvee.errors import RecipeError

__all__ = ["Lines", "Where", "dump", "read"]

Where = tuple[str | int, ...]
"""Keys and indices that lead from the top of a document to a place in it."""
Lines = Mapping[Where, int]


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with numbers such as 1e-3, and without dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own table, changed for this class only
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d+([eE][-+]?\d+)?|\.(inf|Inf|INF|nan|NaN|NAN))$"
    ),
    list("-+.0123456789"),
)


def read(path: Path) -> tuple[object, Lines]:
    """Read a YAML file of one document.

    Args:
        path: the file, UTF-8.

    Returns:
        Its content as plain values (None if it is empty), and the line of everything in it.

    Raises:
        RecipeError: it cannot be read or is not YAML; names file and line.
    """
    lines: dict[Where, int] = {}
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        return (None if node is None else _plain(loader, node, (), lines)), lines
    except RecipeError as error:
        raise RecipeError(f"{path}:{lines[error.where]}: {error}", error.where) from None
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read: {error.strerror}.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise RecipeError(f"{path}: not a recipe: {_first_line(error)}.") from error


def dump(content: Mapping[str, object]) -> str:
    """Return plain values as YAML."""
    text: str = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120)
    return text


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
            key = loader.construct_object(key_node)
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
    return loader.construct_object(node)

"""YAML, read strictly: the one place that knows the syntax. Knows nothing of what a recipe says.

A key given twice is an error; numbers are read as people write them (``1e-3`` is a number); the line of every value is
kept. A file of a few bytes cannot make us work for hours: size, depth and what aliases repeat are limited.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cuvee.errors import RecipeError
from cuvee.sources.strict_json import shown

__all__ = ["Documents", "Origin", "Where", "dump", "parse", "read"]

Where = tuple[str | int, ...]
"""Keys and indices that lead from the top of a document to a place in it."""

MAX_BYTES = 2_000_000  # people write recipes; the worst of this size takes 15 s and 600 MB to be read
MAX_DEPTH = 50  # a recipe needs 6; functions that walk through values call themselves at each level
LONGEST = 200  # letters of what the parser says
MAX_REPEATED = 1000  # values that stand for another (aliases); aliases of aliases multiply without end

# Not YAML 1.1's octal 010 (eight) and base-60 1:30 (ninety); they are text.
_NUMBERS = {
    "tag:yaml.org,2002:int": re.compile(r"[-+]?(0|[1-9][\d_]*)$", re.ASCII),
    "tag:yaml.org,2002:float": re.compile(
        r"[-+]?(\d[\d_]*\.[\d_]*([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.\d+([eE][-+]?\d+)?"
        r"|\.(inf|Inf|INF|nan|NaN|NAN))$",
        re.ASCII,
    ),
}

_YAML_1_1: Any = yaml.SafeLoader("")
MERGE = "tag:yaml.org,2002:merge"
_COLLECTIONS = (yaml.SafeLoader.DEFAULT_MAPPING_TAG, yaml.SafeLoader.DEFAULT_SEQUENCE_TAG)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, with numbers as people write them, and without dates."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the base class's own table, changed for this class only
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":float", ":int"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _Dumper(yaml.SafeDumper):
    """YAML's safe dumper; puts text into quotes that the loader above would take for a number or for other text."""

    def quoted(self, text: str) -> yaml.ScalarNode:
        """Represent text; characters that end a line in Unicode only survive as escapes, in double quotes."""
        node: yaml.ScalarNode = self.represent_scalar(
            "tag:yaml.org,2002:str", text, style=None if text.isprintable() else '"'
        )
        return node


_Dumper.add_representer(str, _Dumper.quoted)
for _tag, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))
    _Dumper.add_implicit_resolver(_tag, _pattern, list("-+.0123456789"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a recipe was read, so that an error about it can say so.

    Attributes:
        path: the file.
        lines: the line of everything in it.
        within: place of the recipe in it, where it has several.
        called: what messages call that recipe.
        translated: whether it was written in other words, those of mergekit, which cannot say all that a recipe can.
        octal: numbers that YAML 1.1 reads where this module reads text or another number, such as 8 of 010; by place.
    """

    path: Path
    lines: Mapping[Where, int]
    within: Where = ()
    called: str = ""
    translated: bool = False
    octal: Mapping[Where, int | float] = field(default_factory=dict, repr=False)

    def knows(self, where: Where) -> bool:
        """Say whether a place of the recipe has a line of its own."""
        return (*self.within, *where) in self.lines

    def place(self, where: Where) -> str:
        """Return file and line of a place of the recipe, or of the innermost thing around it that has a line."""
        line = self.line(where)
        return f"{self.path}{'' if line is None else f':{line}'}" + (f": {self.called}" if self.called else "")

    def line(self, where: Where) -> int | None:
        """Return the line of a place of the recipe, or of the innermost thing around it that has one."""
        whole = (*self.within, *where)
        inner = (whole[:i] for i in range(len(whole), -1, -1))
        return next((self.lines[outer] for outer in inner if outer in self.lines), None)

    @contextmanager
    def named(self) -> Iterator[None]:
        """Put file and line before errors about what the recipe says."""
        try:
            yield
        except RecipeError as error:
            raise type(error)(f"{self.place(error.where)}: {error}", error.where) from error


class Documents(tuple[object, ...]):
    """The contents of a file of several documents, divided by lines of three hyphens."""

    __slots__ = ()


def read(path: Path) -> tuple[object, Origin]:
    """Read a YAML file.

    Args:
        path: the file, UTF-8.

    Returns:
        Its content as plain values (None if it is empty, `Documents` if it has several), and where everything in it
        stands.

    Raises:
        RecipeError: it cannot be read or is not YAML; names file and line.
    """
    try:
        text = _text(path)
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from None
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read: {error.strerror}.") from error
    return parse(text, path)


def parse(text: str, path: Path) -> tuple[object, Origin]:
    """Read YAML of one document, or of several.

    Args:
        text: the document.
        path: the file it comes from, for messages.

    Returns:
        See `read`.

    Raises:
        RecipeError: it is not YAML; names file and line.
    """
    reader = None
    try:
        loader = _Loader(text)
        reader = _Reader(loader)
        nodes = []
        while loader.check_node():
            nodes.append(loader.get_node())
        if len(nodes) > 1:
            found: object = Documents(reader.plain(node, (i,)) for i, node in enumerate(nodes))
        else:
            found = reader.plain(nodes[0], ()) if nodes else None
        return found, Origin(path, reader.lines, octal=reader.octal)
    except RecipeError as error:
        line = f":{reader.lines[error.where]}" if reader else ""
        raise RecipeError(f"{path}{line}: {error}", error.where) from None
    except RecursionError as error:
        raise RecipeError(f"{path}: not a recipe: it is nested too deeply, or refers to itself.") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{path}: not a recipe: {_first_line(error)}.") from error


def dump(content: Mapping[str, object]) -> str:
    """Return plain values as YAML."""
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def _text(path: Path) -> str:
    """Read the file's text."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"not a recipe: it is larger than {MAX_BYTES:,} bytes. Name the recipe's YAML file.")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"not a recipe: byte {error.start} is not UTF-8 text. Name a YAML file, and save it as UTF-8."
        ) from error


def _first_line(error: Exception) -> str:
    """Shorten a YAML error to its problem and line."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None or problem is None:
        return textwrap.shorten(str(error).partition("\n")[0], LONGEST) if str(error) else type(error).__name__
    if r"'\t'" in problem:
        problem = "there is a tab where a value or a key should begin. Indent with spaces"
    return f"line {mark.line + 1}: {textwrap.shorten(problem, LONGEST)}"


def _of_yaml_1_1(text: str) -> int | float | None:
    """Return the number that YAML 1.1 reads in text without quotes: octal, hexadecimal, binary, or to the base 60."""
    if not text.startswith(tuple("-+0123456789")):
        return None
    tag = _YAML_1_1.resolve(yaml.ScalarNode, text, (True, False)).rpartition(":")[2]
    if tag not in ("int", "float"):
        return None
    node = yaml.ScalarNode(tag, text)
    number: int | float = _YAML_1_1.construct_yaml_int(node) if tag == "int" else _YAML_1_1.construct_yaml_float(node)
    return number


class _Reader:
    """Turns YAML nodes into plain values.

    Args:
        loader: reads scalars.

    Attributes:
        lines: the line of everything read so far.
        octal: see `Origin`.
    """

    def __init__(self, loader: _Loader) -> None:
        self.lines: dict[Where, int] = {}
        self.octal: dict[Where, int | float] = {}
        self._loader = loader
        self._seen: set[int] = set()
        self._num_repeated = 0

    def plain(self, node: Any, where: Where) -> Any:
        """Turn a node, and all within, into plain values."""
        self.lines[where] = node.start_mark.line + 1
        self._check(node, where)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*where, i)) for i, item in enumerate(node.value)]
        value = self._scalar(node, where)
        if isinstance(value, str) and node.style is None and (number := _of_yaml_1_1(node.value)) is not None:
            self.octal[where] = number
        return value

    def _scalar(self, node: Any, where: Where) -> object:
        """Turn text into the value that it stands for."""
        try:
            value: object = self._loader.construct_object(node)
        except (yaml.YAMLError, AttributeError, LookupError, ValueError) as error:  # !!bool x, 5000 digits
            kind = node.tag.removeprefix("tag:yaml.org,2002:")
            raise RecipeError(
                f"{node.value[:40]!r} cannot be read as {shown(kind)[1:-1]}; put text in quotes.", where
            ) from error
        if not isinstance(value, str | int | float | None):
            raise RecipeError(
                f"a value of type {type(value).__name__} cannot stand in a recipe; use text or numbers.", where
            )
        return value

    def _check(self, node: Any, where: Where) -> None:
        """Refuse what would take forever, and collections of other kinds than mapping and list."""
        if isinstance(node, yaml.CollectionNode) and node.tag not in _COLLECTIONS:
            raise RecipeError(
                f"the tag {shown(node.tag)} cannot stand in a recipe; use plain lists and mappings.", where
            )
        if len(where) > MAX_DEPTH:
            raise RecipeError("not a recipe: it is nested too deeply, or refers to itself.", where)
        self._num_repeated += id(node) in self._seen
        self._seen.add(id(node))
        if self._num_repeated > MAX_REPEATED:
            raise RecipeError(f"aliases (*name) stand for more than {MAX_REPEATED} values; write them out.", where)

    def _mapping(self, node: yaml.MappingNode, where: Where) -> dict[str, Any]:
        """Turn a mapping into plain values."""
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == MERGE:
                merged |= {key: value for key, value in self._merged(value_node, where).items() if key not in merged}
                continue
            key = self._scalar(key_node, where) if isinstance(key_node, yaml.ScalarNode) else key_node.value
            if not isinstance(key, str):
                found = f"a {type(key).__name__}" if isinstance(key, list) else shown(key)
                raise RecipeError(f"{found} cannot be a key; keys are text (put numbers in quotes).", where)
            inner = (*where, key)
            if key in result:
                self.lines[inner] = key_node.start_mark.line + 1
                raise RecipeError(f"the key {shown(key)} is given twice.", inner)
            result[key] = self.plain(value_node, inner)
            self.lines[inner] = key_node.start_mark.line + 1
        return {**merged, **result}

    def _merged(self, node: Any, where: Where) -> dict[str, Any]:
        """Return what ``<<`` takes over from another mapping, or from several, of which the first has precedence."""
        nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
        found: dict[str, Any] = {}
        for each in nodes:
            if not isinstance(each, yaml.MappingNode):
                raise RecipeError("'<<' takes over a mapping, or a list of mappings (*name).", where)
            found = {**self.plain(each, where), **found}
        return found

"""A score's signature is its declaration.

::

    @score(models=("causal",))
    def perplexity(subject: Subject, limit: Limit, *, text: Text, stride: Count = 512) -> Sequence[Measure]:
        ...

Positional parameters are what the driver hands over: the model, and, if asked for, how many examples the user wants at
most. Keyword-only parameters are what a user may set: files, which the driver reads and checks before any weight, and
settings with bounds in their types. Checks, help and the list of scores are read from the `Score` made here.
"""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin, get_type_hints

from cuvee.evaluate.data import Table, Text
from cuvee.evaluate.measure import Measure
from cuvee.evaluate.subject import Need, Subject
from cuvee.plugins.paper import Paper
from cuvee.plugins.registry import Registry
from cuvee.plugins.signature import Range, argument_help

__all__ = ["REQUIRED", "SCORES", "Column", "Count", "Limit", "Parameter", "Score", "column_of", "score"]

F = TypeVar("F", bound=Callable[..., Sequence[Measure]])
Kind = Literal["text", "table", "folder", "int", "float", "bool", "str", "words", "ints"]
KINDS: Mapping[object, Kind] = {
    Text: "text",
    Table: "table",
    Path: "folder",
    int: "int",
    float: "float",
    bool: "bool",
    str: "str",
    tuple[str, ...]: "words",
    tuple[int, ...]: "ints",
}


@dataclass(frozen=True, slots=True)
class _Required:
    """Default of a parameter that has none."""

    def __str__(self) -> str:
        return "required"


REQUIRED = _Required()
"""Default of a parameter that the user has to give."""


@dataclass(frozen=True, slots=True)
class Column:
    """Says that a setting names a column of a table; the empty name is no column.

    Attributes:
        table: the parameter that is the table.
    """

    table: str


def column_of(table: str) -> Column:
    """Mark a setting as the name of a column of a table, which every row of it must have."""
    return Column(table)


Limit: TypeAlias = "int | None"
"""How many examples the user wants at most, for scores whose examples are no table; of the first table, which are the
examples, the driver takes the first rows."""
Count = Annotated[int, Range(1, 1_000_000_000)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A setting, or a file, that a user may give.

    Attributes:
        name: its name.
        kind: what it is; ``words`` and ``ints`` are lists.
        default: value when not given; `REQUIRED` where there is none.
        bounds: interval of a number, or of each one of a list; None is none.
        choices: allowed words, else empty.
        column: the table whose column it names; empty if it names none.
        help: what the docstring says of it.
    """

    name: str
    kind: Kind
    default: object
    bounds: Range | None = None
    choices: tuple[str, ...] = ()
    column: str = ""
    help: str = ""

    @property
    def is_required(self) -> bool:
        """The user has to give it."""
        return self.default is REQUIRED

    @property
    def is_file(self) -> bool:
        """It is a file that is read before the model."""
        return self.kind in ("text", "table")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Score:
    """A score, as declared.

    Attributes:
        name: its name on the command line.
        function: model and settings to measures.
        summary: first line of its docstring.
        doc: its whole docstring.
        models: what it can measure, one of these.
        parameters: by name.
        takes_limit: it wants to know how many examples are wanted at most.
        check: looks at all settings together, files read, before a model is opened; returns what is wrong, or an empty
            string.
        suits: looks at them together with a model whose weights are not read yet; likewise.
        paper: where it was defined, or None.
        extra: what of cuvee's extras it needs.
    """

    name: str
    function: Callable[..., Sequence[Measure]]
    summary: str
    doc: str
    models: tuple[Need, ...]
    parameters: Mapping[str, Parameter]
    takes_limit: bool
    check: Callable[[Mapping[str, Any]], str]
    suits: Callable[[Subject, Mapping[str, Any]], str]
    paper: Paper | None
    extra: str


SCORES: Registry[Score] = Registry("score", package="cuvee.evaluate.scores", group="cuvee.scores")


def score(
    *,
    models: Sequence[Need],
    check: Callable[[Mapping[str, Any]], str] = lambda _: "",
    suits: Callable[[Subject, Mapping[str, Any]], str] = lambda *_: "",
    paper: Paper | None = None,
    extra: str = "hf",
) -> Callable[[F], F]:
    """Declare a function to be a score. See `Score` for the arguments.

    Raises:
        TypeError: the signature or docstring leaves something undeclared, or the name is taken.
    """

    def declare(function: F) -> F:
        doc = SCORES.documented(function)
        takes_limit, parameters = _read_signature(function, argument_help(doc))
        made = Score(
            name=function.__name__,
            function=function,
            summary=doc.splitlines()[0],
            doc=doc,
            models=tuple(models),
            parameters=MappingProxyType(parameters),
            takes_limit=takes_limit,
            check=check,
            suits=suits,
            paper=paper,
            extra=extra,
        )
        SCORES.add(made)
        return function

    return declare


def _read_signature(function: Callable[..., object], helps: Mapping[str, str]) -> tuple[bool, dict[str, Parameter]]:
    """Split a score's signature into what it wants from the driver, and its parameters."""
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters.values()
    given = [p.name for p in signature if p.kind is not p.KEYWORD_ONLY]
    if not given or hints[given[0]] is not Subject or len(given) > 2:
        raise TypeError(f"score '{function.__name__}': its first parameter must be a Subject, a second one the Limit")
    if len(given) == 2 and not _is_limit(hints[given[1]]):
        raise TypeError(f"score '{function.__name__}': '{given[1]}' must be a Limit, or keyword-only")
    parameters = {
        p.name: _read_parameter(function.__name__, p, hints[p.name], helps)
        for p in signature
        if p.kind is p.KEYWORD_ONLY
    }
    for each in parameters.values():
        if each.column and (each.column not in parameters or parameters[each.column].kind != "table"):
            raise TypeError(f"score '{function.__name__}': '{each.name}' is a column of '{each.column}', no table")
    return len(given) == 2, parameters


def _is_limit(hint: object) -> bool:
    """Say whether an annotation is `Limit`."""
    return get_origin(hint) in (Union, types.UnionType) and set(get_args(hint)) == {int, type(None)}


def _read_parameter(score_name: str, parameter: inspect.Parameter, hint: Any, helps: Mapping[str, str]) -> Parameter:
    """Read one keyword-only parameter."""
    marks = getattr(hint, "__metadata__", ())
    plain = hint.__origin__ if marks else hint
    choices = tuple(get_args(plain)) if get_origin(plain) is Literal else ()
    kind = "str" if choices else KINDS.get(plain)
    if kind is None or parameter.name not in helps:
        raise TypeError(
            f"score '{score_name}': parameter '{parameter.name}' needs a type that a user can give (see `Parameter`), "
            "and a line under Args in the docstring"
        )
    return Parameter(
        name=parameter.name,
        kind=kind,
        default=REQUIRED if parameter.default is parameter.empty else parameter.default,
        bounds=next((mark for mark in marks if isinstance(mark, Range)), None),
        choices=choices,
        column=next((mark.table for mark in marks if isinstance(mark, Column)), ""),
        help=helps[parameter.name],
    )

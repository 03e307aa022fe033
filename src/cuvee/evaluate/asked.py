"""Scores as a user asks for them: ``NAME`` or ``NAME:SETTING=VALUE,SETTING=VALUE``, or the same as plain values.

A list is written with plus signs, ``k=1+5+10``. A value that holds a comma stands in double quotes, in which a quote or
a backslash has a backslash before it: ``text="a, b.txt"``.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cuvee.errors import ScoreError, nearest
from cuvee.evaluate.data import read_table, read_text
from cuvee.evaluate.declare import Parameter, Score
from cuvee.evaluate.registry import find_score
from cuvee.sources.strict_json import shown

__all__ = ["Asked", "asked", "read"]

SETTING = re.compile(r"\s*(?P<name>[\w.-]+)\s*=(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|(?P<plain>[^,\"]*))\s*(?:,|$)")
TRUE, FALSE = ("true", "yes"), ("false", "no")
LIST = "+"
ENDLESS = 1_000_000  # a bound from here on is there to refuse slips of the hand, and is not worth telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A score with its settings.

    Attributes:
        score: the score.
        settings: by name, whole; files as paths.
        given: as the user gave it, for results.
    """

    score: Score
    settings: Mapping[str, Any]
    given: str


def asked(wanted: str | Mapping[str, Mapping[str, Any]]) -> Sequence[Asked]:
    """Read scores as a user asks for them.

    Args:
        wanted: one score as text; or settings, by name of the score.

    Raises:
        ScoreError: a score or a setting is not known, is missing, or has a wrong value.
    """
    if isinstance(wanted, str):
        name, _, rest = wanted.partition(":")
        given: dict[str, Any] = {}
        for key, value in _parts(wanted, rest):
            if key in given:
                raise ScoreError(f"score {shown(wanted)}: '{key}' is given twice.")
            given[key] = value
        return [_settled(name.strip(), given, wanted)]
    if not isinstance(wanted, Mapping):
        raise ScoreError(
            f"{shown(wanted)} is no score; give text such as 'perplexity:text=FILE', or a mapping of names to settings."
        )
    return [_settled(name, given or {}, name) for name, given in wanted.items()]


def read(wanted: Asked, limit: int | None) -> dict[str, Any]:
    """Read the files that a score needs; return all settings, with what is in the files in place of paths.

    Args:
        wanted: the score.
        limit: how many rows of the first table to keep, which are the examples; None keeps all.

    Raises:
        ScoreError: a file cannot be read, or is not what it should be.
    """
    settings = dict(wanted.settings)
    tables = [name for name, parameter in wanted.score.parameters.items() if parameter.kind == "table"]
    for name, parameter in wanted.score.parameters.items():
        if parameter.kind == "text":
            settings[name] = read_text(settings[name])
        elif parameter.kind == "table":
            named = [each.name for each in wanted.score.parameters.values() if each.column == name]
            columns = [settings[each] for each in named if settings[each]]
            settings[name] = read_table(settings[name], columns).first(limit if name == tables[0] else None)
    return settings


def _parts(whole: str, rest: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a score that is written as text."""
    at = 0
    while at < len(rest):
        found = SETTING.match(rest, at)
        if found is None:
            raise ScoreError(
                f"score {shown(whole)}: {shown(rest[at:])} is no setting; write NAME:SETTING=VALUE,SETTING=VALUE, and "
                "a value with a comma in double quotes."
            )
        quoted = found["quoted"]
        yield found["name"], found["plain"].strip() if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
        at = found.end()


def _settled(name: str, given: Mapping[str, Any], wanted: str) -> Asked:
    """Check settings, and fill in defaults."""
    score = find_score(name)
    known = score.parameters
    for key in given:
        if key not in known:
            has = f"It has: {', '.join(known)}." if known else "It has none."
            raise ScoreError(f"score '{name}' has no setting {shown(key)}.{nearest(str(key), known)} {has}")
    missing = [each.name for each in known.values() if each.is_required and each.name not in given]
    if missing:
        example = ",".join(f"{each}=…" for each in missing)
        raise ScoreError(f"score '{name}' needs {' and '.join(map(repr, missing))}: write {name}:{example}")
    settings = {key: _value(name, known[key], given[key]) if key in given else known[key].default for key in known}
    return Asked(score=score, settings=settings, given=wanted)


def _value(score: str, parameter: Parameter, value: Any) -> Any:
    """Return a value in the parameter's type, if it is one that the parameter can have."""
    try:
        converted = _converted(parameter, value)
    except (TypeError, ValueError):
        raise _wrong(score, parameter, value) from None
    bounds = parameter.bounds
    for number in converted if isinstance(converted, tuple) else (converted,):
        if bounds is not None and not bounds.low <= number <= bounds.high:
            raise _wrong(score, parameter, value)
    if parameter.choices and converted not in parameter.choices:
        raise _wrong(score, parameter, value)
    return converted


def _converted(parameter: Parameter, value: Any) -> Any:
    """Convert text, or check a value of Python's."""
    kind = parameter.kind
    if parameter.is_file or kind == "folder":
        if not value:
            raise ValueError
        return Path(value).expanduser()
    if kind in ("words", "ints"):
        parts = value.split(LIST) if isinstance(value, str) else [value] if isinstance(value, int) else list(value)
        words = tuple(each.strip() if isinstance(each, str) else each for each in parts)
        if not words or "" in words:
            raise ValueError
        return tuple(map(_whole, words)) if kind == "ints" else tuple(map(str, words))
    if kind == "bool":
        word = str(value).lower()
        if word not in (*TRUE, *FALSE):
            raise ValueError
        return word in TRUE
    if kind == "int":
        return _whole(value)
    if isinstance(value, bool):
        raise TypeError
    if parameter.column and not value and parameter.default:
        raise ValueError  # only a column that need not be there can be none
    return float(value) if kind == "float" else str(value)


def _whole(value: Any) -> int:
    """Return a whole number that is written as one."""
    if isinstance(value, bool | float):
        raise TypeError
    return int(value)


def _wrong(score: str, parameter: Parameter, value: object) -> ScoreError:
    """Say what a setting can be."""
    kinds = {
        "text": "the path of a file",
        "table": "the path of a file",
        "folder": "the path of a folder",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "text",
        "words": f"words with '{LIST}' between them",
        "ints": f"whole numbers with '{LIST}' between them",
    }
    said = " or ".join(parameter.choices) or ("the name of a column" if parameter.column else kinds[parameter.kind])
    if parameter.bounds is not None:
        said += f" from {parameter.bounds.low:g} on"
        if parameter.bounds.high < ENDLESS:
            said = f"{said.removesuffix(' on')} to {parameter.bounds.high:g}"
    close = nearest(str(value), parameter.choices)
    return ScoreError(f"score '{score}': '{parameter.name}' is {shown(value)}; it can be {said}.{close}")

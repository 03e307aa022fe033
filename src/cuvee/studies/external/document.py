"""Plain values of a YAML file, taken out one by one; a key that is missing, wrong or left over is an error.

Knows no key's meaning.
"""

from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from types import UnionType
from typing import TypeVar

from cuvee.errors import StudyError, nearest
from cuvee.recipe.yaml_text import Origin, Where
from cuvee.sources.strict_json import shown
from cuvee.studies.external.facts import MARKS, UNKNOWN, Fact
from cuvee.studies.suite import Cell

__all__ = ["Part"]

Made = TypeVar("Made")
REQUIRED = object()
MOST = 1e30  # of any number: infinity is no count, and no rate


class Part:
    """A mapping of a document.

    Args:
        content: its value; anything, for files are written by people.
        origin: knows lines.
        where: place of the mapping.

    Raises:
        StudyError: it is no mapping.
    """

    def __init__(self, content: object, origin: Origin, where: Where = ()) -> None:
        self._origin, self._where, self._taken = origin, where, set[str]()
        if not isinstance(content, Mapping):
            raise self.error("", f"{shown(content)} stands where keys and values are expected (key: value).")
        self._content: Mapping[str, object] = content

    def error(self, key: str | int, said: str) -> StudyError:
        """Return an error about a key, or about the whole, with file and line."""
        where = (*self._where, key) if key != "" else self._where
        return StudyError(f"{self._origin.place(where)}: {said}")

    def lacks(self, key: str, said: str) -> StudyError:
        """Return an error about a key that is missing; it may be there, and misspelt."""
        others = [name for name in self._content if name not in self._taken]
        return self.error("", f"the key '{key}' is missing; {said}.{nearest(key, others)}")

    def keys(self) -> Sequence[str]:
        """List the keys, for a mapping whose keys are names."""
        return list(self._content)

    def has(self, key: str) -> bool:
        """Say whether a key is there."""
        return key in self._content

    def done(self, known: Sequence[str] = ()) -> None:
        """Refuse keys that nobody has asked for.

        Raises:
            StudyError: there is one.
        """
        for key in self._content:
            if key not in self._taken:
                names = sorted({*self._taken, *known})
                raise self.error(
                    key, f"there is no key '{key}' here.{nearest(key, names)} It takes {', '.join(names)}."
                )

    def take(self, key: str, expected: str, is_right: Callable[[object], bool], default: object = REQUIRED) -> object:
        """Return a value.

        Args:
            key: its key.
            expected: what it should be, for messages.
            is_right: says whether it is.
            default: returned where the key is missing.

        Raises:
            StudyError: it is missing, or something else.
        """
        self._taken.add(key)
        if key not in self._content:
            if default is REQUIRED:
                raise self.lacks(key, f"expected {expected}")
            return default
        value = self._content[key]
        if not is_right(value):
            raise self.error(key, f"'{key}' is {shown(value)}; expected {expected}.")
        return value

    def text(self, key: str, default: object = REQUIRED) -> str:
        """Return a text."""
        found = self.take(key, "text", lambda value: isinstance(value, str), default)
        return str(found)

    def one_of(self, key: str, known: Sequence[str], default: object = REQUIRED) -> str:
        """Return one of a few words."""
        return str(self.take(key, f"one of {', '.join(known)}", lambda value: value in known, default))

    def template(self, key: str, fields: Sequence[str], default: object = REQUIRED) -> str:
        """Return a text in which ``{name}`` stands for something; it may have some of these names and no others."""
        known = ", ".join(f"{{{name}}}" for name in fields)

        def is_right(value: object) -> bool:
            try:
                parts = list(Formatter().parse(value)) if isinstance(value, str) else [("", "", "", "")]
            except ValueError:  # a brace without the other
                return False
            return all(name is None or (name in fields and not form and not kind) for _, name, form, kind in parts)

        return str(
            self.take(key, f"text, with {known} where these should stand, and no other braces", is_right, default)
        )

    def whole(self, key: str, default: object = REQUIRED, *, least: int = 0) -> int:
        """Return a whole number, `least` or larger."""
        found = self.take(key, f"a whole number, {least} or larger", lambda value: _lies(value, int, least), default)
        assert isinstance(found, int)
        return found

    def number(self, key: str, default: object = REQUIRED) -> float:
        """Return a number, 0 or larger."""
        found = self.take(key, "a number, 0 or larger", lambda value: _lies(value, int | float, 0), default)
        assert isinstance(found, int | float)
        return float(found)

    def share(self, key: str, default: object = REQUIRED) -> float:
        """Return a number in [0, 1]."""
        found = self.take(key, "a number from 0 to 1", lambda value: _lies(value, int | float, 0, 1), default)
        assert isinstance(found, int | float)
        return float(found)

    def texts(self, key: str, default: object = REQUIRED) -> tuple[str, ...]:
        """Return a list of texts."""
        found = self.take(key, "a list of texts", lambda value: _is_list_of(value, str), default)
        assert isinstance(found, list | tuple)
        return tuple(found)

    def wholes(self, key: str, default: object = REQUIRED) -> tuple[int, ...]:
        """Return a list of whole numbers."""
        found = self.take(key, "a list of whole numbers", lambda value: _is_list_of(value, int), default)
        assert isinstance(found, list | tuple)
        return tuple(found)

    def pairs(self, key: str, default: object = REQUIRED) -> tuple[tuple[str, str], ...]:
        """Return a list of lists of two texts."""
        found = self.take(
            key,
            "a list of pairs of texts, such as [[sentiment, german]]",
            lambda value: isinstance(value, list) and all(_is_list_of(each, str) and len(each) == 2 for each in value),
            default,
        )
        assert isinstance(found, list | tuple)
        return tuple((str(a), str(b)) for a, b in found)

    def cell(self, key: str, cells: Sequence[Cell]) -> Cell:
        """Return a cell that there is, written as a pair of texts."""
        found = self.texts(key)
        if len(found) != 2 or Cell(*found) not in cells:
            raise self.error(key, f"there is no cell [{', '.join(found)}] among the cells.")
        return Cell(*found)

    def fact(self, key: str, default: object = REQUIRED) -> Fact:
        """Return a number with its mark, ``[7.6e9, recall]``, or ``unknown``."""
        marks = ", ".join(MARKS)
        expected = f"'unknown', or a number and where it is from, such as [1000, ours]; marks are {marks}"
        found = self.take(key, expected, _is_fact, default)
        if isinstance(found, Fact):
            return found
        return Fact(float(found[0]), found[1]) if isinstance(found, list) else UNKNOWN

    def part(self, key: str) -> "Part":
        """Return a mapping; an empty one where the key is missing."""
        self._taken.add(key)
        return Part(self._content.get(key, {}), self._origin, (*self._where, key))

    def parts(self, key: str) -> "Sequence[Part]":
        """Return a list of mappings; an empty one where the key is missing."""
        found = self.take(key, "a list", lambda value: isinstance(value, list), [])
        assert isinstance(found, list)
        return [Part(each, self._origin, (*self._where, key, i)) for i, each in enumerate(found)]

    def each(self, key: str, make: "Callable[[Part], Made]") -> dict[str, Made]:
        """Make something of each of a mapping's mappings, by name."""
        inner = self.part(key)
        return {name: make(inner.part(name)) for name in inner.keys()}  # noqa: SIM118 - a part is no mapping


def _is_number(value: object, kind: type | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _lies(value: object, kind: type | UnionType, low: float, high: float = MOST) -> bool:
    return _is_number(value, kind) and isinstance(value, int | float) and low <= value <= high


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and bool(value) and all(_is_number(each, kind) for each in value)


def _is_fact(value: object) -> bool:
    if value == "unknown":
        return True
    if not isinstance(value, list) or len(value) != 2:
        return False
    number, mark = value
    return _lies(number, int | float, 0) and isinstance(mark, str) and mark in MARKS

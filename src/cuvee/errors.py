"""Every error cuvee raises on purpose, in one tree.

::

    CuveeError
    ├── RecipeError            the recipe is wrong; nothing was read (exit code 2)
    │   └── PlanError          the recipe and its inputs do not fit together (exit code 2)
    ├── SourceError            an input cannot be read as named tensors
    │   ├── FormatError        a file is truncated, malformed or hostile
    │   └── UnsupportedError   a tensor is stored in a form that cannot be merged (packed, scaled)
    ├── MergeError             the merge itself failed
    │   └── NonFiniteError     a weight is NaN or infinite
    ├── OutputError            the output cannot be written
    ├── ScoreError             a model cannot be scored as it was asked (exit code 2)
    ├── StudyError             a study or suite is not there, or cannot run as it was asked (exit code 2)
    └── MissingLibraryError    an optional library is not installed

    CuveeWarning               something the user should know; nothing is wrong

A message says what failed, where (file, tensor, model or recipe line), what was found, what was expected, and what to
do.
"""

from collections.abc import Iterable

__all__ = [
    "CuveeError",
    "CuveeWarning",
    "FormatError",
    "MergeError",
    "MissingLibraryError",
    "NonFiniteError",
    "OutputError",
    "PlanError",
    "RecipeError",
    "ScoreError",
    "SourceError",
    "StudyError",
    "UnsupportedError",
    "nearest",
    "some",
]

# Letters of the longer of two names: with less, one wrong letter makes another name; from LONG on, two may be wrong.
SHORT, LONG = 3, 8
SEPARATORS = "-_./ "


class CuveeError(Exception):
    """Base of every error that cuvee raises on purpose."""

    exit_code = 1


class CuveeWarning(UserWarning):
    """Something the user should know that did not stop the merge."""


class RecipeError(CuveeError):
    """The recipe is wrong: unknown key, misspelt parameter, value out of bounds, missing model.

    Args:
        message: what is wrong and what to do.
        where: keys and indices that lead to the place in the recipe, from its top; a reader of files turns it into a
            line.
    """

    exit_code = 2

    def __init__(self, message: str, where: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.where = where


class PlanError(RecipeError):
    """The recipe and its inputs do not fit: shapes or names differ, a tensor is missing."""


class SourceError(CuveeError):
    """An input cannot be read as named tensors."""


class FormatError(SourceError):
    """A file is truncated, malformed or hostile."""


class UnsupportedError(SourceError):
    """A tensor is stored in a form that cannot be merged as it is: packed or scaled weights."""


class MergeError(CuveeError):
    """The merge failed while it ran."""


class NonFiniteError(MergeError):
    """A weight, read or computed, is NaN or infinite."""


class OutputError(CuveeError):
    """The output cannot be written: it exists, equals an input, or the disk is full."""


class ScoreError(CuveeError):
    """A model cannot be scored as it was asked: it has no tokenizer, or the score does not fit it or its data."""

    exit_code = 2


class StudyError(CuveeError):
    """A study or a suite is not there, is declared wrongly, or cannot run as it was asked."""

    exit_code = 2


class MissingLibraryError(CuveeError):
    """An optional library is needed and not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name that was most likely meant, or an empty string.

    Meant is what differs by case, by one letter (two from 8 letters on) that is missing, wrong or too many, where two
    swapped ones count as one, or by a part: ``base`` for ``base_model``. A wrong letter of two is no slip.

    Args:
        name: the unknown name.
        known: the names that would have been right.
    """
    apart = [(_difference(str(name), each), each) for each in known]  # a recipe may have a number for a name
    found = [(difference, each) for difference, each in apart if difference is not None]
    return f" Did you mean '{min(found, key=lambda pair: pair[0])[1]}'?" if found else ""


def _difference(name: str, other: str) -> int | None:
    """Return how far two names are from each other, or None if one does not stand for the other."""
    shorter, longer = sorted((name.casefold(), other.casefold()), key=len)
    most = 0 if len(longer) < SHORT else 1 if len(longer) < LONG else 2
    edits = _edits(shorter, longer, most)
    if edits <= most:
        return edits
    extra = len(longer) - len(shorter)
    if shorter and (
        (longer.startswith(shorter) and (extra == 1 or longer[len(shorter)] in SEPARATORS))
        or (longer.endswith(shorter) and (extra == 1 or longer[extra - 1] in SEPARATORS))
    ):
        return most + extra
    return None


def _edits(one: str, other: str, most: int) -> int:
    """Count the letters to add, remove, replace or swap with the next that make one text of another.

    Stops at `most`, and returns one more then: names are many, and may be long.
    """
    if abs(len(one) - len(other)) > most:
        return most + 1
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[same:], other[same:]
    if not one or not other:
        return len(one) + len(other)
    if most == 0:
        return 1
    ways = [(one[1:], other), (one, other[1:]), (one[1:], other[1:])]
    if one[:2] == other[1::-1]:
        ways.append((one[2:], other[2:]))
    return 1 + min(_edits(*way, most - 1) for way in ways)


def some(names: Iterable[str], most: int) -> str:
    """Return the first `most` names for a message, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")

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
    └── MissingLibraryError    an optional library is not installed

    CuveeWarning               something the user should know; nothing is wrong

A message says what failed, where (file, tensor, model or recipe line), what was found, what was expected, and what to
do.
"""

import difflib
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
    "SourceError",
    "UnsupportedError",
    "nearest",
    "some",
]


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


class MissingLibraryError(CuveeError):
    """An optional library is needed and not installed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the known name closest to `name`, or an empty string.

    Args:
        name: the unknown name.
        known: the names that would have been right.
    """
    close = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def some(names: Iterable[str], most: int) -> str:
    """Return the first `most` names for a message, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")

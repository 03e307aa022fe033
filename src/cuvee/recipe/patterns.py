"""Patterns of tensor names, with ``*``, ``?`` and ``[...]``. Upper and lower case differ."""

import re
from collections.abc import Iterable
from fnmatch import translate
from functools import lru_cache

__all__ = ["first_match", "matches"]


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Say whether a name matches one of the patterns, as a whole."""
    return _compiled(patterns).match(name) is not None


def first_match(pattern: str, names: Iterable[str]) -> str | None:
    """Return the first of some names that matches a pattern, or None."""
    return next(filter(_compiled((pattern,)).match, names), None)


@lru_cache(maxsize=1 << 15)  # as many as fnmatch keeps: one that is too small would compile again for every name
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))

"""Regular expressions that come with an adapter, matched as PEFT matches them, in bounded time.

Python's matcher can take time exponential in the length of a name where repetitions are nested, and an adapter's author
is a stranger. Expressions of that kind are refused; those that people write for layers and projections are not.
"""

import re
import warnings

from cuvee.errors import FormatError
from cuvee.sources.strict_json import shown

__all__ = ["names_end", "names_whole"]

MOST_CHARACTERS = 1000
MOST_REPEATS = 4  # each can multiply the time by the length of a name
REPEAT = re.compile(r"(?<!\\)[*+]|\{\d*,\d*\}")
NESTED = re.compile(r"[*+}][^()]*\)[*+{]|[*+}][?+]?\)+[*+{]")


def names_end(pattern: str, where: str) -> re.Pattern[str]:
    """Return what matches names that end in `pattern`, beginning at a dot: keys of ``rank_pattern``.

    Args:
        pattern: regular expression.
        where: the file it is from, for messages.

    Raises:
        FormatError: it is none, or one that could take very long.
    """
    return _compiled(pattern, rf"(.*\.)?({pattern})$", where)


def names_whole(pattern: str, where: str) -> re.Pattern[str]:
    """Return what matches names as a whole: ``feedforward_modules`` given as text. As `names_end` otherwise."""
    return _compiled(pattern, rf"({pattern})\Z", where)


def _compiled(pattern: str, whole: str, where: str) -> re.Pattern[str]:
    """Compile `whole`, which holds `pattern`."""
    if len(pattern) > MOST_CHARACTERS or len(REPEAT.findall(pattern)) > MOST_REPEATS or NESTED.search(pattern):
        raise FormatError(
            f"{where}: the expression {shown(pattern)} could take very long to match; expected at most {MOST_REPEATS} "
            "repetitions, none within another. Write it in simpler terms."
        )
    try:
        with warnings.catch_warnings(action="ignore"):  # of what another Python may read otherwise
            return re.compile(whole)
    except (re.error, OverflowError, RecursionError) as error:
        raise FormatError(f"{where}: {shown(pattern)} is not a regular expression: {error}.") from error

"""How far a text agrees with the right one: exact match, F1 of words, ROUGE."""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence

__all__ = ["AGREEMENTS", "exact_match", "rouge", "squad", "word_f1"]

ARTICLES = {"a", "an", "the"}
ORDERS = (1, 2)


def exact_match(text: str, target: str) -> float:
    """Say whether two texts have the same words, as SQuAD compares them (Rajpurkar et al., 2016): 0 or 1.

    Punctuation of every script is left out, for suites of several languages; SQuAD's own program, and the score
    `exact_match`, leave out that of ASCII.
    """
    return float(_words(text) == _words(target))


def word_f1(text: str, target: str) -> float:
    """Return the harmonic mean of the shares of common words; 1 where neither text has words."""
    words, right = _words(text), _words(target)
    return _f1(words, right) if words or right else 1.0


def squad(text: str, target: str) -> float:
    """Return the mean of exact match and F1, as Tam et al. (arXiv 2409.18314) score questions."""
    return (exact_match(text, target) + word_f1(text, target)) / 2


def rouge(text: str, target: str) -> float:
    """Return the mean of the F-scores of ROUGE-1, ROUGE-2 and ROUGE-L (Lin, 2004), without stemming.

    Words are runs of letters and digits of any script.
    """
    words, right = (re.findall(r"\w+", each.lower()) for each in (text, target))
    parts = [_f1(_grams(words, n), _grams(right, n)) for n in ORDERS]
    common = _longest_common(words, right)
    parts.append(2 * common / (len(words) + len(right)) if common else 0.0)
    return sum(parts) / len(parts)


def _words(text: str) -> list[str]:
    """Return words in small letters, without articles and punctuation."""
    kept = "".join(c for c in text.lower() if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    return [word for word in kept.split() if word not in ARTICLES]


def _grams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _f1(one: Sequence[Hashable], other: Sequence[Hashable]) -> float:
    """Return the harmonic mean of precision and recall of what two lists have in common."""
    common = sum((Counter(one) & Counter(other)).values())
    return 2 * common / (len(one) + len(other)) if common else 0.0


def _longest_common(one: Sequence[str], other: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    before = [0] * (len(other) + 1)
    for word in one:
        row = [0]
        for j, right in enumerate(other):
            row.append(before[j] + 1 if word == right else max(before[j + 1], row[j]))
        before = row
    return before[-1]


AGREEMENTS: Mapping[str, Callable[[str, str], float]] = {"exact_match": exact_match, "squad": squad, "rouge": rouge}
"""By the name in a declaration."""

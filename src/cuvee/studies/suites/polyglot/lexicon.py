"""The words of the suite `polyglot`, in six languages, and the vocabulary of its models. Knows no grammar and no task.

Names are real: those of CLDR (Unicode License v3, see LICENSE.unicode) and numbers in words, gathered once by
scripts/polyglot_lexicon.py and shipped, so that the suite needs neither library. A token is a word. What two languages
spell alike is one token ("august"), as it is for every multilingual model; within a language no two things are.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import TypedDict

__all__ = ["COUNTS", "LANGUAGES", "MARKS", "WRITTEN", "Lexicon", "keys_of", "token", "vocabulary", "word"]

LANGUAGES = ("de", "es", "fi", "fr", "id", "tr")
COUNTS = {"country": 12, "language": 12, "month": 12, "day": 7, "number": 12}
"""Words of each kind that the shipped file has."""
WRITTEN: Mapping[str, Mapping[str, str]] = {
    key: dict(zip(LANGUAGES, text.split(), strict=True))
    for key, text in {
        "verb/see": "sehen ver nähdä voir melihat görmek",
        "verb/love": "lieben amar rakastaa aimer mencintai sevmek",
        "verb/call": "rufen llamar kutsua appeler memanggil çağırmak",
        "verb/seek": "suchen buscar etsiä chercher mencari aramak",
        "verb/know": "kennen conocer tuntea connaître mengenal tanımak",
        "verb/hear": "hören oír kuulla entendre mendengar duymak",
        "answer/yes": "ja sí kyllä oui ya evet",
        "answer/no": "nein no ei non tidak hayır",
    }.items()
}
"""Words that the libraries do not ship."""
MARKS = (
    "<pad>", "<text>", "<end>", ".", "=", "<who>", "<whom>", "<true>", "<frequent>", "<odd>", "<most>", "<first>",
    "<last>", "<next>", *(f"<{kind}>" for kind in COUNTS), *(f"<{language}>" for language in LANGUAGES),
)  # fmt: skip
"""Tokens that are the same in all languages. `=` stands before every answer."""


class Lexicon(TypedDict):
    """The shipped file.

    Attributes:
        licence: of the names.
        versions: of the libraries that it was gathered from.
        languages: in the order of the names.
        names: by a word's key, such as "month/5", in each language.
    """

    licence: str
    versions: dict[str, str]
    languages: list[str]
    names: dict[str, list[str]]


@cache
def lexicon() -> Lexicon:
    """Read the shipped words."""
    found: Lexicon = json.loads(files(__package__).joinpath("lexicon.json").read_text("utf-8"))
    return found


@cache
def keys_of(kind: str) -> Sequence[str]:
    """Return the keys of all words of a kind; months, days and numbers in their order."""
    return tuple(key for key in (*lexicon()["names"], *WRITTEN) if key.partition("/")[0] == kind)


@cache
def word(key: str, language: str) -> str:
    """Return what a language calls something; a mark is called the same in all."""
    if key in MARKS:
        return key
    if key.startswith("affix/"):
        return f"-{key.partition('/')[2]}"
    if key in WRITTEN:
        return WRITTEN[key][language]
    found = lexicon()
    return found["names"][key][found["languages"].index(language)]


@cache
def vocabulary() -> Mapping[str, int]:
    """Return the number of every token: marks, affixes, then words by language."""
    keys = (*lexicon()["names"], *WRITTEN)
    words = [word(key, language) for language in LANGUAGES for key in keys]
    affixes = [f"-{language}" for language in LANGUAGES]
    return {text: number for number, text in enumerate(dict.fromkeys((*MARKS, *affixes, *words)))}


@cache
def token(key: str, language: str) -> int:
    """Return the number of a word's token."""
    return vocabulary()[word(key, language)]

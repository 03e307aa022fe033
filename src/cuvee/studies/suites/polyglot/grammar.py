"""Sentences of the suite `polyglot`: what is said, and how each language says it. Knows no task.

What is said is made of concepts, so that a passage is the same question in every language. How it is said is invented:
the order of subject, verb and object, and an affix, before or after the noun, that marks one of them or neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cuvee.studies.suites.polyglot.lexicon import token

__all__ = ["GRAMMARS", "Fact", "Grammar", "Part", "Passage", "Place", "said"]

Place = Literal["subject", "verb", "object"]


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence without its full stop.

    Attributes:
        subject: a noun's key; empty where it is not said.
        verb: a verb's key.
        object: a noun's key; empty where it is not said.
    """

    subject: str
    verb: str
    object: str


@dataclass(frozen=True, slots=True)
class Part:
    """A word as it stands in a sentence.

    Attributes:
        key: the word's.
        place: where it stands.
    """

    key: str
    place: Place


Passage: TypeAlias = Sequence[Fact | Part | str]
"""What is said: sentences, parts of sentences, and keys of single words and marks."""


@dataclass(frozen=True, slots=True)
class Grammar:
    """How a language makes sentences.

    Attributes:
        order: of the parts.
        marked: the part with the affix; None if no part has one.
        is_prefix: the affix stands before the noun, else after it.
    """

    order: tuple[Place, Place, Place]
    marked: Place | None = None
    is_prefix: bool = False


GRAMMARS: Mapping[str, Grammar] = {
    "de": Grammar(("subject", "verb", "object")),
    "es": Grammar(("verb", "object", "subject"), marked="object"),
    "fi": Grammar(("subject", "object", "verb"), marked="subject"),
    "fr": Grammar(("object", "verb", "subject"), marked="object", is_prefix=True),
    "id": Grammar(("verb", "subject", "object"), marked="subject"),
    "tr": Grammar(("object", "subject", "verb"), marked="subject", is_prefix=True),
}
"""All six orders there are. Where the verb is not between subject and object, the affix tells one from the other."""


def said(passage: Passage, language: str) -> list[int]:
    """Say a passage in a language: the numbers of its tokens."""
    tokens: list[int] = []
    for piece in passage:
        if isinstance(piece, Fact):
            for place in GRAMMARS[language].order:
                tokens += _part(getattr(piece, place), place, language)
        elif isinstance(piece, Part):
            tokens += _part(piece.key, piece.place, language)
        else:
            tokens.append(token(piece, language))
    return tokens


def _part(key: str, place: Place, language: str) -> list[int]:
    """Say a word in its place, with its affix."""
    if not key:
        return []
    grammar = GRAMMARS[language]
    spoken = token(key, language)
    if place != grammar.marked:
        return [spoken]
    affix = token(f"affix/{language}", language)
    return [affix, spoken] if grammar.is_prefix else [spoken, affix]

"""The words of the suite `minilm`: which there are, in what split, in what sentences. Knows no network.

They are real: names from CLDR (see LICENSE.unicode) and numbers in words, gathered once by scripts/minilm_lexicon.py
and shipped, so that the suite needs neither library. A word, in all its languages, is in one split of a task: what is
tested in one language was trained on in none. Each task is split on its own: an expert of continents may have been told
of Kenya what the task of money asks of the Kenyan shilling.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypedDict

from cuvee.studies.seeds import seed_for
from cuvee.studies.suite import Cell, Split

__all__ = ["COUNTS", "LANGUAGES", "PIVOT", "TASKS", "Lexicon", "Question", "chance_of", "labels", "questions"]

DATA_SEED = 1
LANGUAGES = ("de", "es", "fr", "it", "nl", "tr")
PIVOT = "en"  # the language of the labels
TASKS = ("kind", "continent", "money", "match", "size", "digit")
COUNTS: Mapping[Split, int] = {"statistics": 32, "validation": 32, "test": 48}
"""Words of each split that is scored; all others are trained on."""
NUM_CANDIDATES = 8  # English names that a name is matched with
SENTENCES: Mapping[str, Sequence[str]] = {
    "de": ("{}", "Hier steht: {}.", "Gemeint ist: {}."),
    "es": ("{}", "Aquí dice: {}.", "Se trata de: {}."),
    "fr": ("{}", "Ici on lit : {}.", "Il s'agit de : {}."),
    "it": ("{}", "Qui si legge: {}.", "Si tratta di: {}."),
    "nl": ("{}", "Hier staat: {}.", "Bedoeld is: {}."),
    "tr": ("{}", "Burada yazan: {}.", "Kastedilen: {}."),
}
"""Colons save declension. Sentences say nothing of the task: that is said by the labels there are to choose from."""


class Lexicon(TypedDict):
    """The shipped file.

    Attributes:
        licence: of the names.
        versions: of the libraries that it was gathered from.
        languages: in the order of the names.
        tasks: words of each class of each task, by key; of "match", of each kind.
        names: by a word's key, in each language.
    """

    licence: str
    versions: dict[str, str]
    languages: list[str]
    tasks: dict[str, dict[str, list[str]]]
    names: dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """A phrase and labels to choose from.

    Attributes:
        text: the phrase.
        choices: labels, in English.
        answer: position of the right one.
    """

    text: str
    choices: tuple[str, ...]
    answer: int


@cache
def lexicon() -> Lexicon:
    """Read the shipped words."""
    found: Lexicon = json.loads(files(__package__).joinpath("lexicon.json").read_text("utf-8"))
    return found


@cache
def questions(cell: Cell, split: Split) -> Sequence[Question]:
    """Return a cell's questions, classes by turns.

    Each word is asked about once, in a sentence that its hash decides; in "train" in every sentence, all words in the
    first sentence before any in the second.
    """
    words = words_of(cell.a, split)
    sentences = SENTENCES[cell.b]
    if split == "train":
        return tuple(_question(cell, split, key, sentence) for sentence in sentences for key in words)
    return tuple(_question(cell, split, key, sentences[_hash("sentence", key) % len(sentences)]) for key in words)


@cache
def words_of(task: str, split: Split) -> Sequence[str]:
    """Return keys of a split's words: each class has its share of every split, to one word."""
    placed = []
    for label, keys in lexicon()["tasks"][task].items():
        for rank, key in enumerate(sorted(keys, key=lambda key: _hash(f"split {task}", key))):
            placed.append(((rank + 0.5) / len(keys), label, key))
    ordered = [key for _, _, key in sorted(placed)]
    start = 0
    for name, count in COUNTS.items():
        if name == split:
            return tuple(ordered[start : start + count])
        start += count
    return tuple(ordered[start:])


@cache
def labels() -> Sequence[str]:
    """List every label there is: classes, and English names to match with."""
    tasks = lexicon()["tasks"]
    named = [_name(key, PIVOT) for keys in tasks["match"].values() for key in keys]
    return sorted({*named, *(label for task in TASKS if task != "match" for label in tasks[task])})


def chance_of(task: str) -> float:
    """Return the accuracy of always answering a task's most frequent class, over the words of "test"."""
    if task == "match":
        return 1 / NUM_CANDIDATES
    answers = [_label(task, key) for key in words_of(task, "test")]
    return max(answers.count(label) for label in answers) / len(answers)


def _question(cell: Cell, split: Split, key: str, sentence: str) -> Question:
    """Ask about a word in a sentence."""
    if cell.a == "match":
        names = tuple(_name(each, PIVOT) for each in _candidates(key, split))
        answer = names.index(_name(key, PIVOT))
    else:
        names = tuple(lexicon()["tasks"][cell.a])
        answer = names.index(_label(cell.a, key))
    return Question(sentence.format(_name(key, cell.b)), names, answer)


@cache
def _candidates(key: str, split: Split) -> Sequence[str]:
    """Return the words that a word is told from: some of its kind, filled up with others; in "train" all words."""
    words = words_of("match", split)
    if split == "train":
        return words
    others = [each for each in words if each != key]
    kind = _label("match", key)
    others.sort(key=lambda other: (_label("match", other) != kind, _hash(f"candidates {key}", other)))
    return sorted([key, *others[: NUM_CANDIDATES - 1]], key=lambda other: _hash(f"order {key}", other))


@cache
def _label(task: str, key: str) -> str:
    """Return the class of a word."""
    return next(label for label, keys in lexicon()["tasks"][task].items() if key in keys)


def _name(key: str, language: str) -> str:
    found = lexicon()
    return found["names"][key][found["languages"].index(language)]


def _hash(purpose: str, key: str) -> int:
    return seed_for(DATA_SEED, f"minilm {purpose} {key}")

"""The questions of the suite of small language models, solved anew from their words; its words, and its splits."""

import importlib.util
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from cuvee.studies.suite import Cell, Split
from cuvee.studies.suites.polyglot import lexicon
from cuvee.studies.suites.polyglot.data import COUNTS, LENGTH, auxiliary, cell_examples, concepts, texts
from cuvee.studies.suites.polyglot.draws import Draws
from cuvee.studies.suites.polyglot.grammar import GRAMMARS
from cuvee.studies.suites.polyglot.lexicon import LANGUAGES, MARKS, WRITTEN, vocabulary
from cuvee.studies.suites.polyglot.tasks import AUXILIARY, CHANCE, TASKS

ROOT = Path(__file__).resolve().parents[3]
SPLITS: tuple[Split, ...] = get_args(Split)
WORDS = {number: text for text, number in vocabulary().items()}
KEYS = {
    language: {names[lexicon.LANGUAGES.index(language)]: key for key, names in lexicon.lexicon()["names"].items()}
    | {names[language]: key for key, names in WRITTEN.items()}
    for language in LANGUAGES
}
RULES = {
    "de": ("S", "V", "O"),
    "es": ("V", "O-", "S"),
    "fi": ("S-", "O", "V"),
    "fr": ("-O", "V", "S"),
    "id": ("V", "S-", "O"),
    "tr": ("O", "-S", "V"),
}
"""How sentences are made, once more: `-` stands for the affix."""


def test_all_orders_of_words_are_spoken() -> None:
    assert len({tuple(part.strip("-") for part in rule) for rule in RULES.values()}) == 6
    assert len({grammar.order for grammar in GRAMMARS.values()}) == 6


# Every question is solved from its words and the rules above


def _kind(text: str, language: str) -> str:
    return KEYS[language].get(text, text).partition("/")[0]


def _sentences(words: Sequence[str]) -> list[list[str]]:
    """What stands before each full stop."""
    found: list[list[str]] = [[]]
    for text in words:
        if text == ".":
            found.append([])
        else:
            found[-1].append(text)
    return found[:-1]


def _subject(sentence: Sequence[str], language: str) -> list[str]:
    """Who does it, with the affix, or nobody; a sentence that could be read in two ways is an error."""
    kinds = "".join({f"-{language}": "-", "verb": "V"}.get(_kind(text, language), "N") for text in sentence)
    readings = []
    for left_out in ("", "S", "O", "SO"):
        parts = [part for part in RULES[language] if part.strip("-") not in left_out]
        if "".join(parts).replace("S", "N").replace("O", "N") == kinds:
            left = list(sentence)
            said = {part.strip("-"): [left.pop(0) for _ in part] for part in parts}
            readings.append(said.get("S", []))
    assert len(readings) == 1, sentence
    return readings[0]


def _who(words: Sequence[str], language: str) -> list[str]:
    assert words[-1] == "<who>"
    (sentence,) = (each for each in _sentences(words) if words[-2] in {f"<{_kind(text, language)}>" for text in each})
    return _subject(sentence, language)


def _yes(is_true: bool, language: str) -> list[str]:
    return [WRITTEN["answer/yes" if is_true else "answer/no"][language]]


def _entail(words: Sequence[str], language: str) -> list[str]:
    kinds = {f"<{_kind(text, language)}>" for sentence in _sentences(words) for text in sentence}
    assert words[-1] == "<true>"
    assert words[-2] != "<country>"
    return _yes(words[-2] in kinds, language)


def _answerable(words: Sequence[str], language: str) -> list[str]:
    assert list(words[-2:]) == ["<who>", "<true>"]
    subjects = [_subject(sentence, language) for sentence in _sentences(words)]
    return _yes(any(each and "number" not in {_kind(text, language) for text in each} for each in subjects), language)


def _frequent(words: Sequence[str], language: str) -> list[str]:
    ((text, count), (_, second)) = Counter(words[:-2]).most_common(2)
    assert (count, second, len(words)) == (2, 1, 7), language
    return [text]


def _odd(words: Sequence[str], language: str) -> list[str]:
    kinds = Counter(_kind(text, language) for text in words[:4])
    assert sorted(kinds.values()) == [1, 3]
    return [text for text in words[:4] if kinds[_kind(text, language)] == 1]


def _most(words: Sequence[str], language: str) -> list[str]:
    return [max(words[:4], key=lambda text: int(KEYS[language][text].removeprefix("number/")))]


SOLVERS: dict[str, Callable[[Sequence[str], str], list[str]]] = {
    "who": _who,
    "entail": _entail,
    "frequent": _frequent,
    "odd": _odd,
    "most": _most,
    "answerable": _answerable,
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_are_those_found_by_reading_the_question(task: str, language: str) -> None:
    for split in SPLITS:
        for given, answer in _asked(Cell(task, language), split):
            assert answer == [*SOLVERS[task](given, language), "<end>"], given


@pytest.mark.parametrize("task", TASKS)
def test_answers_are_balanced(task: str) -> None:
    """Yes and no are as frequent to one in ten; other answers are many, and stand in all places."""
    answers = Counter(answer[0] for _, answer in _asked(Cell(task, "de"), "test"))
    assert sum(answers.values()) == 128
    if CHANCE[task] == 1 / 2:
        assert set(answers) == {"ja", "nein"}
        assert 51 <= answers["ja"] <= 77
    else:
        assert max(answers.values()) < 128 / 2
        places = Counter(given.index(answer[0]) for given, answer in _asked(Cell(task, "de"), "test"))
        assert len(places) >= (2 if task == "who" else 4)
        assert max(places.values()) < 128 * {"who": 0.7, "frequent": 0.55}.get(task, 0.45)  # it may be said twice


# Splits and lengths


@pytest.mark.parametrize("task", TASKS)
def test_no_question_is_in_two_splits_in_whatever_language(task: str) -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        found = {repr(question.passage) for question in concepts(task, split)}
        assert len(found) == COUNTS[split]
        for asked in found:
            assert seen.setdefault(asked, split) == split
    rows = [tuple(row) for split in SPLITS for row in cell_examples(Cell(task, "fi"), split).tokens.tolist()]
    assert len(set(rows)) == sum(COUNTS.values())


def test_the_languages_ask_the_same_questions() -> None:
    """Word by word, whatever the order and the affixes."""
    for task in TASKS:
        asked = []
        for language in ("de", "tr"):
            words = [given for given, _ in _asked(Cell(task, language), "statistics")]
            asked.append([Counter(KEYS[language].get(text, text) for text in each if text[0] != "-") for each in words])
        assert asked[0] == asked[1]


def test_questions_are_shorter_than_the_length_and_texts_fill_it() -> None:
    for language in LANGUAGES:
        for part in (auxiliary(language), *(cell_examples(Cell(task, language), "train") for task in TASKS)):
            assert bool((part.tokens[:, -1] == 0).all())
            last = (part.tokens > 0).sum(1) - 1
            assert bool((part.tokens.gather(1, last[:, None])[:, 0] == vocabulary()["<end>"]).all())
            assert bool((part.starts <= last).all())
        assert int((texts(language).tokens > 0).sum(1).max()) == LENGTH


def test_a_text_has_words_of_its_language_alone() -> None:
    for language in LANGUAGES:
        said = {WORDS[number] for number in set(texts(language).tokens.flatten().tolist())}
        assert said <= {*KEYS[language], f"-{language}", "<pad>", "<text>", "<end>", "."}
        nouns = [text for text, key in KEYS[language].items() if not key.startswith("answer/")]
        assert said >= set(nouns)


def test_auxiliary_tasks_are_not_those_of_the_cells() -> None:
    assert not {*AUXILIARY} & {*TASKS}
    assert not {*AUXILIARY.values()} & {*TASKS.values()}


def test_draws_are_even_and_do_not_repeat() -> None:
    draws = Draws(1, "test")
    counts = Counter(draws.below(3) for _ in range(9000))
    assert all(abs(counts[i] - 3000) < 200 for i in range(3))
    items = list(range(5))
    orders = Counter(tuple(draws.several(items, 2)) for _ in range(4000))
    assert len(orders) == 20
    assert all(abs(count - 200) < 70 for count in orders.values())
    assert items == list(range(5))
    assert [Draws(1, "a").below(1000) for _ in range(3)] == [Draws(1, "a").below(1000)] * 3


# Words


def test_words_are_real() -> None:
    assert lexicon.word("month/5", "fi") == "toukokuu"
    assert lexicon.word("country/GR", "fr") == "grèce"
    assert lexicon.word("number/7", "id") == "tujuh"
    assert lexicon.word("day/0", "tr") == "pazartesi"
    assert lexicon.word("answer/no", "es") == "no"
    assert lexicon.word("<end>", "es") == "<end>"


def test_the_vocabulary_is_small_and_a_word_means_one_thing_in_a_language() -> None:
    assert len(vocabulary()) <= 512
    assert list(vocabulary().values()) == list(range(len(vocabulary())))
    for language in LANGUAGES:
        assert len(KEYS[language]) == sum(lexicon.COUNTS.values()) + len(WRITTEN)
        assert not set(KEYS[language]) & {*MARKS}


def test_what_is_spelt_alike_is_one_token() -> None:
    assert lexicon.token("month/4", "de") == lexicon.token("month/4", "id")
    assert lexicon.token("month/4", "de") != lexicon.token("month/4", "fr")


def test_the_words_are_those_that_the_libraries_give() -> None:
    shipped = lexicon.lexicon()
    pytest.importorskip("babel")
    pytest.importorskip("num2words")
    here = {name: version(name) for name in ("babel", "num2words")}
    if here != {name: shipped["versions"][name] for name in here}:
        pytest.skip(f"the words were gathered from {shipped['versions']}, here are {here}")
    script = _script()
    assert script.gathered() == shipped
    assert script.written(shipped) == script.FILE.read_text("utf-8")


def test_the_licence_of_the_names_is_shipped() -> None:
    text = (Path(lexicon.__file__).parent / "LICENSE.unicode").read_text("utf-8")
    assert text.startswith("UNICODE LICENSE V3")
    assert "LICENSE.unicode" in lexicon.lexicon()["licence"]


def _asked(cell: Cell, split: Split) -> list[tuple[list[str], list[str]]]:
    """Questions and answers in words, without what opens a text and what stands before an answer."""
    found = cell_examples(cell, split)
    pairs = []
    for row, start in zip(found.tokens.tolist(), found.starts.tolist(), strict=True):
        words = [WORDS[number] for number in row if number]
        assert (words[0], words[start - 1]) == ("<text>", "=")
        pairs.append((words[1 : start - 1], words[start:]))
    return pairs


def _script() -> ModuleType:
    """The script that gathers the words."""
    spec = importlib.util.spec_from_file_location("polyglot_lexicon", ROOT / "scripts" / "polyglot_lexicon.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found

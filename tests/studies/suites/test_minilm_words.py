"""The words of the suite of a real encoder: what is asked, and in which split."""

import importlib.util
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import get_args

import pytest

from cuvee.studies.suite import Cell, Split
from cuvee.studies.suites.minilm import lexicon
from cuvee.studies.suites.minilm.lexicon import COUNTS, LANGUAGES, TASKS, chance_of, questions, words_of

ROOT = Path(__file__).resolve().parents[3]
CELL = Cell("size", "nl")
SPLITS: tuple[Split, ...] = get_args(Split)


def test_words_are_real_and_rightly_labelled() -> None:
    assert _answer(Cell("kind", "it"), "Lituania") == "country"
    assert _answer(Cell("continent", "fr"), "Brésil") == "America"
    assert _answer(Cell("money", "es"), "florín neerlandés") == "Europe"
    assert _answer(Cell("match", "de"), "Südkorea") == "South Korea"
    assert _answer(Cell("size", "tr"), "yirmidörtbin") == "tens of thousands"
    assert _answer(Cell("digit", "de"), "sieben Millionen sieben") == "seven"


@pytest.mark.parametrize("task", TASKS)
def test_no_word_is_in_two_splits_in_whatever_language(task: str) -> None:
    seen: dict[str, str] = {}
    for split in SPLITS:
        for key in words_of(task, split):
            for name in lexicon.lexicon()["names"][key]:
                assert seen.setdefault(name.lower(), split) == split


@pytest.mark.parametrize("task", TASKS)
def test_every_word_is_in_a_split_and_splits_have_their_sizes(task: str) -> None:
    parts = {split: words_of(task, split) for split in SPLITS}
    assert {split: len(parts[split]) for split in COUNTS} == COUNTS
    everything = [key for keys in lexicon.lexicon()["tasks"][task].values() for key in keys]
    assert Counter(key for part in parts.values() for key in part) == Counter(everything)


@pytest.mark.parametrize("task", TASKS)
def test_every_split_has_its_share_of_each_class(task: str) -> None:
    """To one word more or less at each end of a split."""
    classes = lexicon.lexicon()["tasks"][task]
    total = sum(map(len, classes.values()))
    for split in SPLITS:
        words = words_of(task, split)
        for keys in classes.values():
            assert abs(len(set(words) & set(keys)) - len(words) * len(keys) / total) <= 2


def test_trained_words_are_told_in_every_sentence_and_others_in_one() -> None:
    words, asked = words_of("size", "train"), questions(CELL, "train")
    assert len(asked) == 3 * len(words)
    assert [each.text for each in asked[:2]] == [lexicon._name(key, "nl") for key in words[:2]]
    assert asked[len(words)].text == f"Hier staat: {lexicon._name(words[0], 'nl')}."
    assert len({re.sub(r"[^ :.]+(?=\.|$)", "", each.text) for each in questions(CELL, "test")}) > 1


def test_names_are_told_from_others_of_their_kind() -> None:
    """From eight in the same split, of which one is right; all of a kind of which there are enough."""
    keys = words_of("match", "test")
    for key, asked in zip(keys, questions(Cell("match", "de"), "test"), strict=True):
        assert len(set(asked.choices)) == 8
        assert asked.choices[asked.answer] == lexicon._name(key, "en")
        of_kind = {lexicon._name(each, "en") for each in keys if each.partition("/")[0] == key.partition("/")[0]}
        assert len(of_kind & set(asked.choices)) == min(8, len(of_kind))
    assert {each.answer for each in questions(Cell("match", "de"), "test")} == set(range(8))


def test_in_training_names_are_told_from_all_that_are_trained_on() -> None:
    asked = questions(Cell("match", "de"), "train")
    assert {len(each.choices) for each in asked} == {len(words_of("match", "train"))}


def test_a_constituent_sees_the_labels_of_its_own_task_alone() -> None:
    for task in TASKS:
        if task != "match":
            choices = {each.choices for each in questions(Cell(task, "fr"), "train")}
            assert choices == {tuple(lexicon.lexicon()["tasks"][task])}


def test_chance_is_that_of_the_most_frequent_answer() -> None:
    for task in TASKS:
        answers = [each.choices[each.answer] for each in questions(Cell(task, "es"), "test")]
        expected = 1 / 8 if task == "match" else Counter(answers).most_common(1)[0][1] / len(answers)
        assert chance_of(task) == pytest.approx(expected)


def test_no_phrase_is_too_long_for_an_encoder_of_words() -> None:
    for cell in (Cell(task, language) for task in TASKS for language in LANGUAGES):
        assert max(len(each.text) for split in SPLITS for each in questions(cell, split)) <= 64


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


def _answer(cell: Cell, name: str) -> str:
    """What is right to say of a name, in whatever split and sentence it is asked about."""
    asked = [
        each for split in SPLITS for each in questions(cell, split) if each.text == name or f": {name}." in each.text
    ]
    assert len({each.choices[each.answer] for each in asked}) == 1
    return asked[0].choices[asked[0].answer]


def _script() -> ModuleType:
    """The script that gathers the words."""
    spec = importlib.util.spec_from_file_location("minilm_lexicon", ROOT / "scripts" / "minilm_lexicon.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found

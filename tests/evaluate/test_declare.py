"""Scores are declared by their signatures, and found in their folder and in other packages."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import pytest

import cuvee
import scored
from cuvee.errors import CuveeWarning
from cuvee.evaluate import declare
from cuvee.evaluate.data import Table
from cuvee.evaluate.declare import SCORES, Limit, column_of, score
from cuvee.evaluate.measure import Measure, share
from cuvee.evaluate.page import as_mapping, page, section
from cuvee.evaluate.registry import scores
from cuvee.evaluate.subject import Subject
from cuvee.plugins import registry

FOLDER = Path(declare.__file__).parent / "scores"


@pytest.fixture
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take back the scores that a test declares."""
    monkeypatch.setattr(SCORES, "_declared", dict(SCORES.all()))


def test_every_file_of_the_folder_is_a_score_and_says_all_of_it() -> None:
    names = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
    assert {name for name, each in scores().items() if each.function.__module__.startswith("cuvee.")} == names
    for name in names:
        each = scores()[name]
        for text in (page(each), section(each)):
            assert each.summary in text
            assert all(f"{p.name}" in text and p.help for p in each.parameters.values())
        listed = as_mapping(each)["parameters"]
        assert isinstance(listed, list)
        assert [p["name"] for p in listed] == list(each.parameters)


@pytest.mark.usefixtures("forgotten")
def test_a_score_of_ones_own_is_taken_like_any_other(tmp_path: Path) -> None:
    @score(models=("causal",))
    def word_length(
        subject: Subject, limit: Limit, *, data: Table, text: Annotated[str, column_of("data")] = "text", least: int = 3
    ) -> Sequence[Measure]:
        """Share of long words.

        Args:
            data: table of words.
            text: column of the words.
            least: letters of a long word.
        """
        assert subject.tokenizer is not None
        assert limit == 2
        return [share("long", [len(str(row.values[text])) >= least for row in data.rows])]

    folder = scored.language_model(tmp_path / "m")
    data = scored.lines(tmp_path / "d.jsonl", [{"text": "a"}, {"text": "abc"}, {"text": "abcd"}])
    (found,) = cuvee.evaluate(folder, f"word_length:data={data}", limit=2).results
    assert found.measure.value == 0.5
    assert found.settings == {"data": str(data), "text": "text", "least": 3}
    assert set(found.data) == {"data"}


def no_doc(subject: Subject) -> Sequence[Measure]: ...
def no_subject(model: int) -> Sequence[Measure]:
    """Say."""


def no_limit(subject: Subject, most: int) -> Sequence[Measure]:
    """Say."""


def no_type(subject: Subject, *, wanted: list[str]) -> Sequence[Measure]:
    """Say.

    Args:
        wanted: something.
    """


def no_help(subject: Subject, *, wanted: str) -> Sequence[Measure]:
    """Say."""


def no_table(subject: Subject, *, wanted: Annotated[str, column_of("data")] = "x") -> Sequence[Measure]:
    """Say.

    Args:
        wanted: something.
    """


def perplexity(subject: Subject) -> Sequence[Measure]:
    """Say."""


@pytest.mark.usefixtures("forgotten")
@pytest.mark.parametrize(
    ("function", "said"),
    [
        (no_doc, "give it a docstring"),
        (no_subject, "first parameter must be a Subject"),
        (no_limit, "'most' must be a Limit"),
        (no_type, "'wanted' needs a type that a user can give"),
        (no_help, "and a line under Args"),
        (no_table, "'wanted' is a column of 'data', no table"),
        (perplexity, "the name is taken"),
    ],
)
def test_what_is_left_undeclared_is_an_error(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        score(models=("causal",))(function)


@pytest.mark.usefixtures("forgotten")
def test_a_package_that_fails_takes_no_other_score_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise RuntimeError("broken")

    entry = SimpleNamespace(name="theirs", dist=SimpleNamespace(name="pack"), load=load)
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry] if group == "cuvee.scores" else [])
    monkeypatch.setattr(SCORES, "_discovered", False)
    with pytest.warns(CuveeWarning, match=r"the score 'theirs' of .* cannot be loaded \(RuntimeError: broken\)"):
        assert "perplexity" in scores()

"""Questions and answers made of the columns of data: rows in, text out."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cuvee.errors import StudyError
from cuvee.evaluate.data import read_table
from cuvee.studies.external.scoring import Task

__all__ = ["Question", "filled", "question_of", "questions_in"]

PLACE = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Question:
    """Something to answer.

    Attributes:
        prompt: the question.
        choices: answers to choose from; empty: text is to be written.
        answer: number of the right choice.
        target: the right text.
    """

    prompt: str
    choices: tuple[str, ...]
    answer: int
    target: str


def questions_in(path: Path, task: Task) -> Sequence[Question]:
    """Make a question of every example in a file: JSON lines, or a table with commas or tabs.

    Raises:
        ScoreError: the file cannot be read, or is empty.
        StudyError: an example lacks a column, or its answer is no choice.
    """
    return [question_of(task, row.values, row.place) for row in read_table(path, ()).rows]


def question_of(task: Task, row: Mapping[str, object], where: str) -> Question:
    """Make a question of an example.

    Args:
        task: what is asked.
        row: values by column.
        where: file and line, for messages.

    Raises:
        StudyError: the example lacks a column, or its answer is no choice.
    """
    choices = tuple(filled(each, row, where) for each in task.choices)
    prompt = filled(task.prompt, row, where)
    if not choices:
        return Question(prompt, (), 0, filled(task.target, row, where))
    said = _value(task.answer, row, where)
    if isinstance(said, str) and said in choices:
        said = choices.index(said)
    if not isinstance(said, int) or not 0 <= said < len(choices):
        raise StudyError(f"{where}: '{task.answer}' is {said!r}; expected a number below {len(choices)}, or a choice.")
    return Question(prompt, choices, int(said), choices[said])


def filled(template: str, row: Mapping[str, object], where: str) -> str:
    """Put values into a text: ``{column}``, or ``{column.key.0}`` for what lies within.

    Raises:
        StudyError: there is no such value.
    """
    return PLACE.sub(lambda found: str(_value(found[1], row, where)), template)


def _value(path: str, row: Mapping[str, object], where: str) -> object:
    """Return a value of a column, or within one."""
    value: object = row
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise StudyError(f"{where}: the example has no '{path}'; it has {', '.join(map(str, row))}.")
    return value

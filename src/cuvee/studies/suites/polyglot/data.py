"""Examples of the suite `polyglot` as tokens: questions by cell and split, and what the bases are trained on.

Questions are drawn once, from one seed, in concepts, and said in all languages. What is asked, whatever the language,
has a hash, and the hash has a split: no question is in two, and none that is tested in one language was trained on in
another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from cuvee.studies.seeds import seed_for
from cuvee.studies.suite import Cell, Split
from cuvee.studies.suites.polyglot.draws import Draws
from cuvee.studies.suites.polyglot.grammar import said
from cuvee.studies.suites.polyglot.lexicon import vocabulary
from cuvee.studies.suites.polyglot.tasks import AUXILIARY, TASKS, Question, new_text

__all__ = ["COUNTS", "DATA_SEED", "LENGTH", "Examples", "auxiliary", "cell_examples", "concepts", "joined", "texts"]

DATA_SEED = 1
LENGTH = 20  # tokens of an example, with what fills it up
COUNTS: Mapping[Split, int] = {"train": 2048, "statistics": 96, "validation": 96, "test": 128}
"""Questions of a task in each split, the same in all its languages."""
NUM_TEXTS = 4096  # of each language
NUM_AUXILIARY = 1024  # questions of each auxiliary task in each language
SHARES: Mapping[Split, range] = {
    "train": range(10),
    "statistics": range(10, 12),
    "validation": range(12, 14),
    "test": range(14, 16),
}
"""Sixteenths of all possible questions."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Sequences to learn or to be asked.

    Attributes:
        tokens: (n, LENGTH) int64, filled up with 0.
        starts: (n,) int64: place of the first token that is learned or asked for; the last one is that before the fill.
    """

    tokens: Tensor
    starts: Tensor

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, rows: Tensor | slice) -> "Examples":
        """Return some of them."""
        return Examples(self.tokens[rows], self.starts[rows])

    def wanted(self) -> Tensor:
        """Say which tokens are learned or asked for, (n, LENGTH) bool."""
        places = torch.arange(LENGTH)
        return (places >= self.starts[:, None]) & (self.tokens > 0)


@cache
def concepts(task: str, split: Split) -> Sequence[Question]:
    """Draw a task's questions of a split, in concepts; no two are the same."""
    draws = Draws(DATA_SEED, f"polyglot {task} {split}")
    found: dict[str, Question] = {}
    while len(found) < COUNTS[split]:
        question = TASKS[task](draws)
        asked = repr(question.passage)
        if seed_for(DATA_SEED, f"polyglot split {task} {asked}") % 16 in SHARES[split]:
            found.setdefault(asked, question)
    return tuple(found.values())


@cache
def cell_examples(cell: Cell, split: Split) -> Examples:
    """Return a cell's questions of a split."""
    return _examples([_asked(question, cell.b) for question in concepts(cell.a, split)])


@cache
def texts(language: str) -> Examples:
    """Return texts of a language, every token of which is learned."""
    draws = Draws(DATA_SEED, f"polyglot texts {language}")
    start, end = _number("<text>"), _number("<end>")
    return _examples([([start], [*said(new_text(draws), language), end]) for _ in range(NUM_TEXTS)])


@cache
def auxiliary(language: str) -> Examples:
    """Return a language's questions of the auxiliary tasks."""
    draws = Draws(DATA_SEED, f"polyglot auxiliary {language}")
    return _examples([_asked(new(draws), language) for new in AUXILIARY.values() for _ in range(NUM_AUXILIARY)])


def joined(parts: Sequence[Examples]) -> Examples:
    """Put examples one after another."""
    return Examples(torch.cat([each.tokens for each in parts]), torch.cat([each.starts for each in parts]))


def _asked(question: Question, language: str) -> tuple[list[int], list[int]]:
    """Say a question and its answer: what is given, and what is wanted."""
    given = [_number("<text>"), *said(question.passage, language), _number("=")]
    return given, [*said(question.answer, question.language or language), _number("<end>")]


def _examples(pairs: Sequence[tuple[list[int], list[int]]]) -> Examples:
    """Fill up what is given and what is wanted to one length; a text that is too long is cut."""
    rows = [[*given, *wanted][:LENGTH] for given, wanted in pairs]
    tokens = torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])
    return Examples(tokens, torch.tensor([len(given) for given, _ in pairs]))


def _number(mark: str) -> int:
    return vocabulary()[mark]


assert vocabulary()["<pad>"] == 0

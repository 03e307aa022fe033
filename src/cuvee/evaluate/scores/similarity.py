"""How well an encoder's similarities agree with people's."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from cuvee.evaluate.data import Table, number_in, word_in
from cuvee.evaluate.declare import Count, column_of, score
from cuvee.evaluate.embedding import Pooling, embed, silent
from cuvee.evaluate.measure import Measure, bootstrapped
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper

__all__ = ["similarity", "spearman"]

Name = Annotated[str, column_of("data")]

PAPER = Paper(
    title="SemEval-2017 Task 1: Semantic Textual Similarity Multilingual and Crosslingual Focused Evaluation",
    authors="Daniel Cer, Mona Diab, Eneko Agirre, Iñigo Lopez-Gazpio, Lucia Specia",
    venue="SemEval",
    year=2017,
    url="https://aclanthology.org/S17-2001/",
)


def _readable(settings: Mapping[str, Any]) -> str:
    """Read every pair once, so that a wrong one is found now."""
    gold = set()
    for row in settings["data"].rows:
        word_in(row, settings["first"])
        word_in(row, settings["second"])
        gold.add(number_in(row, settings["gold"]))
    return "" if len(gold) > 1 else f"all pairs of {settings['data'].path} have one score; there is no order to find."


def _suits(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Verify that every text has tokens."""
    return silent(subject, settings["data"].rows, settings["first"], settings["second"])


@score(models=("encoder",), check=_readable, suits=_suits, paper=PAPER)
def similarity(
    subject: Subject,
    *,
    data: Table,
    first: Name = "sentence1",
    second: Name = "sentence2",
    gold: Name = "score",
    pooling: Pooling = "mean",
    batch: Count = 32,
) -> Sequence[Measure]:
    """Rank correlation between an encoder's cosine similarities and gold scores.

    Takes decoders, too: their hidden states stand for a text as an encoder's do. Spearman's is the Pearson correlation
    of ranks, with the mean rank where values are equal.

    Args:
        data: table of pairs of texts (.jsonl, .csv, .tsv).
        first: column of the first texts.
        second: column of the second texts.
        gold: column of the gold scores; larger is more similar.
        pooling: what stands for a text: the ``mean`` of its tokens' last hidden states, that of the ``first`` token, or
            of the ``last``.
        batch: texts at a time.
    """
    sides = [embed(subject, [word_in(row, side) for row in data.rows], pooling, batch) for side in (first, second)]
    cosines = (sides[0] * sides[1]).sum(1).double().numpy()
    wanted = np.array([number_in(row, gold) for row in data.rows])
    return [bootstrapped("spearman", len(wanted), lambda chosen: spearman(cosines[chosen], wanted[chosen]))]


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Return Spearman's rank correlation; NaN where one side has equal values only, or one that is no number.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0]))
        0.8
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return float("nan")
    a, b = (rank - rank.mean() for rank in map(_ranks, (one, other)))
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else float("nan")


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each value's rank, and the mean rank of those that are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks

"""How well an encoder finds documents."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from cuvee.evaluate.data import Table, word_in, words_in
from cuvee.evaluate.declare import Count, column_of, score
from cuvee.evaluate.embedding import Pooling, embed, silent
from cuvee.evaluate.measure import Measure, bootstrapped, share
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper
from cuvee.plugins.signature import Range
from cuvee.sources.strict_json import shown

__all__ = ["retrieval"]

OfQueries = Annotated[str, column_of("queries")]
OfDocuments = Annotated[str, column_of("documents")]

PAPER = Paper(
    title="BEIR: A Heterogeneous Benchmark for Zero-shot Evaluation of Information Retrieval Models",
    authors="Nandan Thakur, Nils Reimers, Andreas Rücklé, Abhishek Srivastava, Iryna Gurevych",
    venue="NeurIPS Datasets and Benchmarks",
    year=2021,
    url="https://arxiv.org/abs/2104.08663",
)


def _known(settings: Mapping[str, Any]) -> str:
    """Verify that documents have names of their own, and that those that queries ask for are there."""
    documents: Table = settings["documents"]
    names: set[str] = set()
    for row in documents.rows:
        name = str(row.values[settings["id"]])
        if name in names:
            return f"{row.place}: the name {shown(name)} is another document's already."
        names.add(name)
        word_in(row, settings["document"])
    for row in settings["queries"].rows:
        word_in(row, settings["query"])
        for name in words_in(row, settings["relevant"]):
            if name not in names:
                return f"{row.place}: the document {shown(name)} is not in {documents.path}."
    return ""


def _suits(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Verify that every text has tokens, by itself if there is a prefix."""
    queries, documents = settings["queries"].rows, settings["documents"].rows
    return silent(subject, queries, settings["query"]) or silent(subject, documents, settings["document"])


@score(models=("encoder",), check=_known, suits=_suits, paper=PAPER)
def retrieval(
    subject: Subject,
    *,
    queries: Table,
    documents: Table,
    query: OfQueries = "text",
    relevant: OfQueries = "relevant",
    document: OfDocuments = "text",
    id: OfDocuments = "id",
    k: Annotated[tuple[int, ...], Range(1, 1_000_000)] = (1, 10),
    query_prefix: str = "",
    document_prefix: str = "",
    pooling: Pooling = "mean",
    batch: Count = 32,
) -> Sequence[Measure]:
    """Recall and mean reciprocal rank of relevant documents, ranked by an encoder's cosine similarity.

    recall@k is the mean share of a query's relevant documents that are among the first k; mrr the mean of 1 / rank of
    the first relevant one. Documents with the same similarity all have the last one's rank, so that a model that takes
    all for alike finds none; where a similarity is not a number, nothing is found.

    Args:
        queries: table of queries (.jsonl, .csv, .tsv).
        documents: table of documents; all are ranked, whatever the limit.
        query: column of the queries' texts.
        relevant: column of the names of relevant documents; in JSON Lines a list where there are several.
        document: column of the documents' texts.
        id: column of the documents' names.
        k: how many of the first documents recall looks at.
        query_prefix: text to put before every query, as some encoders were trained.
        document_prefix: text to put before every document.
        pooling: what stands for a text: the ``mean`` of its tokens' last hidden states, that of the ``first`` token, or
            of the ``last``.
        batch: texts at a time.
    """
    asked = embed(subject, [query_prefix + word_in(row, query) for row in queries.rows], pooling, batch)
    found = embed(subject, [document_prefix + word_in(row, document) for row in documents.rows], pooling, batch)
    numbers = {str(row.values[id]): i for i, row in enumerate(documents.rows)}
    ranks: list[NDArray[np.float64]] = []
    for row, vector in zip(queries.rows, asked, strict=True):
        wanted = [numbers[name] for name in dict.fromkeys(words_in(row, relevant))]
        ranks.append(_ranks((found @ vector).numpy(), wanted))
    reciprocal = np.array([1 / float(each.min()) for each in ranks])
    return [*(_recall(n, ranks) for n in k), _mean("mrr", reciprocal)]


def _ranks(similarities: NDArray[np.float32], wanted: Sequence[int]) -> NDArray[np.float64]:
    """Return the ranks of some documents, from 1; infinite where a similarity is not a number."""
    found = [np.count_nonzero(similarities >= similarities[i]) for i in wanted]
    return np.where(np.isfinite(similarities[list(wanted)]), found, np.inf)


def _recall(n: int, ranks: Sequence[NDArray[np.float64]]) -> Measure:
    """Measure recall among the first n; where every query has a single document it is a share of queries."""
    if all(len(each) == 1 for each in ranks):
        return replace(share(f"recall@{n}", [bool(each[0] <= n) for each in ranks]), unit="queries")
    return _mean(f"recall@{n}", np.array([float((each <= n).mean()) for each in ranks]))


def _mean(metric: str, values: NDArray[np.float64]) -> Measure:
    """Measure a mean over queries."""
    return bootstrapped(metric, len(values), lambda chosen: float(values[chosen].mean()), unit="queries")

"""Retrieval and similarity, against vectors made by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    LlamaModel,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5EncoderModel,
)

import cuvee
import models
import scored
from cuvee.errors import ScoreError
from cuvee.evaluate.scores.similarity import spearman

DOCUMENTS = [f"w{7 * i % 90 + 4} w{5 * i % 90 + 4}" + " w50" * (i % 3) for i in range(9)]
QUERIES = [f"w{7 * i % 90 + 4} w{3 * i + 10}" for i in range(6)]
CONFIG = BertConfig(
    vocab_size=models.VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
    max_position_embeddings=32, initializer_range=0.5,
)  # fmt: skip
SPOKEN = {"cls": True, "pad_token": "<pad>"}


def encoder(folder: Path, kind: type = BertModel) -> Path:
    torch.manual_seed(0)
    return scored.save(kind(CONFIG), folder, scored.tokenizer(**SPOKEN))


def vectors(folder: Path, texts: list[str], pooling: str = "mean") -> np.ndarray:
    """Embed text by text, in float64 from the hidden states on."""
    model = BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    return embedded(model, scored.tokenizer(**SPOKEN), texts, pooling)


def embedded(model: Any, spoken: Any, texts: list[str], pooling: str = "mean") -> np.ndarray:
    """Embed text by text with a model of transformers."""
    found = []
    with torch.no_grad():
        for text in texts:
            inputs = spoken(text, return_tensors="pt", return_token_type_ids=False)
            states = model(**inputs).last_hidden_state[0].double().numpy()
            found.append({"mean": states.mean(0), "first": states[0], "last": states[-1]}[pooling])
    made = np.array(found)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True))


@pytest.mark.parametrize("pooling", ["mean", "first", "last"])
def test_recall_and_reciprocal_ranks_are_those_of_ranking_by_hand(tmp_path: Path, pooling: str) -> None:
    folder = encoder(tmp_path / "m")
    relevant = [[i, (i + 4) % 9] if i % 2 else [(2 * i) % 9] for i in range(6)]
    queries = scored.lines(
        tmp_path / "q.jsonl",
        [{"text": q, "relevant": [f"d{j}" for j in r] if len(r) > 1 else f"d{r[0]}"}
         for q, r in zip(QUERIES, relevant, strict=True)],
    )  # fmt: skip
    documents = scored.lines(tmp_path / "d.jsonl", [{"id": f"d{i}", "text": t} for i, t in enumerate(DOCUMENTS)])
    cosines = vectors(folder, QUERIES, pooling) @ vectors(folder, DOCUMENTS, pooling).T
    ranks = [[1 + int((row > row[j]).sum()) for j in r] for row, r in zip(cosines, relevant, strict=True)]
    score = f"retrieval:queries={queries},documents={documents},k=1+3,pooling={pooling},batch=4"
    found = {each.measure.metric: each.measure for each in cuvee.evaluate(folder, score).results}
    for k in (1, 3):
        wanted = np.mean([np.mean([rank <= k for rank in own]) for own in ranks])
        assert found[f"recall@{k}"].value == pytest.approx(wanted)
    assert found["mrr"].value == pytest.approx(np.mean([1 / min(own) for own in ranks]))
    assert 0 < found["mrr"].value < 1
    limited = cuvee.evaluate(folder, score, limit=1).results
    assert limited[-1].measure.value == pytest.approx(1 / min(ranks[0]))
    assert limited[-1].measure.num_examples == 1


@pytest.mark.parametrize(("fill", "recall"), [(3e38, 0.0), (0.0, 0.0), (1.0, None)])
def test_a_model_that_cannot_tell_documents_apart_finds_none(tmp_path: Path, fill: float, recall: float | None) -> None:
    """The relevant document is the first of the file: a rank by the order of the file would find it.

    With weights of 3e38 hidden states overflow, so that similarities are no numbers.
    """
    torch.manual_seed(0)
    model = BertModel(CONFIG)
    with torch.no_grad():
        model.encoder.layer[0].output.LayerNorm.weight.fill_(fill)
        model.encoder.layer[0].output.LayerNorm.bias.fill_(1.0)
    folder = scored.save(model, tmp_path / "m", scored.tokenizer(**SPOKEN))
    queries = scored.lines(tmp_path / "q.jsonl", [{"text": q, "relevant": "0"} for q in QUERIES])
    documents = scored.lines(tmp_path / "d.jsonl", [{"id": f"{i}", "text": t} for i, t in enumerate(DOCUMENTS)])
    found = cuvee.evaluate(folder, f"retrieval:queries={queries},documents={documents},k=3").results
    if recall is None:
        assert found[0].measure.value > 0  # a model that does tell them apart
    else:
        assert found[0].measure.value == recall
        assert found[1].measure.value == pytest.approx(0.0 if fill > 1 else 1 / len(DOCUMENTS))


def test_a_prefix_is_put_before_texts(tmp_path: Path) -> None:
    folder = encoder(tmp_path / "m")
    plain = scored.lines(tmp_path / "q.jsonl", [{"text": q, "relevant": f"{i}"} for i, q in enumerate(QUERIES)])
    longer = scored.lines(
        tmp_path / "p.jsonl", [{"text": f"w60 w61 {q}", "relevant": f"{i}"} for i, q in enumerate(QUERIES)]
    )
    documents = scored.lines(tmp_path / "d.jsonl", [{"id": f"{i}", "text": t} for i, t in enumerate(DOCUMENTS)])
    values = [
        [each.measure.value for each in cuvee.evaluate(folder, f"retrieval:documents={documents},{more}").results]
        for more in (f'queries={plain},query_prefix="w60 w61 "', f"queries={longer}", f"queries={plain}")
    ]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_similarity_is_the_rank_correlation_of_cosines(tmp_path: Path, kind: type) -> None:
    folder = encoder(tmp_path / "m", kind)
    gold = [3.5, 1, 2, 2, 5, 0]
    cosines = (vectors(folder, QUERIES) * vectors(folder, DOCUMENTS[:6])).sum(1)
    ranks = np.argsort(np.argsort(cosines)) + 1.0
    wanted = np.corrcoef(ranks, [5, 2, 3.5, 3.5, 6, 1])[0, 1]
    rows: list[dict[str, object]] = [
        {"sentence1": a, "sentence2": b, "score": g} for a, b, g in zip(QUERIES, DOCUMENTS[:6], gold, strict=True)
    ]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    (found,) = cuvee.evaluate(folder, f"similarity:data={data}").results
    assert found.measure.value == pytest.approx(wanted)
    assert (found.measure.num_examples, found.measure.doubt) == (6, "bootstrap")


def test_models_of_other_kinds_embed_too(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"sentence1": a, "sentence2": b, "score": i} for i, (a, b) in enumerate(zip(QUERIES, DOCUMENTS, strict=False))
    ]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    t5 = T5EncoderModel(T5Config(vocab_size=96, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2))
    kinds = {T5EncoderModel: scored.save(t5, tmp_path / "t5"), LlamaModel: scored.language_model(tmp_path / "llama")}
    for kind, folder in kinds.items():
        model = kind.from_pretrained(folder).eval()
        one, other = (embedded(model, scored.tokenizer(), texts) for texts in (QUERIES, DOCUMENTS[:6]))
        ranks = np.argsort(np.argsort((one * other).sum(1)))
        (found,) = cuvee.evaluate(folder, f"similarity:data={data}").results
        assert found.measure.value == pytest.approx(np.corrcoef(ranks, range(6))[0, 1])


def test_positions_that_roberta_keeps_for_padding_hold_no_text(tmp_path: Path) -> None:
    """Of 12 positions 10 are left: the first two are below and at the number of the padding token, 1."""
    config = RobertaConfig(
        vocab_size=models.VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=12, pad_token_id=1,
    )  # fmt: skip
    folder = scored.save(RobertaModel(config), tmp_path / "m", scored.tokenizer(cls=True, pad_token="<s>"))
    rows: list[dict[str, object]] = [
        {"sentence1": " ".join(["w9"] * n), "sentence2": "w8", "score": n} for n in (3, 30)
    ]
    found = cuvee.evaluate(folder, f"similarity:data={scored.lines(tmp_path / 'd.jsonl', rows)}")
    assert "Texts of more than 10 tokens were cut" in " ".join(found.models[0].notes)


@pytest.mark.parametrize(
    ("one", "other", "value"),
    [
        ([1, 2, 3], [10, 20, 30], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 4], [1, 3, 2, 4], 0.9486832980505138),
        ([1, 1, 1], [1, 2, 3], float("nan")),
        ([1, float("nan"), 3], [1, 2, 3], float("nan")),
    ],
)
def test_spearman_is_as_computed_by_hand(one: list[float], other: list[float], value: float) -> None:
    assert spearman(np.array(one, float), np.array(other, float)) == pytest.approx(value, nan_ok=True)


@pytest.mark.parametrize(
    ("gold", "said"), [("much", "'score' is 'much'; a number"), (float("nan"), "a number"), (2, "no order to find")]
)
def test_scores_that_order_nothing_are_refused(tmp_path: Path, gold: object, said: str) -> None:
    rows: list[dict[str, object]] = [{"sentence1": "w5", "sentence2": "w6", "score": gold}] * 2
    data = scored.lines(tmp_path / "d.jsonl", rows)
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate(encoder(tmp_path / "m"), f"similarity:data={data}")


@pytest.mark.parametrize(
    ("relevant", "names", "said"),
    [("c", ["a", "b"], "the document 'c' is not in"), ("a", ["a", "a"], "the name 'a' is another document's already")],
)
def test_documents_that_are_not_there_or_twice_are_refused(
    tmp_path: Path, relevant: str, names: list[str], said: str
) -> None:
    queries = scored.lines(tmp_path / "q.jsonl", [{"text": "w5", "relevant": relevant}])
    documents = scored.lines(tmp_path / "d.jsonl", [{"id": name, "text": "w6"} for name in names])
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate(encoder(tmp_path / "m"), f"retrieval:queries={queries},documents={documents}")

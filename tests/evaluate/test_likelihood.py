"""Perplexity and bits per byte, against one forward pass for each token."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
import models
import scored
from cuvee.errors import ScoreError
from cuvee.evaluate.likelihood import windows


@pytest.mark.parametrize("length", [2, 3, 7, 20, 33])
@pytest.mark.parametrize(("window", "stride"), [(2, 1), (5, 2), (8, 7), (50, 10)])
def test_every_token_but_the_first_is_scored_once_with_enough_context(length: int, window: int, stride: int) -> None:
    found = list(windows(length, window, stride))
    scored_tokens = [i for each in found for i in range(each.end - each.scored, each.end)]
    assert scored_tokens == list(range(1, length))
    for number, each in enumerate(found):
        assert each.end - each.begin == min(window, length)
        if number:
            assert each.end - each.scored - each.begin >= window - stride


def nats_one_by_one(model: Any, tokens: list[int], window: int, stride: int) -> list[float]:
    """The negative log-likelihood of each token but the first, from a pass that ends just before it."""
    found = []
    shown_until = min(window, len(tokens))
    begin = 0
    for i in range(1, len(tokens)):
        if i >= shown_until:
            shown_until = min(shown_until + stride, len(tokens))
            begin = shown_until - window
        logits = model(input_ids=torch.tensor([tokens[begin:i]])).logits[0, -1]
        found.append(-float(torch.log_softmax(logits.double(), -1)[tokens[i]]))
    return found


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("starts", [True, False])
@torch.no_grad()
def test_perplexity_and_bits_are_those_of_one_pass_per_token(tmp_path: Path, starts: bool, batch: int) -> None:
    model = models.build("llama", tied=True, expert=3)
    folder = scored.save(model, tmp_path / "m", scored.tokenizer(starts=starts))
    text = tmp_path / "t.txt"
    text.write_text("  w10 w4 é w95\nw7 w8 " * 6)  # an unknown word of two bytes, spaces at the ends
    tokens = scored.tokenizer()(text.read_text(), add_special_tokens=False)["input_ids"]
    nats = nats_one_by_one(model, [1, *tokens] if starts else tokens, 12, 5)
    settings = {"text": text, "window": 12, "stride": 5, "batch": batch}
    found = cuvee.evaluate(folder, {"perplexity": settings, "bits_per_byte": settings})
    perplexity, bits = (each.measure for each in found.results)
    assert perplexity.value == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert perplexity.num_examples == len(nats) == len(tokens) - (not starts)
    num_bytes = len(text.read_bytes()) - (0 if starts else len("  w10 "))
    assert bits.value == pytest.approx(sum(nats) / math.log(2) / num_bytes, rel=1e-5)
    assert bits.num_examples == num_bytes
    for each in (perplexity, bits):
        assert not each.is_better_high
        assert each.low is not None
        assert each.low < each.value < (each.high or 0)


@torch.no_grad()
def test_a_limit_is_a_number_of_windows(tmp_path: Path) -> None:
    model = models.build("gpt2", tied=True)
    folder = scored.save(model, tmp_path / "m")
    text = scored.text(tmp_path / "t.txt", 60)
    tokens = scored.tokenizer()(text.read_text(), add_special_tokens=False)["input_ids"]
    nats = nats_one_by_one(model, [1, *tokens], 10, 5)[: 9 + 5]
    (found,) = cuvee.evaluate(folder, f"perplexity:text={text},window=10,stride=5", limit=2).results
    assert found.measure.value == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-5)
    assert found.measure.num_examples == len(nats)
    assert found.measure.low is None  # two windows say nothing of chance


def test_the_window_is_what_the_model_was_made_for(tmp_path: Path) -> None:
    folder = scored.language_model(tmp_path / "m")  # 32 positions
    text = scored.text(tmp_path / "t.txt", 70)
    by_default, explicit, other = (
        cuvee.evaluate(folder, f"perplexity:text={text}{more}").results[0].measure.value
        for more in ("", ",window=32,stride=16", ",window=16,stride=8")
    )
    assert by_default == explicit
    assert other != explicit


@pytest.mark.parametrize(("setting", "said"), [("stride=8,window=8", "leaves no context"), ("", "no token")])
def test_what_cannot_be_is_refused(tmp_path: Path, setting: str, said: str) -> None:
    folder = scored.save(models.build("llama", tied=True), tmp_path / "m", scored.tokenizer(starts=False))
    (tmp_path / "t.txt").write_text("w5" if not setting else "w5 w6 w7")
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate(folder, f"perplexity:text={tmp_path / 't.txt'}{',' if setting else ''}{setting}")


def test_a_window_beyond_the_last_position_is_refused_and_beyond_what_was_trained_is_noted(tmp_path: Path) -> None:
    """GPT-2's positions are a table of 32; LLaMA's are computed."""
    text = scored.text(tmp_path / "t.txt", 70)
    with pytest.raises(ScoreError, match="window=33 is more than the 32 positions that the model has"):
        cuvee.evaluate(scored.language_model(tmp_path / "gpt2", "gpt2"), f"perplexity:text={text},window=33")
    found = cuvee.evaluate(scored.language_model(tmp_path / "llama"), f"perplexity:text={text},window=33")
    assert found.models[0].notes == ("Shown 33 tokens at a time: the model was made for no more than 32.",)
    with pytest.raises(ScoreError, match="window=1 leaves nothing"):
        cuvee.evaluate(tmp_path / "llama", f"perplexity:text={text},window=1")

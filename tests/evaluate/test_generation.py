"""Exact match, against greedy decoding one token at a time."""

from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
import models
import scored
from cuvee.errors import ScoreError
from cuvee.evaluate.scores.exact_match import NORMALISED

PROMPTS = ["w5 w6 w7", "w40", "w9 w80 w12 w33 w21", "w90 w4"]
END = 2


def continued(model: Any, prompt: str, count: int) -> str:
    """Go on greedily, by hand."""
    tokens = scored.tokenizer()(prompt, return_tensors="pt")["input_ids"]
    made: list[int] = []
    target = torch.tensor([[0]])
    with torch.no_grad():
        while len(made) < count:
            if model.config.is_encoder_decoder:
                logits = model(input_ids=tokens, decoder_input_ids=target).logits
                target = torch.cat([target, logits[:, -1:].argmax(-1)], 1)
            else:
                logits = model(input_ids=tokens).logits
                tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
            made.append(int(logits[0, -1].argmax()))
            if made[-1] == END:
                break
    return str(scored.tokenizer().decode(made, skip_special_tokens=True))


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("family", ["llama", "t5", "gpt2"])
def test_generations_are_those_of_greedy_decoding(tmp_path: Path, family: str, batch: int) -> None:
    torch.manual_seed(0)
    model = models.build(family, tied=False, expert=7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # answers that depend on the prompt
    model.generation_config.do_sample = True  # what comes with a model is not asked
    model.generation_config.temperature = 5.0
    model.generation_config.eos_token_id = END
    folder = scored.save(model, tmp_path / "m")
    right = [continued(model, prompt, 5) for prompt in PROMPTS]
    assert len(set(right)) > 1
    rows: list[dict[str, object]] = [{"q": p, "a": [a, "no"]} for p, a in zip(PROMPTS, right, strict=True)]
    rows.append({"q": PROMPTS[0], "a": f"{right[0]} w5"})
    data = scored.lines(tmp_path / "d.jsonl", rows)
    (found,) = cuvee.evaluate(
        folder, f"exact_match:data={data},prompt=q,target=a,max_new_tokens=5,batch={batch}"
    ).results
    assert found.measure.value == 4 / 5


def test_normalisations_do_what_they_are_called() -> None:
    said = " The  cat, an owl!\n"
    assert NORMALISED["none"](said) == said
    assert NORMALISED["strip"](said) == "The  cat, an owl!"
    assert NORMALISED["squad"](said) == "cat owl"
    assert NORMALISED["squad"]("another theatre a") == "another theatre"


@pytest.mark.parametrize(("normalise", "hits"), [("none", 1), ("strip", 2), ("squad", 3)])
def test_normalisation_is_applied_to_both(tmp_path: Path, normalise: str, hits: int) -> None:
    model = models.build("llama", tied=True, expert=7)
    folder = scored.save(model, tmp_path / "m")
    right = continued(model, PROMPTS[0], 3)
    targets = [right, f" {right} ", f"The {right.upper()}."]
    rows: list[dict[str, object]] = [{"prompt": PROMPTS[0], "target": target} for target in targets]
    data = scored.lines(tmp_path / "d.jsonl", rows)
    (found,) = cuvee.evaluate(folder, f"exact_match:data={data},max_new_tokens=3,normalise={normalise}").results
    assert found.measure.value == hits / 3


def test_a_chat_template_goes_around_the_prompt(tmp_path: Path) -> None:
    model = models.build("llama", tied=True, expert=7)
    spoken = scored.tokenizer()
    spoken.chat_template = "w11 {{ messages[0]['content'] }} w12{% if add_generation_prompt %} w13{% endif %}"
    folder = scored.save(model, tmp_path / "m", spoken)
    with torch.no_grad():
        model.lm_head.weight.mul_(4)
    models.save(model, folder)
    right = continued(model, "w11 w5 w12 w13", 3)
    assert right != continued(model, "w5", 3)
    data = scored.lines(tmp_path / "d.jsonl", [{"prompt": "w5", "target": right}])
    score = f"exact_match:data={data},max_new_tokens=3"
    assert cuvee.evaluate(folder, f"{score},chat=true").results[0].measure.value == 1
    assert cuvee.evaluate(folder, score).results[0].measure.value == 0


def test_a_first_line_is_what_stands_before_the_end_of_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cuvee.evaluate.scores import exact_match as room

    monkeypatch.setattr(room, "_generated", lambda *_, **__: ["\nyes\nand more"])
    folder = scored.language_model(tmp_path / "m")
    data = scored.lines(tmp_path / "d.jsonl", [{"prompt": "w5", "target": "yes"}])
    for until, value in (("line", 1), ("end", 0)):
        (found,) = cuvee.evaluate(folder, f"exact_match:data={data},until={until}").results
        assert found.measure.value == value


@pytest.mark.parametrize(
    ("row", "more", "said"),
    [
        ({"prompt": "w5", "target": 3}, "", "'target' is 3; text, or a list of texts"),
        ({"prompt": "w5", "target": []}, "", "text, or a list of texts"),
        ({"prompt": ["w5"], "target": "w5"}, "", "text was expected"),
        ({"prompt": "w5"}, "", "has no 'target'"),
        ({"prompt": "w5", "target": "w5"}, ",chat=true", "no chat template"),
        ({"prompt": " ", "target": "w5"}, "", "'prompt' has no token for the model"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, row: dict[str, object], more: str, said: str) -> None:
    folder = scored.language_model(tmp_path / "m")
    data = scored.lines(tmp_path / "d.jsonl", [row])
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate(folder, f"exact_match:data={data}{more}")


@pytest.mark.parametrize(("count", "new"), [(31, 3), (1, 33)])
def test_an_answer_beyond_the_last_position_is_refused(tmp_path: Path, count: int, new: int) -> None:
    """GPT-2's positions are a table of 32."""
    folder = scored.language_model(tmp_path / "m", "gpt2")
    data = scored.lines(tmp_path / "d.jsonl", [{"prompt": " ".join(["w5"] * count), "target": "w5"}])
    with pytest.raises(ScoreError, match=r"d.jsonl:1: \d+ tokens of the prompt .* more than the 32 positions"):
        cuvee.evaluate(folder, f"exact_match:data={data},max_new_tokens={new}")


@pytest.mark.parametrize(("words", "new", "noted"), [(28, 4, False), (28, 5, True), (40, 4, True)])
def test_more_tokens_than_the_model_was_made_for_are_noted(tmp_path: Path, words: int, new: int, noted: bool) -> None:
    """A llama's positions are computed, so that there is none beyond the last; the tiny one was made for 32."""
    folder = scored.language_model(tmp_path / "m")
    data = scored.lines(tmp_path / "d.jsonl", [{"prompt": " ".join(["w5"] * words), "target": "w6"}])
    (model,) = cuvee.evaluate(folder, f"exact_match:data={data},max_new_tokens={new}").models
    assert any("more than the 32" in note for note in model.notes) == noted

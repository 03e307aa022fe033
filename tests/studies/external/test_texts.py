"""Suites from text to text, on tiny models of both kinds."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from cuvee.errors import ScoreError, StudyError
from cuvee.studies.external.adapters.agreement import exact_match, rouge, squad, word_f1
from cuvee.studies.external.adapters.experts import drawn, few
from cuvee.studies.external.adapters.prompts import filled, question_of
from cuvee.studies.external.reading import load
from cuvee.studies.external.scoring import Task
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.suite import Cell, Training
from studies.external.declarations import written
from studies.external.tiny_clip import make_tokenizer
from studies.external.tiny_text import KINDS, WORDS, declared, make_model, make_questions

CHOOSE, WRITE = Cell("choose", "english"), Cell("write", "german")
each_kind = pytest.mark.parametrize("which", KINDS)


def suite_in(folder: Path, which: str) -> ExternalSuite:
    make_questions(folder / "texts")
    return ExternalSuite(load(written(folder, **declared(which))))


def base_of(which: str) -> Training:
    return Training(role="strong", architecture=which, seed=0)


def likelihood(model: PreTrainedModel, which: str, prompt: str, answer: str, *, with_end: bool = True) -> float:
    """The logarithm of an answer's likelihood, token by token, without padding."""
    tokens = make_tokenizer(WORDS, with_end=which == "t5")
    end = WORDS.index("<eos>")
    asked = tokens(prompt)["input_ids"]
    right = [*tokens(answer, add_special_tokens=False)["input_ids"], *([end] if with_end else [])]
    total = 0.0
    for i, token in enumerate(right):
        with torch.inference_mode():
            if which == "t5":
                logits = model(
                    input_ids=torch.tensor([asked]), decoder_input_ids=torch.tensor([[0, *right[:i]]])
                ).logits
            else:
                logits = model(input_ids=torch.tensor([[*asked, *right[:i]]])).logits
        total += logits[0, -1].log_softmax(0)[token].item()
    return total


@each_kind
def test_choices_are_ranked_by_the_likelihood_of_the_whole_answer(which: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", which)
    suite = suite_in(tmp_path, which)
    weights = suite.train(base_of(which), None).tensors
    rows = [json.loads(line) for line in (tmp_path / "texts/choose-english/test.jsonl").read_text().splitlines()]
    right = 0
    for row in rows:
        found = [likelihood(model, which, f"{row['text']} . big ?", choice) for choice in ("no", "yes")]
        right += int(found.index(max(found)) == row["label"])
    assert suite.score([weights], which, [CHOOSE], "test")[CHOOSE]["accuracy"] == right / len(rows)


@each_kind
def test_losses_do_not_depend_on_what_else_is_in_the_batch(which: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", which)
    language: Any = suite_in(tmp_path, which)._adapter._speakers.language(which)  # type: ignore[attr-defined]
    pairs = [("x is big ?", "yes"), ("y", "no no no"), ("x is small . y is big ?", "x is big")]
    with torch.inference_mode():
        together = language.losses(model, pairs)
    expected = [-likelihood(model, which, prompt, answer) for prompt, answer in pairs]
    torch.testing.assert_close(together, torch.tensor(expected), rtol=1e-4, atol=1e-4)


@each_kind
def test_the_likeliest_tokens_are_written_until_the_end(which: str, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", which)
    suite = suite_in(tmp_path, which)
    language: Any = suite._adapter._speakers.language(which)  # type: ignore[attr-defined]
    tokens, said = make_tokenizer(WORDS, with_end=which == "t5"), list[int]()
    asked = tokens("x is klein ?")["input_ids"]
    with torch.inference_mode():
        for _ in range(3):
            if which == "t5":
                logits = model(input_ids=torch.tensor([asked]), decoder_input_ids=torch.tensor([[0, *said]])).logits
            else:
                logits = model(input_ids=torch.tensor([[*asked, *said]])).logits
            said.append(int(logits[0, -1].argmax()))
            if said[-1] == WORDS.index("<eos>"):
                break
        assert language.written(model, "x is klein ?") == tokens.decode(said, skip_special_tokens=True).strip()


@each_kind
def test_an_expert_learns_to_choose_and_to_write(which: str, tmp_path: Path) -> None:
    make_model(tmp_path / "model", which)
    suite = suite_in(tmp_path, which)
    base = base_of(which)
    start = suite.train(base, None).tensors
    for cell in (CHOOSE, WRITE):
        training = Training(role="expert", architecture=which, seed=0, cells=(cell,), start=base)
        one, other = suite.train(training, start), suite.train(training, start)
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in start)
        before, after = (suite.score([w], which, [cell], "validation")[cell]["accuracy"] for w in (start, one.tensors))
        assert after > before
        assert "tokenizer.json" in one.files


def test_tied_weights_are_one(tmp_path: Path) -> None:
    for which, left_out in (("t5", "lm_head.weight"), ("llama", "lm_head.weight")):
        make_model(tmp_path / "model", which)
        names = set(suite_in(tmp_path, which).train(base_of(which), None).tensors)
        assert left_out not in names
        assert {"t5": "shared.weight", "llama": "model.embed_tokens.weight"}[which] in names


@pytest.mark.parametrize("tuning", ["lora", "ia3"])
def test_adapters_are_trained(tuning: Any, tmp_path: Path) -> None:
    make_model(tmp_path / "model", "t5")
    suite = suite_in(tmp_path, "t5")
    start = suite.train(base_of("t5"), None).tensors
    training = Training(role="expert", architecture="t5", seed=0, cells=(CHOOSE,), start=base_of("t5"), tuning=tuning)
    found = suite.train(training, start)
    assert json.loads(found.files["adapter_config.json"])["peft_type"] == tuning.upper()
    assert all(tuning in name for name in found.tensors)


def test_a_few_of_a_file_that_is_sorted_are_of_every_class_and_always_the_same() -> None:
    sorted_by_class = [(label, i) for label in range(4) for i in range(16)]
    shots = few(sorted_by_class, 16)
    assert len(set(shots)) == 16
    assert {label for label, _ in shots} == set(range(4))
    assert shots == few(sorted_by_class, 16)
    assert few(sorted_by_class, None) == few(sorted_by_class, 99) == sorted_by_class


def test_a_few_shots_are_some_of_the_examples(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "t5")
    suite = suite_in(tmp_path, "t5")
    start = suite.train(base_of("t5"), None).tensors
    of_two = Training(
        role="multitask", architecture="t5", seed=0, cells=(CHOOSE,), start=base_of("t5"), shots=2, effort=0.05
    )
    all_of_them = suite.train(replace(of_two, shots=None), start).tensors
    path = tmp_path / "texts/choose-english/train.jsonl"
    path.write_text("".join(few(path.read_text().splitlines(keepends=True), 2)))
    shortened = ExternalSuite(suite.declaration).train(replace(of_two, shots=None), start).tensors
    made = suite.train(of_two, start).tensors
    assert all(torch.equal(made[name], shortened[name]) for name in start)
    assert any(not torch.equal(made[name], all_of_them[name]) for name in start)


def test_texts_of_several_models_have_no_mean(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "t5")
    suite = suite_in(tmp_path, "t5")
    weights = suite.train(base_of("t5"), None).tensors
    assert suite.score([weights, weights], "t5", [CHOOSE], "test") == suite.score([weights], "t5", [CHOOSE], "test")
    with pytest.raises(ScoreError, match="have no mean"):
        suite.score([weights, weights], "t5", [WRITE], "test")


def test_agreement_of_texts() -> None:
    assert exact_match("The  Cat!", "cat") == 1
    assert exact_match("a dog", "cat") == 0
    assert word_f1("the red cat", "red dog house") == pytest.approx(2 / 5)  # one common word of two and three
    assert word_f1("", "") == 1
    assert squad("red cat", "cat") == pytest.approx((0 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("text", "target"),
    [("the cat sat on the mat", "the cat lay on a mat"), ("a b c", "a b c"), ("x", "y"), ("one two", "two one two")],
)
def test_rouge_is_that_of_its_reference(text: str, target: str) -> None:
    reference = pytest.importorskip("rouge_score.rouge_scorer")
    expected = reference.RougeScorer(["rouge1", "rouge2", "rougeL"]).score(target, text)
    assert rouge(text, target) == pytest.approx(sum(each.fmeasure for each in expected.values()) / 3)


def test_rouge_knows_words_of_other_scripts() -> None:
    assert rouge("고양이가 앉았다", "고양이가 누웠다") == pytest.approx((0.5 + 0 + 0.5) / 3)


def test_prompts_take_columns_and_what_lies_in_them() -> None:
    row = {"text": "A {b} c", "choices": {"text": ["x", "y"]}, "answer": "y", "number": 1}
    assert filled("{text}: {choices.text.1} {number}", row, "here") == "A {b} c: y 1"
    task = Task(prompt="{text}", choices=("{choices.text.0}", "{choices.text.1}"), answer="answer")
    assert question_of(task, row, "here").answer == 1
    assert question_of(replace(task, answer="number"), row, "here").target == "y"
    for changed, said in (
        (replace(task, answer="text"), "expected a number below 2, or a choice"),
        (replace(task, prompt="{title}"), "has no 'title'; it has text, choices, answer, number"),
        (replace(task, prompt="{choices.text.2}"), "has no 'choices.text.2'"),
        (replace(task, prompt="{text.__class__}"), "has no 'text.__class__'"),
    ):
        with pytest.raises(StudyError, match=said):
            question_of(changed, row, "here")


def test_cells_count_the_same_in_a_batch_however_many_examples_they_have() -> None:
    found = drawn([["a"], ["b", "c", "d"]], 4000, torch.Generator().manual_seed(0))
    assert found.count("a") == pytest.approx(2000, abs=150)  # five standard deviations of a fair coin
    assert {each: found.count(each) for each in "bcd"} == pytest.approx(dict.fromkeys("bcd", 667), abs=130)

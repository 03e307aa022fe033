"""Tasks of lm-evaluation-harness from local files, against likelihoods by hand."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
import models
import scored
from cuvee.errors import MissingLibraryError, ScoreError

CHOICES = ["w5", "w6", "w7"]
QUESTIONS = [f"w{i + 20} w{2 * i + 10}" for i in range(12)]
TASK = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/test.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
num_fewshot: 0
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
"""


pytest.importorskip("lm_eval")


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    """A folder with the model `m`, its answers by hand, and a task in a file."""
    folder = tmp_path / "tasks"
    folder.mkdir()
    model = models.build("llama", tied=True, expert=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
        right = [best(model, question) for question in QUESTIONS]
    assert len(set(right)) > 1
    scored.save(model, tmp_path / "m")
    rows = [
        {"question": q, "choices": CHOICES, "answer": (r + (i % 4 == 0)) % 3}
        for i, (q, r) in enumerate(zip(QUESTIONS, right, strict=True))
    ]
    scored.lines(folder / "test.jsonl", rows)
    (folder / "local.yaml").write_text(TASK.replace("FOLDER", str(folder)))
    return folder


def best(model: Any, question: str) -> int:
    """Return the choice that goes on most likely."""
    ids = scored.tokenizer()(question, return_tensors="pt", add_special_tokens=False)["input_ids"]
    logits = model(input_ids=ids).logits[0, -1]
    return max(range(3), key=lambda i: float(logits[scored.WORDS.index(CHOICES[i])]))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the harness and of what it loads
def test_accuracy_of_a_local_task_is_that_of_likelihoods_by_hand(tasks: Path) -> None:
    score = f"lm_eval:tasks=local_choice,include_path={tasks},batch=4"
    found = cuvee.evaluate(tasks.parent / "m", score)
    measures = {each.measure.metric: each.measure for each in found.results}
    assert set(measures) == {"local_choice acc"}
    measure = measures["local_choice acc"]
    assert measure.value == 9 / 12
    assert measure.num_examples == 12
    assert measure.error == pytest.approx((0.75 * 0.25 / 11) ** 0.5)  # of a mean of 12
    assert (measure.low, measure.high) == (pytest.approx(0.4677, abs=1e-4), pytest.approx(0.9111, abs=1e-4))
    assert measure.doubt == "wilson"
    assert len(measure.data) == 32
    assert cuvee.evaluate(tasks.parent / "m", score, limit=4).results[0].measure.value == 3 / 4
    row = json.loads(json.dumps(found.to_mapping()))["results"][0]
    assert row["settings"]["tasks"] == ["local_choice"]
    assert row["data"]["examples"] == measure.data
    assert "lm_eval" in found.versions


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_what_the_harness_lacks_or_fails_with_is_said_before_weights_are_read(
    tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cuvee.evaluate import subject as room

    monkeypatch.setattr(room, "execute", None)
    model = tasks.parent / "m"
    with pytest.raises(ScoreError, match=r"there is no task 'local_choise'. Did you mean 'local_choice'"):
        cuvee.evaluate(model, f"lm_eval:tasks=local_choise,include_path={tasks}")
    with pytest.raises(ScoreError, match=r"include_path=.* is no folder"):
        cuvee.evaluate(model, f"lm_eval:tasks=local_choice,include_path={tasks / 'none'}")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_task_whose_data_are_gone_is_explained(tasks: Path) -> None:
    (tasks / "test.jsonl").unlink()
    with pytest.raises(ScoreError, match="lm-evaluation-harness failed with local_choice: "):
        cuvee.evaluate(tasks.parent / "m", f"lm_eval:tasks=local_choice,include_path={tasks}")


def test_without_the_harness_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    folder = scored.language_model(tmp_path / "m")
    with pytest.raises(MissingLibraryError, match=r"pip install 'cuvee\[hf,eval\]'"):
        cuvee.evaluate(folder, "lm_eval:tasks=arc_easy")

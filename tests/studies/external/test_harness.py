"""Suites of tasks of lm-evaluation-harness, with tasks whose data are files, on a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from cuvee.errors import ScoreError
from cuvee.studies.external.reading import load
from cuvee.studies.external.suite import ExternalSuite
from cuvee.studies.suite import Cell, Training
from studies.external.declarations import written
from studies.external.test_texts import likelihood
from studies.external.tiny_text import declared, make_model

pytest.importorskip("lm_eval")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the harness's own, and its time to load
CELL, OTHER = Cell("sizes", "english"), Cell("sizes", "german")
BASE = Training(role="strong", architecture="llama", seed=0)
WORDS = {"english": ("big", "small"), "german": ("gross", "klein")}
TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{text}}}}"
doc_to_target: label
doc_to_choice: ["big", "small"]
metric_list:
  - metric: acc
"""
VALIDATION, DOCUMENTS = 4, 10


def suite_in(folder: Path, **scoring: object) -> ExternalSuite:
    """Write tasks, data and a declaration."""
    tasks = folder / "texts" / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    for language in WORDS:
        rows = rows_of(language)
        (tasks / f"{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tasks / f"{language}.yaml").write_text(TASK.format(name=f"tiny_{language}", file=tasks / f"{language}.jsonl"))
        answers = [{"prompt": row["text"], "target": ("big", "small")[int(str(row["label"]))]} for row in rows]
        lines = [json.dumps(answer) + "\n" for answer in answers]
        (folder / "texts" / f"sizes-{language}.jsonl").write_text("".join(lines))
    said = declared("llama")
    said["training"] = {
        "rate": [5e-3, "ours"],
        "batch": [10, "ours"],
        "steps": [120, "ours"],
        "every": 60,
        "patience": 2,
    }
    said["cells"] = {"grid": {"a": ["sizes"], "b": list(WORDS)}, "held_in": [["sizes", "english"]]}
    said["scoring"] = {
        "kind": "lm-eval",
        "metrics": ["nothing", "acc"],
        "validation": VALIDATION,
        "files": "{a}-{b}.jsonl",
        "folder": "tasks",
        "tasks": {f"sizes-{language}": [f"tiny_{language}"] for language in WORDS},
        **scoring,
    }
    said["studies"] = {"compositional": {"counts": [1], "draws": 1, "seeds": 1, "methods": ["linear"]}}
    return ExternalSuite(load(written(folder, **said)))


def rows_of(language: str) -> list[dict[str, object]]:
    big, small = WORDS[language]
    return [{"text": f"{'xy'[i % 2]} is {(big, small)[(i // 2) % 2]} :", "label": (i // 2) % 2}
            for i in range(DOCUMENTS)]  # fmt: skip


def test_the_first_documents_choose_and_the_others_are_the_test(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "llama")
    suite = suite_in(tmp_path)
    weights = suite.train(BASE, None).tensors
    right = []
    for row in rows_of("english"):
        # the harness counts no end
        found = [likelihood(model, "llama", str(row["text"]), choice, with_end=False) for choice in ("big", "small")]
        right.append(float(found.index(max(found)) == row["label"]))
    for split, rows in (("validation", right[:VALIDATION]), ("test", right[VALIDATION:])):
        score = suite.score([weights], "llama", [CELL], split)[CELL]["accuracy"]  # type: ignore[arg-type]
        assert score == pytest.approx(sum(rows) / len(rows))


def test_an_expert_learns_its_task(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "llama")
    suite = suite_in(tmp_path)
    start = suite.train(BASE, None).tensors
    training = Training(role="expert", architecture="llama", seed=0, cells=(CELL,), start=BASE)
    one = suite.train(training, start).tensors
    assert any(not torch.equal(one[name], start[name]) for name in start)
    assert suite.score([one], "llama", [CELL], "test")[CELL]["accuracy"] == 1.0


def test_what_cannot_be_scored_is_said(tmp_path: Path) -> None:
    make_model(tmp_path / "model", "llama")
    suite = suite_in(tmp_path)
    weights = suite.train(BASE, None).tensors
    with pytest.raises(ScoreError, match="no mean of several"):
        suite.score([weights, weights], "llama", [CELL], "test")
    for scoring, said in (
        ({"validation": DOCUMENTS}, "has 10 documents, and the first 10 of them choose"),
        ({"metrics": ["f1"]}, "has no metric f1; it has acc"),
        ({"tasks": {"sizes-english": ["tiny_french"], "sizes-german": ["tiny_german"]}}, "failed with tiny_french"),
    ):
        with pytest.raises(ScoreError, match=said):
            suite_in(tmp_path, **scoring).score([weights], "llama", [CELL], "test")

"""``cuvee study`` on declared suites, as a user meets it."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cuvee.cli.external import runs_of, suites_of
from cuvee.errors import StudyError
from cuvee.studies.catalogue import find_study
from cuvee.studies.external.shipped import shipped_names, suites_for
from cuvee.studies.results import Results
from cuvee.studies.rows import mean
from cuvee.studies.suite import Cell
from studies.external import tiny_clip, tiny_pipeline, tiny_text
from studies.external.declarations import written
from studies.external.tiny_clip import make_clip, make_images
from studies.external.tiny_text import make_model, make_questions

SCALES = 8  # that task arithmetic tries


def test_declared_suites_are_listed(cuvee: Any) -> None:
    out = cuvee("study").out
    assert all(f"  {name} " in out for name in shipped_names())
    assert {each["name"]: each["external"] for each in cuvee("study", "--json").json} == {
        name: list(suites_for(name)) for name in ("compositional", "interference", "scale")
    }


def test_every_study_s_declared_suites_are_there_and_say_so(cuvee: Any) -> None:
    for study in ("compositional", "scale", "interference"):
        answer = cuvee("study", study, "--preset", "paper", "--plan", "--json")
        assert [each["declared_for"] for each in answer.json] == [study] * len(suites_for(study))


def test_the_command_plans_a_file_of_one_s_own(cuvee: Any, tmp_path: Path) -> None:
    path = written(tmp_path)
    for words in (("--plan",), ("--plan", "--preset", "paper")):
        out = cuvee("study", "compositional", "--suite", path, *words).out
        assert "3 of 9 cells have constituents; 1 arm, 1 seed" in out
        assert "some/words" in out
    (plan,) = cuvee("study", "compositional", "--suite", path, "--plan", "--json").json
    assert plan["merges"]["settings"] == SCALES


def test_a_declared_suite_is_run_from_one_end_to_the_other(
    cuvee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(tmp_path / "images")
    make_clip(tmp_path / "clip")
    written(tmp_path, **tiny_clip.declared())
    monkeypatch.chdir(tmp_path)
    words = ("study", "compositional", "--suite", "tiny.yaml", "--cache", tmp_path / "cache")
    answer = cuvee(*words)
    assert answer.code == 0, answer.err
    out = tmp_path / "compositional-tiny"
    assert (out / "index.html").is_file()
    results = Results.load(out / "results.json")
    assert results.preset == "paper"
    kinds = {(row.kind, row.name) for row in results.rows}
    assert {("base", "base"), ("constituent", "warm-bright"), ("constituent", "cold-dark")} <= kinds
    assert {("multitask", "multitask"), ("merge", "linear"), ("merge", "task_arithmetic")} <= kinds
    (constituent,) = [row for row in results.rows if row.name == "warm-bright"]
    (base,) = [row for row in results.rows if row.kind == "base"]
    own = "warm-bright"
    assert constituent.scores[own]["accuracy"] > base.scores[own]["accuracy"]
    assert cuvee(*words).code == 0
    assert Results.load(out / "results.json").cpu_seconds == 0  # nothing is done twice


@pytest.mark.parametrize("tuning", ["lora", "ia3"])
def test_adapters_of_a_declared_suite_are_merged_as_models(
    cuvee: Any, tmp_path: Path, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "model", "t5")
    make_questions(tmp_path / "texts")
    said: Any = tiny_text.declared("t5")
    said["studies"]["compositional"]["tunings"] = [tuning]
    said["training"].update(steps=[20, "ours"])
    written(tmp_path, **said)
    monkeypatch.chdir(tmp_path)
    words = ("--suite", "tiny.yaml", "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--methods", "linear")
    answer = cuvee("study", "compositional", *words)
    assert answer.code == 0, answer.err
    rows = Results.load(tmp_path / "out" / "results.json").rows
    assert {row.tuning for row in rows if row.kind == "merge"} == {tuning}


def test_suites_that_cannot_be_run_are_left_out_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUVEE_SUITES", str(tmp_path / "nothing"))
    make_images(tmp_path / "images")
    make_clip(tmp_path / "clip")
    path = written(tmp_path, **tiny_clip.declared())
    study = find_study("compositional")
    ((preset, out),) = runs_of(study, [str(path), "glue-pairs", "domainnet-clip"], (), None, tmp_path / "out")
    assert {arm.suite for arm in preset.arms} == {str(path)}
    assert out == tmp_path / "out" / "tiny"
    err = capsys.readouterr().err
    assert "left out: glue-pairs: the suite cannot be run here." in err
    folder = tmp_path / "nothing"
    model = folder / "laion" / "CLIP-ViT-B-32-laion2B-s34B-b79K"
    assert f"run: hf download laion/CLIP-ViT-B-32-laion2B-s34B-b79K --local-dir {model}." in err
    assert (
        f"18 of 18 files of data are missing in {folder / 'data' / 'domainnet-clip'}, first clipart_validation" in err
    )


def test_data_are_read_to_the_last_row_before_anything_is_trained(
    cuvee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(tmp_path / "model", "t5")
    make_questions(tmp_path / "texts")
    last = sorted((tmp_path / "texts").rglob("*test*.jsonl"))[-1]
    count = len(last.read_text().splitlines())
    last.write_text(last.read_text() + '{"nothing": 1}\n')
    monkeypatch.chdir(tmp_path)
    written(tmp_path, **tiny_text.declared("t5"))
    answer = cuvee("study", "compositional", "--suite", "tiny.yaml", "--cache", "cache")
    assert answer.code == 2
    assert f"{last.name}:{count + 1}: the example has no" in answer.err
    assert not list((tmp_path / "cache").iterdir())


def test_a_model_that_is_named_by_its_path_is_not_to_be_fetched(cuvee: Any, tmp_path: Path) -> None:
    make_questions(tmp_path / "texts")
    answer = cuvee("study", "compositional", "--suite", written(tmp_path, **tiny_text.declared("t5")))
    assert answer.code == 2
    assert f"There is no model in {tmp_path / 'model'}; the declaration names it as 'path'" in answer.err
    assert "hf download" not in answer.err


def test_programs_of_models_and_too_little_memory_are_told(
    cuvee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUVEE_SUITES", str(tmp_path))
    monkeypatch.setattr("os.sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 10_000_000}.__getitem__)  # 10 GB
    answer = cuvee("study", "compositional", "--suite", "sens-llama2", "--cache", tmp_path / "cache")
    assert answer.code == 2
    assert "The tasks mbpp, humaneval run programs that a model wrote" in answer.err
    # three models of 6,738,415,616 weights, their base and the merge, four bytes each
    assert "3 models of llama-2-7b with their base take 135 GB, and this machine has 10 GB." in answer.err
    assert not (tmp_path / "cache").exists()


def test_a_training_that_is_not_known_is_not_run(cuvee: Any, tmp_path: Path) -> None:
    said: Any = tiny_text.declared("t5")
    said["training"].update(rate="unknown", steps="unknown")
    answer = cuvee("study", "compositional", "--suite", written(tmp_path, **said), "--cache", tmp_path / "cache")
    assert answer.code == 2
    assert "How experts are trained is not known (rate, steps)" in answer.err


def test_a_study_without_declared_suites_has_no_such_preset() -> None:
    study = replace(find_study("compositional"), name="another")
    with pytest.raises(StudyError, match="has no preset 'paper'; it has smoke, small"):
        suites_of(study, None)
    assert suites_of(study, "open-ladder") == ("open-ladder",)


def test_the_mean_over_no_cell_is_none() -> None:
    assert math.isnan(mean({"x-1": {"accuracy": 1.0}}, [], "accuracy"))
    assert (
        mean({"x-1": {"accuracy": 1.0}, "x-2": {"accuracy": 0.5}}, [Cell("x", "1"), Cell("x", "2")], "accuracy") == 0.75
    )


@pytest.mark.slow
def test_a_suite_without_unseen_cells_is_run_in_the_study_of_interference(
    cuvee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the suites of TIES are; ablations, given signs, and what is treated alone are the study's own."""
    make_model(tmp_path / "model", "t5")
    make_questions(tmp_path / "texts")
    said: Any = tiny_text.declared("t5")
    cells = [["choose", "english"], ["write", "english"]]
    said.update(cells={"list": cells, "held_in": cells})
    said["training"].update(steps=[20, "ours"])
    said["studies"] = {"interference": {"counts": [2], "draws": 1, "seeds": 1}}
    written(tmp_path, **said)
    monkeypatch.chdir(tmp_path)
    answer = cuvee("study", "interference", "--suite", "tiny.yaml", "--cache", "cache", "--out", "out")
    assert answer.code == 0, answer.err
    rows = Results.load(tmp_path / "out" / "results.json").rows
    assert {"ties without elect", "ties with oracle signs", "keeps 20%"} <= {row.name for row in rows}


@pytest.mark.slow
def test_adapters_of_a_u_net_are_merged_as_models(cuvee: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(tmp_path / "images", 2)
    make_clip(tmp_path / "judge")
    tiny_pipeline.make_pipeline(tmp_path / "pipeline")
    written(tmp_path, **tiny_pipeline.declared())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CUVEE_SUITES", str(tmp_path))
    answer = cuvee("study", "compositional", "--suite", "tiny.yaml", "--cache", "cache", "--out", "out")
    assert answer.code == 0, answer.err
    rows = Results.load(tmp_path / "out" / "results.json").rows
    assert {row.name for row in rows if row.kind == "merge"} == {"linear", "task_arithmetic"}

"""``cuvee study`` as a user meets it: lists, plans, a smoke run on a fresh cache, and being killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from cuvee.studies.catalogue import studies
from cuvee.studies.results import Results


def test_studies_are_listed_with_their_sizes(cuvee: Any) -> None:
    out = cuvee("study").out
    for study in studies().values():
        assert f"{study.name}: {study.question}" in out
    known = json.loads(cuvee("study", "--json").out)
    assert {each["name"] for each in known} == set(studies())
    assert all({"smoke", "small", "record", "full"} <= set(each["presets"]) for each in known)


def test_a_plan_counts_and_does_nothing(cuvee: Any, tmp_path: Path) -> None:
    """The set of two lies within that of four: four experts, two multitask models, and what the grids hold."""
    answer = cuvee(
        "study", "compositional", "--plan", "--json", "--cache", tmp_path / "cache", "--methods", "linear,slerp"
    )
    (part,) = json.loads(answer.out)["parts"]
    assert part["trainings"] == {"strong": 1, "expert": 4, "multitask": 2}
    assert part["merges"] == 3  # slerp takes two models, at three places between them; linear has nothing to choose
    # Base, four experts; of each set a multitask model, a mixture and what linear makes; of the set of two also slerp.
    assert part["tests"] == 1 + 4 + 2 * 3 + 1
    assert not (tmp_path / "cache").exists()


def test_smoke_works_on_an_empty_cache_and_a_second_time_does_nothing_again(cuvee: Any, tmp_path: Path) -> None:
    words = ("study", "compositional", "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--processes", 0)
    answer = cuvee(*words)
    assert (answer.code, answer.err) == (0, answer.err)
    for word in ("task_arithmetic", "multitask", "mixture", "no verdict", "index.html"):
        assert word in answer.out
    assert "choose settings: 0 of 52 after" in answer.err
    assert "choose settings: 52 of 52 after" in answer.err
    results = Results.load(tmp_path / "out" / "results.json")
    plan = json.loads(cuvee("study", "compositional", "--plan", "--json", "--cache", tmp_path / "none").out)
    assert plan["parts"][0]["tests"] == len(results.rows)
    assert results.cpu_seconds > 0
    assert results.provenance.command.startswith("cuvee study compositional")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"index.html", "results.json", "figures", "tables", ".cuvee-study"}
    again = cuvee(*words)
    second = Results.load(tmp_path / "out" / "results.json")
    assert again.code == 0
    assert second.cpu_seconds == 0
    assert second.rows == results.rows
    assert second.total_cpu_seconds == results.total_cpu_seconds


@pytest.mark.parametrize("name", ["scale", "interference"])
def test_every_study_has_a_smoke_run(name: str, cuvee: Any, tmp_path: Path) -> None:
    answer = cuvee("study", name, "--cache", tmp_path / "cache", "--out", tmp_path / "out", "--processes", 0)
    assert answer.code == 0, answer.err
    findings = Results.load(tmp_path / "out" / "results.json").findings
    assert {finding.verdict for finding in findings} == {"no verdict"}  # one seed is none


def test_wrong_words_are_answered_before_anything_is_trained(cuvee: Any, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("")
    cases = {
        "there is no study 'compositionel'": ("compositionel",),
        "has no preset 'huge'": ("scale", "--preset", "huge"),
        "Did you mean 'ties'?": ("compositional", "--methods", "tiss"),
        "names no method": ("scale", "--methods", ""),
        "says itself what it merges with": ("interference", "--methods", "ties"),
        "'nearswap' merges exactly 1, and the sets are of 2, 4 models": (
            "compositional",
            "--methods",
            "linear,nearswap",
        ),
        "greater than or equal to 0": ("scale", "--processes", "-2"),
        "0 seeds were asked for": ("scale", "--seeds", "0"),
        "99999999999 seeds were asked for": ("scale", "--seeds", "99999999999"),
        "holds something that no study made": ("scale", "--out", tmp_path / "work"),
        "is a file; a study needs a folder": ("scale", "--out", tmp_path / "work" / "thesis.tex"),
        "is a file; trained models": ("scale", "--out", tmp_path / "o", "--cache", tmp_path / "work" / "thesis.tex"),
    }
    for said, words in cases.items():
        answer = cuvee("study", "--cache", tmp_path / "cache", *words)
        assert said in answer.err
        assert answer.code in (1, 2)
    assert not (tmp_path / "cache").exists()


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_results(tmp_path: Path) -> None:
    """Killed again and again, wherever it is; what is kept is whole."""
    words = [sys.executable, "-m", "cuvee", "study", "interference", "--processes", "2"]
    whole = [*words, "--cache", tmp_path / "whole", "--out", tmp_path / "expected"]
    subprocess.run(whole, check=True, capture_output=True, timeout=300)
    kills = 0
    for wait in (3, 4, 5, 6, 8, 10, 14, 20, 300):
        command = [*words, "--cache", str(tmp_path / "cut"), "--out", str(tmp_path / "out")]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        until = time.monotonic() + wait
        while process.poll() is None and time.monotonic() < until:
            time.sleep(0.1)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    assert process.returncode == 0
    assert kills > 2
    one, other = (Results.load(tmp_path / name / "results.json") for name in ("expected", "out"))
    assert [(row.key, row.scores, row.settings) for row in one.rows] == [
        (row.key, row.scores, row.settings) for row in other.rows
    ]
    models = [sorted((tmp_path / name).glob("models/*/*model.safetensors")) for name in ("whole", "cut")]
    assert [path.read_bytes() for path in models[0]] == [path.read_bytes() for path in models[1]]

"""``cuvee study`` on declared suites, as a user meets it."""

from pathlib import Path
from typing import Any

from cuvee.studies.catalogue import find_study
from cuvee.studies.external.shipped import shipped_names
from studies.external.declarations import written

SCALES = 8  # that task arithmetic tries


def test_declared_suites_are_listed(cuvee: Any) -> None:
    out = cuvee("study").out
    assert all(f"  {name} " in out for name in shipped_names())
    assert {each["name"]: each["external"] for each in cuvee("study", "--json").json} == {
        name: list(find_study(name).external) for name in ("compositional", "interference", "scale")
    }


def test_every_study_s_declared_suites_are_there_and_say_so(cuvee: Any) -> None:
    for study in ("compositional", "scale", "interference"):
        answer = cuvee("study", study, "--preset", "paper", "--plan", "--json")
        assert [each["declared_for"] for each in answer.json] == [study] * len(find_study(study).external)


def test_the_command_plans_a_file_of_one_s_own(cuvee: Any, tmp_path: Path) -> None:
    path = written(tmp_path)
    for words in (("--plan",), ("--plan", "--preset", "paper")):
        out = cuvee("study", "compositional", "--suite", path, *words).out
        assert "3 of 9 cells have constituents; 1 arm, 1 seed" in out
        assert "some/words" in out
    (plan,) = cuvee("study", "compositional", "--suite", path, "--plan", "--json").json
    assert plan["merges"]["settings"] == SCALES

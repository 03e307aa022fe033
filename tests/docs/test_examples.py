"""The examples run: scripts, recipes, and the method that CONTRIBUTING shows, which obeys the laws of all methods."""

import re
import runpy
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.methods import declare
from cuvee.methods.declare import Method
from methods import test_examples, test_laws

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
METHODS = ["norm_clipping"]
LAWS = [law for name, law in vars(test_laws).items() if name.startswith("test_")]


@pytest.mark.parametrize(
    "path", [path for path in sorted(EXAMPLES.glob("*.py")) if path.stem not in METHODS], ids=lambda path: path.name
)
def test_a_script_runs_and_prints(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_a_recipe_merges_and_every_rule_in_it_has_an_effect(path: Path, with_models: Path) -> None:
    (with_models / path.name).write_text(path.read_text())
    report = cuvee.merge(path.name, "merged")
    assert report.notes == [
        "1 tensor left out by a rule: model.rotary_emb.inv_freq.",
        "method 'ties' takes its whole-model passes over 2 groups of tensors, each by itself, because density varies.",
    ]
    assert set(cuvee.open_source("merged").header) == set(cuvee.open_source("models/base").header) - {
        "model.rotary_emb.inv_freq"
    }


@pytest.mark.parametrize(
    "law",
    [law for law in LAWS if law.__code__.co_varnames[: law.__code__.co_argcount] == ("method",)],
    ids=lambda law: law.__name__,
)
def test_the_example_of_a_method_obeys_the_laws(law: Callable[[Method], None], norm_clipping: Method) -> None:
    law(norm_clipping)


def test_the_example_of_a_method_asks_for_the_passes_it_declares(norm_clipping: Method, tmp_path: Path) -> None:
    test_laws.test_passes_asked_do_not_exceed_those_declared(norm_clipping, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_example_of_a_method_widens_narrow_inputs(norm_clipping: Method, dtype: torch.dtype) -> None:
    test_laws.test_narrow_inputs_give_what_widening_first_gives_rounded_once(norm_clipping, dtype)


def test_every_parameter_of_the_example_changes_something(norm_clipping: Method) -> None:
    for name, value in test_laws.alternatives(norm_clipping):
        test_laws.test_every_parameter_changes_something(norm_clipping, name, value)


def test_the_test_case_that_contributing_shows_passes(norm_clipping: Method) -> None:
    (case,) = [text for text in blocks("python") if text.startswith("def test_")]
    names = dict(vars(test_examples))
    exec(compile(case, "CONTRIBUTING.md", "exec"), names)
    names[re.findall(r"def (\w+)", case)[0]]()


def test_the_entry_point_and_the_fragment_that_contributing_shows_are_right() -> None:
    (toml,) = blocks("toml")
    assert list(tomllib.loads(toml)["project"]["entry-points"]) == [declare.METHODS.group]
    (fragment,) = blocks("markdown")
    assert len(re.findall(r"\.(?:\s|$)", fragment)) <= 2
    assert "| `feature` |" in (ROOT / "changelog.d" / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The blocks of CONTRIBUTING in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", CONTRIBUTING, re.DOTALL | re.MULTILINE)

"""Declared suites as files: what is shipped holds together, and what is wrong is refused with its line."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuvee.errors import StudyError
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.facts import MARKS, Fact
from cuvee.studies.external.reading import load
from cuvee.studies.external.scoring import Drawings, Harness, Images
from cuvee.studies.external.shipped import find_declaration, shipped_names
from cuvee.studies.registry import find_suite
from cuvee.studies.suite import Cell
from studies.external.declarations import TINY, written

ROOT = Path(__file__).resolve().parents[3]
SIZES = (35, 25, 28, 23, 25, 21, 21, 20, 15, 14, 14, 12, 10, 9, 10, 8, 7, 8, 7, 8, 6, 4, 4, 13)
"""Of DomainNet's categories, in order, as the published code of Tam et al. has them."""

each_shipped = pytest.mark.parametrize("name", shipped_names())


@each_shipped
def test_a_shipped_suite_is_whole(name: str) -> None:
    declaration = find_declaration(name)
    assert declaration.name == name
    assert set(declaration.held_in) <= set(declaration.cells)
    about = find_suite(name).about
    assert about.held_in == declaration.held_in
    assert about.version >> 48 == declaration.version
    assert all(each.flops > 0 for each in about.architectures.values())


@each_shipped
def test_sizes_that_follow_from_others_do(name: str) -> None:
    """What is marked as derived bytes is two bytes for each parameter of bfloat16, four of float32."""
    for network in find_declaration(name).networks.values():
        for base in network.bases.values():
            if base.bytes.mark == "derived":
                assert base.bytes.value == pytest.approx(network.num_bytes.value, rel=0.01)


def test_thirteen_suites_are_shipped() -> None:
    assert len(shipped_names()) == 13


@pytest.mark.parametrize("name", ["domainnet-clip", "domainnet-sd-lora"])
def test_the_categories_of_domainnet_are_those_of_the_paper(name: str) -> None:
    declaration = find_declaration(name)
    assert isinstance(declaration.scoring, Images | Drawings)
    classes = declaration.scoring.classes
    assert tuple(map(len, classes.values())) == SIZES
    every = [each for names in classes.values() for each in names]
    assert len(every) == 347
    assert sorted({each for each in every if every.count(each) > 1}) == ["bandage", "nail"]
    domains = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
    assert declaration.held_in == tuple(Cell(a, domains[i // 4]) for i, a in enumerate(classes))


def test_numbers_of_parameters_follow_from_the_architectures() -> None:
    def tower(width: int, depth: int, patch: int, tokens: int, out: int) -> int:
        layer = 4 * (width + 1) * width + (width + 1) * 4 * width + (4 * width + 1) * width + 4 * width
        return 3 * patch**2 * width + width + tokens * width + 4 * width + depth * layer + width * out

    networks = find_declaration("clip-eight-tasks").networks
    assert networks["vit-b-32"].parameters.value == tower(768, 12, 32, 50, 512)
    assert networks["vit-l-14"].parameters.value == tower(1024, 24, 14, 257, 768)
    # (IA)3 of T0-3B: keys and values of 24 + 24 + 24 attentions, and the inner layers of 48 blocks
    assert find_declaration("t0-ia3").networks["t0-3b"].adapters["ia3"].value == 72 * 2 * 2048 + 48 * 5120


@each_shipped
def test_tasks_of_the_harness_are_in_its_folder(name: str) -> None:
    scoring = find_declaration(name).scoring
    if not isinstance(scoring, Harness):
        return
    lm_eval = pytest.importorskip("lm_eval")
    folder = Path(lm_eval.__file__).parent / "tasks"
    known = {
        word
        for path in folder.rglob("*.y*ml")
        for line in path.read_text("utf-8").splitlines()
        if line.startswith(("task: ", "group: ", "tag: "))
        for word in line.split()[1:]
    }
    assert {task for tasks in scoring.tasks.values() for task in tasks} <= known


def test_the_example_is_a_declaration() -> None:
    declaration = load(ROOT / "examples" / "suites" / "sentiment.yaml")
    assert declaration.folder == ROOT / "examples" / "suites" / "data" / "sentiment"
    # T5 small has 6 + 6 + 6 attentions; q and v of each take factors of 512 x 8 and 8 x 512
    assert declaration.networks["t5-small"].adapters["lora"].value == 18 * 2 * 8 * (512 + 512)


def test_every_mark_is_explained_and_a_fact_may_be_unknown(tmp_path: Path) -> None:
    for mark in MARKS:
        declaration = load(written(tmp_path, memory=[3, mark]))
        assert declaration.memory == Fact(3.0, mark)  # type: ignore[arg-type]
    assert load(written(tmp_path, memory="unknown")).memory.value is None


def test_the_version_counts_what_decides_scores_and_no_words(tmp_path: Path) -> None:
    def digest(**changes: object) -> str:
        return load(written(tmp_path, **changes), "tiny").digest

    content = yaml.safe_load(TINY)
    before = digest()
    assert digest(what="Other words.", notes=["More."], memory=[1, "ours"]) == before
    for changes in (
        {"training": {**content["training"], "steps": [6, "ours"]}},
        {"scoring": {"kind": "none", "why": "Another."}},
        {"cells": {**content["cells"], "grid": {"a": ["x", "y", "z", "w"], "b": ["1", "2", "3"]}}},
    ):
        assert digest(**changes) != before


TEXTS = {
    "kind": "text-to-text",
    "files": "{a}/{c}.jsonl",
    "length": 8,
    "tasks": {a: {"prompt": "{text}", "target": "{word}"} for a in ("x", "y", "z")},
}


def change(*keys: str | int, to: object) -> dict[str, Any]:
    """Return the top-level key that holds a value deep within, with that value changed."""
    content = yaml.safe_load(TINY)
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = to
    return {str(keys[0]): content[keys[0]]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (change("suite", to=2), "reads declarations of format 1"),
        ({"nmae": "x"}, "there is no key 'nmae' here. Did you mean 'name'?"),
        ({"what": None}, "the key 'what' is missing; expected text."),
        ({"axes": ["letter"]}, "has two axes"),
        (change("cells", "held_in", to=[["x", "4"]]), "there is no cell [x, 4] among the cells"),
        (change("cells", "held_in", to=[["x", "1"], ["x", "1"]]), "two cells are called 'x-1'"),
        (
            {"cells": {"grid": {"a": ["x", "x-y"], "b": ["y-1", "1"]}, "held_in": [["x", "1"]]}},
            "two cells are called 'x-y-1'",
        ),
        (change("studies", "compositional", "methods", to=["linear", "linear"]), "'linear' stands there twice"),
        (change("training", "rate", to=[1e-4, ["ours"]]), "a number and where it is from"),
        (change("training", "steps", to=[float("inf"), "ours"]), "a number and where it is from"),
        (change("scoring", to={**TEXTS, "files": "{a}-{b:d}.jsonl"}), "and no other braces"),
        (change("networks", "net", "parameters", to=1000), "'unknown', or a number and where it is from"),
        (change("networks", "net", "parameters", to=[1000, "me"]), "marks are code, table"),
        (change("networks", "net", "bases", to={"middle": {"hub": "x"}}), "a base 'weak', 'strong', or both"),
        (change("networks", to={}), "the key 'networks' is missing"),
        (change("networks", to="none"), "stands where keys and values are expected"),
        (change("training", "tunings", to=["half"]), "ways of training are full, lora, ia3"),
        ({"training": None}, "not every held-in cell has its published expert"),
        (change("scoring", "kind", to="guess"), "one of image-classification, text-to-text"),
        (change("studies", to={}), "the key 'studies' is missing"),
        (change("studies", "compositional", "counts", to=[4]), "sets have 1 to 3 of the held-in cells"),
        (change("studies", "compositional", "bases", to=["weak"]), "there is no 'weak' among strong"),
        (change("studies", "compositional", "draws", to=-1), "expected a whole number"),
        (change("studies", "compositional", "seeds", to=0), "expected a whole number, 1 or larger"),
        (change("metric", "chance", to=50), "'chance' is 50; expected a number from 0 to 1"),
        (change("scoring", to=TEXTS), "'files' is '{a}/{c}.jsonl'; expected text, with {a}, {b}, {split} where"),
        (change("scoring", to={**TEXTS, "files": "{a.jsonl"}), "and no other braces"),
        (change("scoring", to={**TEXTS, "files": "x", "length": 0}), "expected a whole number, 1 or larger"),
        (
            {"networks": None, "network": {}},
            "the key 'networks' is missing; name one at least, from small to large. Did",
        ),
        ({"experts": [{"cell": ["q", "1"], "hub": "x"}]}, "there is no cell [q, 1]"),
    ],
)
def test_what_is_wrong_is_refused_with_file_and_line(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(StudyError) as caught:
        load(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(f"{path}:")


def test_a_line_is_that_of_the_key(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(TINY.replace("    draws: 1", "    draws: 1\n    draw: 2"))
    line = 1 + path.read_text().splitlines().index("    draw: 2")
    with pytest.raises(StudyError, match=f"suite.yaml:{line}: there is no key 'draw' here. Did you mean 'draws'"):
        load(path)


def test_a_declaration_is_found_by_name_or_path(tmp_path: Path) -> None:
    found: Declaration = find_declaration(str(written(tmp_path)))
    assert found.reference == str(tmp_path / "tiny.yaml")
    with pytest.raises(StudyError, match="Did you mean 'open-ladder'"):
        find_declaration("open-lader")
    with pytest.raises(StudyError, match="cannot be read"):
        find_declaration(str(tmp_path / "nothing.yaml"))


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert find_suite(str(path)) is find_suite(str(path))
    os.utime(written(tmp_path, what="Another."), ns=(1, 1))
    assert find_declaration(str(path)).what == find_suite(str(path)).about.what == "Another."

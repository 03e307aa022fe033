"""The demonstration, with a little training: what it leaves, and that it repeats itself."""

import json
from pathlib import Path

import pytest

from cuvee.errors import OutputError
from cuvee.execute.merge import merge
from cuvee.sources.open import open_source
from cuvee.studies.demo import Demonstrated, demo
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.weights import whole_model

METHODS = ("linear", "task_arithmetic")


def run(out: Path, seed: int = 0) -> Demonstrated:
    return demo(out, seed, 0, "cuvee demo", lambda *_: None, effort=0.02, methods=METHODS)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Demonstrated]:
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, run(out)


def test_it_leaves_models_under_names_that_say_what_they_are(found: tuple[Path, Demonstrated]) -> None:
    out, _ = found
    names = sorted(path.name for path in (out / "models").iterdir())
    assert len(names) == 5
    assert "base" in names
    for name in names:
        open_source(out / "models" / name).close()
    assert {path.name for path in out.iterdir()} == {"models", "merges", "results.json", ".cuvee-demo"}


def test_every_merge_is_made_again_by_hand_with_the_same_bytes(
    found: tuple[Path, Demonstrated], tmp_path: Path
) -> None:
    out, demonstrated = found
    assert [path.stem for path in demonstrated.recipes] == list(METHODS)
    for recipe in demonstrated.recipes:
        merge(recipe, tmp_path / recipe.stem)
        again = (tmp_path / recipe.stem / "model.safetensors").read_bytes()
        assert again == (out / "merges" / recipe.stem / "model.safetensors").read_bytes()


def test_scores_are_those_of_what_was_written(found: tuple[Path, Demonstrated]) -> None:
    """The merges were scored in memory; from the disk they score the same."""
    out, demonstrated = found
    suite = find_suite("glyphs")
    for row in demonstrated.rows:
        if row.kind == "merge" and row.method in METHODS:
            cells = [cell for cell in suite.about.cells if cell.name in row.scores]
            scores = suite.score([whole_model(out / "merges" / row.name)], "mlp-m", cells, "test")
            assert {cell.name: dict(values) for cell, values in scores.items()} == row.scores


def test_the_same_seed_gives_the_same_numbers(found: tuple[Path, Demonstrated], tmp_path: Path) -> None:
    _, first = found
    again, other = run(tmp_path / "again"), run(tmp_path / "other", seed=1)
    assert [row.scores for row in again.rows] == [row.scores for row in first.rows]
    assert [row.scores for row in other.rows] != [row.scores for row in first.rows]


def test_it_replaces_its_own_folder_and_no_other(tmp_path: Path) -> None:
    run(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    (tmp_path / "out" / "merges" / "stale").mkdir()
    run(tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "out" / "merges" / "stale").exists()
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.tex").write_text("")
    with pytest.raises(OutputError, match="no earlier demo made"):
        run(tmp_path / "work")
    with pytest.raises(OutputError, match="is a file"):
        run(tmp_path / "work" / "thesis.tex")
    with pytest.raises(OutputError, match="folder cannot be made"):
        run(tmp_path / "work" / "thesis.tex" / "out")


def test_results_say_where_they_come_from(found: tuple[Path, Demonstrated]) -> None:
    content = json.loads((found[0] / "results.json").read_text())
    assert content["provenance"]["command"] == "cuvee demo"
    assert len(content["rows"]) == 1 + 4 + 1 + len(METHODS)

"""Outputs that would touch an input or somebody's work, and what overwriting replaces."""

import os
import sys
from pathlib import Path

import pytest
import yaml

import cuvee
from bad_input.checkpoints import WEIGHT, spoil
from bad_input.merges import Refused, merged_by, recipe_of, snapshot
from cuvee.cli import main
from cuvee.errors import CuveeError


def test_output_that_is_an_input_is_refused(folder: Path, assert_refused: Refused) -> None:
    for overwrite in (False, True):
        for out in ("a", "./b", "b/../a", str(folder / "base"), "a/", "base/model.safetensors"):
            assert_refused(recipe_of("ties"), "would touch the input", out=out, overwrite=overwrite)


def test_output_that_is_an_input_by_another_name_is_refused(folder: Path, assert_refused: Refused) -> None:
    (folder / "link").symlink_to("a")
    (folder / "link to all").symlink_to(folder)
    (folder / "weights.safetensors").symlink_to("a/model.safetensors")
    os.link(folder / "b" / "model.safetensors", folder / "hard.safetensors")
    for overwrite in (False, True):
        for out in ("link", "link to all/a", "link to all/b", "weights.safetensors", "hard.safetensors"):
            assert_refused(recipe_of(), "would touch the input", out=out, overwrite=overwrite)


def test_input_given_by_a_link_is_guarded_under_its_real_name(folder: Path, assert_refused: Refused) -> None:
    (folder / "link").symlink_to("a")
    for out in ("link", "a", "a/inside"):
        assert_refused(recipe_of(models=["link", "b"]), "would touch the input", out=out, overwrite=True)


def test_output_inside_or_around_an_input_is_refused(folder: Path, assert_refused: Refused) -> None:
    assert_refused(recipe_of(), "would touch the input a: it lies inside it", out="a/merged")
    assert_refused(recipe_of(), "would touch the input a: it lies inside it", out="a/merged/deep.safetensors")
    (folder / "models").mkdir()
    (folder / "a").rename(folder / "models" / "a")
    models = {"models": ["models/a", "b"]}
    assert_refused(recipe_of(**models), "would touch the input", "it contains it", out="models", overwrite=True)
    assert_refused(recipe_of(**models), "would touch the input", "it contains it", out=".", overwrite=True)


def test_output_beside_the_input_in_its_folder_is_refused_for_folders_only(
    folder: Path, assert_refused: Refused
) -> None:
    """A file given by itself guards itself; its folder is not the input."""
    files = {"models": ["a/model.safetensors", "b/model.safetensors"]}
    assert_refused(recipe_of(**files), "would touch the input", out="a/model.safetensors", overwrite=True)
    assert WEIGHT in merged_by(folder, recipe_of(**files), "a/merged.safetensors")


def test_existing_output_is_refused_without_overwrite(folder: Path, assert_refused: Refused) -> None:
    merged_by(folder, recipe_of())
    assert_refused(recipe_of(), str(folder / "out"), "exists already", "--overwrite", out="out")
    merged_by(folder, recipe_of(), "out.safetensors")
    assert_refused(recipe_of(), str(folder / "out.safetensors"), "exists already", out="out.safetensors")


def test_existing_output_is_replaced_with_overwrite(folder: Path) -> None:
    merged_by(folder, recipe_of())
    before = snapshot(folder)
    cuvee.merge(recipe_of("slerp"), "out", overwrite=True)
    after = snapshot(folder)
    assert set(after) == set(before)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"out/model.safetensors", "out/README.md", "out/cuvee.json"}


def test_failed_merge_keeps_the_output_that_was_there(folder: Path, assert_refused: Refused) -> None:
    merged_by(folder, recipe_of())
    spoil(folder, "b", float("nan"))
    assert_refused(recipe_of(), WEIGHT, "is nan", out="out", overwrite=True)


@pytest.mark.parametrize("name", ["notes.txt", "train.py", "optimizer.pt"])
def test_work_that_is_no_checkpoint_is_never_overwritten(folder: Path, assert_refused: Refused, name: str) -> None:
    merged_by(folder, recipe_of())
    (folder / "out" / name).write_text("mine")
    words = (f"will not be overwritten: it holds '{name}'", "Remove the folder yourself, or choose another place")
    assert_refused(recipe_of(), *words, out="out", overwrite=True)


def test_recipe_is_an_input_that_overwriting_must_not_remove(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merged_by(folder, recipe_of())
    models = {"models": ["../a", "../b"]}
    (folder / "out" / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(**models)))
    before = snapshot(folder)
    with pytest.raises(CuveeError, match=r"would touch the input .*recipe\.yaml"):
        cuvee.merge(folder / "out" / "recipe.yaml", folder / "out", overwrite=True)
    monkeypatch.setattr(sys, "argv", ["cuvee", "merge", "out/recipe.yaml", "--out", "out", "--overwrite"])
    with pytest.raises(SystemExit):
        main()
    assert "would touch the input" in capsys.readouterr().err
    assert snapshot(folder) == before


def test_outputs_that_are_one_are_refused(folder: Path) -> None:
    before = snapshot(folder)
    for pair in (("out", "./out"), ("out", "out/inside"), ("out/x.safetensors", "out")):
        recipes = {folder / pair[0]: recipe_of(), str(folder) + "/" + pair[1]: recipe_of("slerp")}
        with pytest.raises(CuveeError):
            cuvee.merge_variants(recipes)
        assert snapshot(folder) == before

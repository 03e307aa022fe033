"""Outputs that cannot be written, and what a failure leaves: nothing."""

import os
from pathlib import Path

import pytest

import cuvee
from bad_input.checkpoints import WEIGHT, spoil
from bad_input.merges import Refused, recipe_of, snapshot
from cuvee.errors import CuveeError


@pytest.mark.parametrize("path", ["~nobody-of-this-name/out", "x" * 5000, "/dev/null", "/dev/null/out"])
def test_path_that_can_be_no_output_is_refused(assert_refused: Refused, path: str) -> None:
    assert_refused(recipe_of(), path, out=path)


def test_output_below_a_file_is_refused(folder: Path, assert_refused: Refused) -> None:
    (folder / "file").write_text("mine")
    assert_refused(recipe_of(), str(folder / "file"), "is not a folder", out="file/out")
    assert_refused(recipe_of(), str(folder / "file"), "is not a folder", out="file/deep/out.safetensors")
    assert_refused(recipe_of(), str(folder / "file"), "exists and is not a folder", out="file", overwrite=True)


def test_folder_under_the_name_of_a_file_is_refused(folder: Path, assert_refused: Refused) -> None:
    (folder / "out.safetensors").mkdir()
    assert_refused(recipe_of(), "out.safetensors", "exists and is not a file", out="out.safetensors", overwrite=True)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_output_where_nothing_can_be_written_is_refused(assert_refused: Refused) -> None:
    assert_refused(recipe_of(), "/proc/out cannot be written", out="/proc/out")
    assert_refused(recipe_of(), "/proc/out.safetensors cannot be written", out="/proc/out.safetensors")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_closed_to_writing_is_refused(folder: Path, assert_refused: Refused) -> None:
    (folder / "closed").mkdir(mode=0o555)
    assert_refused(recipe_of(), "closed", "Permission denied", out="closed/out")
    assert_refused(recipe_of(), "closed", "Permission denied", out="closed/new/deep/out")


def test_failure_removes_the_parents_made_for_the_output(folder: Path, assert_refused: Refused) -> None:
    spoil(folder, "b", float("nan"))
    assert_refused(recipe_of(), WEIGHT, "is nan", out="new/deep/out")
    assert_refused(recipe_of(), WEIGHT, "is nan", out="new/deep/out.safetensors")


def test_wrong_variant_leaves_none_of_the_others(folder: Path) -> None:
    spoil(folder, "b", float("nan"))
    before = snapshot(folder)
    with pytest.raises(CuveeError, match="is nan at flat index 7"):
        cuvee.merge_variants({folder / "one": recipe_of(models=["a"]), folder / "two": recipe_of()})
    assert snapshot(folder) == before

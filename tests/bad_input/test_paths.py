"""Paths that lead to no model: nothing there, links to nowhere, folders of pickles or of nothing."""

from pathlib import Path

import pytest

from bad_input.merges import Refused, recipe_of


def test_link_out_of_the_folder_is_not_followed_by_the_output(folder: Path, assert_refused: Refused) -> None:
    (folder / "b" / "model.safetensors").unlink()
    (folder / "b" / "model.safetensors").symlink_to(folder / "nowhere")
    assert_refused(recipe_of(), "model 'two'")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickles_are_refused(folder: Path, assert_refused: Refused, name: str) -> None:
    (folder / "pickled").mkdir()
    (folder / "pickled" / name).write_bytes(b"\x80\x02cos\nsystem\nX\x05\x00\x00\x00touch\x85R.")
    assert_refused(recipe_of(models=["a", "pickled"]), f"pickled/{name}", "model 'm1'", "can carry code", "convert it")
    assert_refused(recipe_of(models=["a", f"pickled/{name}"]), f"pickled/{name}", "model 'm1'", "never runs code")


@pytest.mark.parametrize("path", ["nothing", "aa", "a/nothing.safetensors"])
def test_model_that_is_not_there_is_named(assert_refused: Refused, path: str) -> None:
    assert_refused(recipe_of(models={"one": "a", "two": path}), path, "model 'two'")


def test_link_to_nowhere_is_named_with_its_target(folder: Path, assert_refused: Refused) -> None:
    (folder / "link").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    assert_refused(recipe_of(models=["a", "link"]), "model 'm1'", "is a link to 'nowhere', which is not there")
    assert_refused(recipe_of(models=["a", "loop"]), "model 'm1'", "is a link to 'loop', which is not there")


@pytest.mark.parametrize(
    "path",
    ["~nobody-of-this-name/model", "a\0b", "x" * 5000, "x" * 5000 + ".bin", "/dev/null", "a/model.safetensors/x"],
)
def test_path_that_can_be_no_model_is_refused(assert_refused: Refused, path: str) -> None:
    assert_refused(recipe_of(models=["a", path]), "model 'm1'", repr(path)[1:-1])


def test_folder_without_weights_is_named(folder: Path, assert_refused: Refused) -> None:
    (folder / "void").mkdir()
    assert_refused(recipe_of(models={"one": "a", "two": "void"}), "void", "model 'two'", "holds no .safetensors file")

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import OutputError
from cuvee.execute.describe import predict
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.target import check_target

ENTRIES = [("w", TensorSpec((4,), DTYPES["U8"]))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(out: Path, data: bytes = b"new!", then: Callable[[], None] = lambda: None, **options: Any) -> None:
    with SafetensorsWriter(out, ENTRIES, **options) as writer:
        writer.write_at("w", 0, memoryview(data))
        then()


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    out = tmp_path / "model"
    write(out, b"old!")
    for name in ("config.json", "README.md", "tokenizer.model", "merges.txt", "modeling_mine.py", "recipe.yaml"):
        (out / name).write_text("{}")
    return out


def test_existing_output_is_refused(checkpoint: Path) -> None:
    before = tree(checkpoint)
    with pytest.raises(OutputError, match=r"model exists already. .*--overwrite"):
        write(checkpoint)
    assert tree(checkpoint.parent) == {"model": None} | {f"model/{name}": data for name, data in before.items()}


def test_existing_file_is_refused_and_replaced_when_asked(tmp_path: Path) -> None:
    out = tmp_path / "w.safetensors"
    write(out, b"old!")
    with pytest.raises(OutputError, match="exists already"):
        write(out)
    assert out.read_bytes().endswith(b"old!")
    write(out, overwrite=True)
    assert out.read_bytes().endswith(b"new!")


def test_empty_folder_is_no_output_yet(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert names(tmp_path / "out") == ["model.safetensors"]


def test_overwriting_replaces_the_whole_checkpoint(checkpoint: Path) -> None:
    write(checkpoint, overwrite=True)
    assert names(checkpoint) == ["model.safetensors"]
    assert (checkpoint / "model.safetensors").read_bytes().endswith(b"new!")
    assert names(checkpoint.parent) == ["model"]


@pytest.mark.parametrize("entry", ["optimizer.pt", "train.py", "notes.txt", ".gitattributes", "sub/", ".git/", "link"])
def test_folder_that_holds_more_than_a_checkpoint_is_never_overwritten(entry: str, checkpoint: Path) -> None:
    place = checkpoint / entry
    if entry.endswith("/"):
        place.mkdir()
    elif entry == "link":
        place = checkpoint / "other.safetensors"
        place.symlink_to(checkpoint / "model.safetensors")
    else:
        place.touch()
    before = tree(checkpoint)
    with pytest.raises(OutputError, match=f"will not be overwritten: it holds '{re.escape(place.name)}'"):
        write(checkpoint, overwrite=True)
    assert tree(checkpoint) == before


def test_folder_without_weights_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "package.json").touch()
    with pytest.raises(OutputError, match=r"will not be overwritten: it holds files but no .safetensors"):
        write(tmp_path, overwrite=True)


@pytest.mark.parametrize("overwrite", [True, False])
def test_kind_of_the_output_never_changes(overwrite: bool, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="file exists and is not a folder"):
        write(tmp_path / "file", overwrite=overwrite)
    with pytest.raises(OutputError, match=r"folder.safetensors exists and is not a file"):
        write(tmp_path / "folder.safetensors", overwrite=overwrite)


def test_output_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"out cannot be made: .*file is not a folder"):
        write(tmp_path / "file" / "deep" / "out")


def test_output_through_a_link_keeps_the_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "merged")
    write(tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert names(tmp_path / "disk") == ["merged"]


def test_name_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="File name too long"):
        write(tmp_path / ("x" * 300))
    assert names(tmp_path) == []


RELATIONS = {
    "the same": ("model", "is that input"),
    "the same by another way": ("model/../model", "is that input"),
    "the same through a link": ("link", "is that input"),
    "inside": ("model/merged", "lies inside it"),
    "deep inside": ("model/a/b", "lies inside it"),
    "inside through a link": ("link/merged", "lies inside it"),
    "around": (".", "contains it"),
}


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("case", RELATIONS)
def test_output_that_touches_an_input_is_refused(case: str, overwrite: bool, checkpoint: Path) -> None:
    relation, message = RELATIONS[case]
    (checkpoint.parent / "link").symlink_to(checkpoint)
    before = tree(checkpoint)
    with pytest.raises(OutputError, match=rf"would touch the input {checkpoint}: it {message}"):
        write(checkpoint.parent / relation, overwrite=overwrite, inputs=[checkpoint])
    assert tree(checkpoint) == before


def test_output_that_holds_the_link_or_the_blob_of_an_input_is_refused(tmp_path: Path) -> None:
    for name in ("blobs", "cache"):
        (tmp_path / name).mkdir()
    write(tmp_path / "blobs" / "w.safetensors")
    link = tmp_path / "cache" / "model.safetensors"
    link.symlink_to(tmp_path / "blobs" / "w.safetensors")
    for folder in ("blobs", "cache"):
        with pytest.raises(OutputError, match="contains it"):
            check_target(tmp_path / folder, overwrite=True, inputs=[link])


def test_output_that_is_an_input_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write(path)
    with pytest.raises(OutputError, match="is that input"):
        write(path, overwrite=True, inputs=[path])
    os.link(path, tmp_path / "hard.safetensors")
    with pytest.raises(OutputError, match="is that input"):
        write(tmp_path / "hard.safetensors", overwrite=True, inputs=[path])


def test_output_beside_inputs_is_fine(checkpoint: Path) -> None:
    write(checkpoint.parent / "model-2", inputs=[checkpoint, checkpoint.parent / "absent"])
    assert (checkpoint.parent / "model-2").is_dir()


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert check_target("~/out") == tmp_path / "out"


def test_output_that_appears_meanwhile_is_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(tmp_path / "theirs", b"else")
    with pytest.raises(OutputError, match="exists already"):
        write(out, then=lambda: (tmp_path / "theirs").rename(out))
    assert (out / "model.safetensors").read_bytes().endswith(b"else")
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("renamed", ["model", "output"])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=repr)
def test_old_checkpoint_comes_back_if_the_new_one_cannot_be_put_in_place(
    renamed: str, error: BaseException, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, rename = tree(checkpoint), Path.rename

    def fail_to_publish(path: Path, target: Path) -> Path:
        if path.name.endswith(renamed):
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_to_publish)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        write(checkpoint, overwrite=True)
    assert tree(checkpoint) == before
    assert names(checkpoint.parent) == ["model"]


def test_old_checkpoint_that_cannot_be_removed_is_named(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **options: None if path.name == "replaced" else rmtree(path))
    with pytest.warns(UserWarning, match=r"was not removed; it is now .*/replaced"):
        write(checkpoint, overwrite=True)
    assert names(checkpoint) == ["model.safetensors"]


def test_parents_that_others_use_by_then_stay(tmp_path: Path) -> None:
    def interfere() -> None:
        (tmp_path / "new" / "theirs").touch()
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write(tmp_path / "new" / "sub" / "out", then=interfere)
    assert tree(tmp_path) == {"new": None, "new/theirs": b""}


@pytest.mark.parametrize(
    "out", ["s3://bucket/out", "memory://x", "gs:/bucket/out.safetensors", Path("s3://bucket/out")]
)
def test_an_address_is_no_output(out: str | Path) -> None:
    with pytest.raises(OutputError, match=r"is an address; an output is a folder or file of this machine"):
        check_target(out)


@pytest.mark.parametrize(
    "name", ["out.bin", "out.PT", "out.pth", "out.ckpt", "out.gguf", "a.json", "a.yaml", "a.yml", "README.md"]
)
def test_a_name_of_a_file_of_another_kind_is_no_output(name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"is named like a \.\w+ file, which is not written"):
        check_target(tmp_path / name)


def test_a_version_in_the_name_of_a_folder_is_no_suffix(tmp_path: Path) -> None:
    assert check_target(tmp_path / "llama-3.1") == (tmp_path / "llama-3.1").resolve()


@pytest.mark.parametrize("out", ["s3://bucket/out", "README.md"])
def test_a_plan_refuses_what_a_merge_refuses(out: str) -> None:
    with pytest.raises(OutputError, match=r"is an address|is named like"):
        predict({"cuvee": 1, "method": "linear", "models": ["a", "b"]}, folder=Path(out))


SOMEBODYS = {
    "notes": b"my notes",
    "a recipe": b'{"cuvee": 1, "output": {"dtype": "float32"}}',
    "a list": b'["format", "output"]',
    "nothing": b"",
}


@pytest.mark.parametrize("data", SOMEBODYS.values(), ids=SOMEBODYS.keys())
def test_file_that_has_the_name_of_the_record_is_replaced_only_when_asked(data: bytes, tmp_path: Path) -> None:
    record = tmp_path / "w.cuvee.json"
    record.write_bytes(data)
    with pytest.raises(OutputError, match=r"w\.cuvee\.json exists already, and is no record"):
        write(tmp_path / "w.safetensors")
    assert tree(tmp_path) == {"w.cuvee.json": data}
    write(tmp_path / "w.safetensors", overwrite=True)


def test_record_whose_weights_are_gone_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "w.cuvee.json").write_text('{"format": 1, "output": {}, "inputs": {}}')
    with SafetensorsWriter(tmp_path / "w.safetensors", ENTRIES) as writer:
        writer.write_at("w", 0, memoryview(b"new!"))
        writer.add_file("w.cuvee.json", b"{}")
    assert (tmp_path / "w.cuvee.json").read_bytes() == b"{}"


@pytest.mark.parametrize("target", ["w.safetensors", "absent"])
def test_link_that_has_the_name_of_the_record_is_no_record(target: str, tmp_path: Path) -> None:
    (tmp_path / "w.cuvee.json").symlink_to(target)
    with pytest.raises(OutputError, match="is no record"):
        write(tmp_path / "w.safetensors")


def test_folder_that_has_the_name_of_the_record_stays(tmp_path: Path) -> None:
    (tmp_path / "w.cuvee.json").mkdir()
    with pytest.raises(OutputError, match=r"w\.cuvee\.json is a folder"):
        write(tmp_path / "w.safetensors", overwrite=True)
    assert tree(tmp_path) == {"w.cuvee.json": None}


@pytest.mark.parametrize("overwrite", [True, False])
def test_record_that_is_an_input_is_refused(overwrite: bool, tmp_path: Path) -> None:
    recipe = tmp_path / "w.cuvee.json"
    recipe.write_text('{"format": 1, "output": {}}')
    with pytest.raises(OutputError, match=rf"would touch the input {recipe}: it is that input"):
        write(tmp_path / "w.safetensors", overwrite=overwrite, inputs=[recipe])


def test_files_of_other_names_beside_a_single_file_stay(tmp_path: Path) -> None:
    (tmp_path / "cuvee.json").write_text("my notes")
    write(tmp_path / "w.safetensors")
    assert (tmp_path / "cuvee.json").read_text() == "my notes"

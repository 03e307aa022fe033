"""Indexes that do not fit their folder, by mistake or on purpose."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cuvee.errors import FormatError, SourceError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.strict_json import read_object
from sources.test_checkpoint import write_sharded

BAD_NAMES = [
    "../model.safetensors",
    "/etc/model.safetensors",
    "sub/model.safetensors",
    "sub\\model.safetensors",
    "..",
    "",
    ".hidden.safetensors",
    "model.bin",
    "a\0.safetensors",
    7,
    None,
    ["model.safetensors"],
]


@pytest.mark.parametrize("file", BAD_NAMES, ids=repr)
def test_index_may_only_name_files_of_its_own_folder(file: Any, tmp_path: Path) -> None:
    safetensors.torch.save_file({"w": torch.ones(1)}, tmp_path / "model.safetensors")
    folder = write_sharded(tmp_path / "m", {}, {"w": file})
    with pytest.raises(FormatError, match=r"index.json: tensor 'w' is said to be in .* bare name") as caught:
        Checkpoint(folder)
    assert "Do not trust this checkpoint" in str(caught.value)


def test_index_that_names_missing_files_is_refused(tmp_path: Path) -> None:
    weight_map = {f"w{number}": f"model-{number}.safetensors" for number in range(5)}
    folder = write_sharded(tmp_path / "m", {"model-0.safetensors": {"w0": torch.ones(1)}}, weight_map)
    message = "'model-1.safetensors', 'model-2.safetensors', 'model-3.safetensors' and 1 more, missing from the folder"
    with pytest.raises(FormatError, match=re.escape(message)):
        Checkpoint(folder)


def test_dangling_link_counts_as_missing(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "m", {}, {"w": "model-1.safetensors"})
    (folder / "model-1.safetensors").symlink_to("nowhere")
    with pytest.raises(FormatError, match="missing from the folder"):
        Checkpoint(folder)


def test_index_that_names_absent_tensors_is_refused(tmp_path: Path) -> None:
    shards = {"m-1.safetensors": {"a": torch.ones(1)}}
    folder = write_sharded(tmp_path / "m", shards, {"a": "m-1.safetensors", "b": "m-1.safetensors"})
    with pytest.raises(FormatError, match=r"tensor 'b' is said to be in 'm-1.safetensors', but no file .* has it"):
        Checkpoint(folder)


def test_index_that_names_the_wrong_file_is_refused(tmp_path: Path) -> None:
    shards = {"m-1.safetensors": {"a": torch.ones(1)}, "m-2.safetensors": {"b": torch.ones(1)}}
    folder = write_sharded(tmp_path / "m", shards, {"a": "m-2.safetensors", "b": "m-1.safetensors"})
    with pytest.raises(FormatError, match=r"tensor 'a' is said to be in 'm-2.safetensors', but it is in m-1"):
        Checkpoint(folder)


def test_tensors_the_index_forgets_are_refused(tmp_path: Path) -> None:
    shards = {"m-1.safetensors": {"a": torch.ones(1), "z": torch.ones(1)}}
    folder = write_sharded(tmp_path / "m", shards, {"a": "m-1.safetensors"})
    with pytest.raises(FormatError, match=r"m-1.safetensors: tensor 'z' is missing from model.safetensors.index.json"):
        Checkpoint(folder)


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    shards = {
        "m-1.safetensors": {"a": torch.ones(1), "c": torch.ones(1)},
        "m-2.safetensors": {"a": torch.ones(1), "b": torch.ones(1)},
    }
    folder = write_sharded(tmp_path / "m", shards)
    with pytest.raises(FormatError, match=r"'a' is in both .*m-1.safetensors and .*m-2.safetensors"):
        Checkpoint(folder)


BAD_INDEXES = {
    "not JSON": ("{", "is not valid JSON"),
    "not an object": ("[]", "is JSON of type list; expected an object"),
    "no weight_map": ("{}", "'weight_map' is None"),
    "empty weight_map": ('{"weight_map": {}}', "'weight_map' is {}"),
    "weight_map is a list": ('{"weight_map": ["a"]}', "'weight_map' is ['a']"),
    "duplicate tensor": ('{"weight_map": {"a": "m", "a": "n"}}', "the name 'a' is given twice"),
    "deep nesting": ("[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize("case", BAD_INDEXES)
def test_malformed_index_is_refused(case: str, tmp_path: Path) -> None:
    text, message = BAD_INDEXES[case]
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(FormatError, match=re.escape(message)) as caught:
        Checkpoint(tmp_path)
    assert str(tmp_path / "model.safetensors.index.json") in str(caught.value)


def test_huge_index_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").touch()
    os.truncate(tmp_path / "model.safetensors.index.json", 2**40)
    with pytest.raises(FormatError, match=r"index.json has 1,099,511,627,776 bytes"):
        Checkpoint(tmp_path)


def test_strict_json_is_read_from_ordinary_files_only(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(SourceError, match=r"pipe\.json is not an ordinary file"):
        read_object(tmp_path / "pipe.json")
    with pytest.raises(SourceError, match=r"none\.json cannot be read: No such file"):
        read_object(tmp_path / "none.json")


def test_index_beside_an_unrelated_single_file_is_ambiguous(tmp_path: Path) -> None:
    folder = write_sharded(tmp_path / "m", {"m-1.safetensors": {"a": torch.ones(1)}})
    safetensors.torch.save_file({"a": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(SourceError, match=r"holds both model.safetensors and model.safetensors.index.json"):
        Checkpoint(folder)


def test_index_that_names_the_single_file_is_fine(tmp_path: Path) -> None:
    assert list(Checkpoint(write_sharded(tmp_path / "m", {"model.safetensors": {"a": torch.ones(1)}})).header) == ["a"]

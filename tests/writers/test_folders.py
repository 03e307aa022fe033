"""Outputs whose tensors go into several folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import OutputError
from cuvee.spec import DEFAULT_SHARD_BYTES
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement
from writers.test_safetensors_writer import DATA, ENTRIES, names, read

FOLDERS = {"unet": "diffusion_pytorch_model", "text": "model"}
IN_FOLDERS = [(f"{folder}/{name}", spec) for folder in FOLDERS for name, spec in ENTRIES]


def write_folders(out: Path, *, stop: bool = False, shard_bytes: int = DEFAULT_SHARD_BYTES, **options: Any) -> None:
    arrangement = Arrangement(shard_bytes=shard_bytes, folders=FOLDERS)
    with SafetensorsWriter(out, IN_FOLDERS, arrangement, **options) as writer:
        writer.journal.add({"done": 1})
        for name, _ in IN_FOLDERS:
            writer.write_at(name, 0, memoryview(DATA[name.partition("/")[2]]))
        writer.add_file("text/config.json", b"{}")
        writer.add_file("tokenizer/vocab.json", b"{}")
        if stop:
            raise KeyboardInterrupt


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_tensors_go_into_folders_without_their_prefix(tmp_path: Path) -> None:
    write_folders(tmp_path / "out", shard_bytes=24, sync=True)
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    files = {*shards, "unet/diffusion_pytorch_model.safetensors.index.json", "tokenizer/vocab.json", "text/config.json"}
    assert files <= tree(tmp_path / "out").keys()
    assert not list((tmp_path / "out").glob("*.*"))
    assert read(tmp_path / "out" / "unet") == read(tmp_path / "out" / "text") == DATA
    index = json.loads((tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors.index.json").read_text())
    assert index["weight_map"] == dict(zip("abe", [Path(shards[i]).name for i in (0, 1, 1)], strict=True))


def test_an_output_in_folders_is_taken_over(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_folders(tmp_path / "out", stop=True, run="one")
    with SafetensorsWriter(tmp_path / "out", IN_FOLDERS, Arrangement(folders=FOLDERS), run="one") as writer:
        assert writer.journal.entries == [{"done": 1}]
        for name, spec in IN_FOLDERS:
            writer.keep(name, 0, spec.nbytes)
    write_folders(tmp_path / "apart")
    weights = {name: data for name, data in tree(tmp_path / "apart").items() if name.endswith(".safetensors")}
    assert tree(tmp_path / "out") == weights


@pytest.mark.parametrize(
    "name", ["../x", "unet/../x", "/x", "unet/", "a/b/c", "./x", "unet/model.safetensors.index.json"]
)
def test_a_file_beyond_the_folders_of_an_output_is_refused(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=f"'{name}' cannot be added to .*out"),
        SafetensorsWriter(tmp_path / "out", [], Arrangement(folders=FOLDERS)) as writer,
    ):
        writer.add_file(name, b"")
    assert names(tmp_path) == []


def test_a_file_by_itself_has_no_folders(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="several models, in the folders unet, text"):
        SafetensorsWriter(tmp_path / "out.safetensors", IN_FOLDERS, Arrangement(folders=FOLDERS))

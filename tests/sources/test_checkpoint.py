import contextlib
import json
import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.sidecars import SIDECARS


def read(source: Checkpoint, name: str) -> bytes:
    buffer = bytearray(source.header[name].nbytes)
    source.read_into(memoryview(buffer), name)
    return bytes(buffer)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def write_sharded(folder: Path, shards: dict[str, dict[str, torch.Tensor]], weight_map: Any = None) -> Path:
    folder.mkdir(exist_ok=True)
    for file, tensors in shards.items():
        safetensors.torch.save_file(tensors, folder / file)
    if weight_map is None:
        weight_map = {name: file for file, tensors in shards.items() for name in tensors}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    return {
        "a": torch.randn(3, 5, dtype=torch.bfloat16),
        "b": torch.arange(7),
        "c": torch.randn(4).to(torch.float8_e4m3fn),
        "d": torch.tensor(1.5),
        "e": torch.empty(0, 2),
    }


@pytest.fixture
def sharded(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> Iterator[Checkpoint]:
    first, second = dict(list(tensors.items())[3:]), dict(list(tensors.items())[:3])
    shards = {"model-00002-of-00002.safetensors": second, "model-00001-of-00002.safetensors": first}
    with contextlib.closing(Checkpoint(write_sharded(tmp_path / "model", shards))) as source:
        yield source


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors.index.json", "modeling_own.py"])
def test_a_small_file_that_changes_is_noticed_and_changes_the_identity(
    name: str, tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    folder = write_sharded(tmp_path / "model", {"model-00001-of-00001.safetensors": tensors})
    for each in ("config.json", "tokenizer.json", "modeling_own.py", "README.md"):
        (folder / each).write_text("{}")
    with contextlib.closing(Checkpoint(folder)) as source:
        (folder / "README.md").write_text("edited meanwhile")
        source.check_unchanged()
        with (folder / name).open("a") as file:
            file.write(" ")
        with pytest.raises(SourceError, match=f"{re.escape(name)} was changed during the merge"):
            source.check_unchanged()
    with contextlib.closing(Checkpoint(folder)) as again:
        assert again.identity != source.identity


def test_shards_are_read_whole(sharded: Checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    assert {name: read(sharded, name) for name in sharded.header} == {name: raw(tensors[name]) for name in tensors}


def test_header_goes_file_by_file_and_by_offset_within(sharded: Checkpoint) -> None:
    files = [Path(sharded.locate(name)).name for name in sharded.header]
    assert files == sorted(files)
    assert set(list(sharded.header)[:2]) == {"d", "e"}


@pytest.mark.parametrize("name", ["model", "diffusion_pytorch_model", "pytorch_weights"])
def test_folder_with_one_file_is_read(name: str, tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(tensors, tmp_path / f"{name}.safetensors", metadata={"format": "pt"})
    with contextlib.closing(Checkpoint(tmp_path)) as source:
        assert read(source, "a") == raw(tensors["a"])
        assert source.metadata == {f"{name}.safetensors": {"format": "pt"}}
        assert source.paths == (tmp_path, tmp_path / f"{name}.safetensors")
        assert source.reference == str(tmp_path)
        assert source.shared == ()


def test_one_file_by_itself_brings_no_configuration(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    with contextlib.closing(Checkpoint(tmp_path / "model.safetensors", "mine")) as source:
        assert read(source, "b") == raw(tensors["b"])
        assert source.reference == "mine"
        assert source.sidecars == source.config == {}
        assert source.paths == (tmp_path / "model.safetensors",)


def test_diffusers_index_is_read(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder = write_sharded(tmp_path / "m", {"diffusion_pytorch_model-00001-of-00001.safetensors": tensors})
    (folder / "model.safetensors.index.json").rename(folder / "diffusion_pytorch_model.safetensors.index.json")
    assert set(Checkpoint(folder).header) == set(tensors)


def test_index_of_another_name_is_read_if_it_is_the_only_one(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder = write_sharded(
        tmp_path / "m", {"part-1.safetensors": {"a": tensors["a"]}, "part-2.safetensors": {"b": tensors["b"]}}
    )
    (folder / "model.safetensors.index.json").rename(folder / "part.safetensors.index.json")
    assert list(Checkpoint(folder).header) == ["a", "b"]


def test_files_that_the_index_does_not_name_are_left_alone(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    folder = write_sharded(tmp_path / "m", {"model-00001-of-00001.safetensors": tensors})
    safetensors.torch.save_file({"consolidated": torch.ones(1)}, folder / "consolidated.safetensors")
    (folder / "._model.safetensors").write_bytes(b"left by another system")
    assert set(Checkpoint(folder).header) == set(tensors)


def test_files_that_are_links_are_followed_as_in_the_hub_cache(
    tmp_path: Path, tensors: dict[str, torch.Tensor]
) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots"
    blobs.mkdir()
    snapshot.mkdir()
    safetensors.torch.save_file(tensors, blobs / "0123abcd")
    (blobs / "ef").write_text('{"hidden_size": 4}')
    (snapshot / "model.safetensors").symlink_to("../blobs/0123abcd")
    (snapshot / "config.json").symlink_to("../blobs/ef")
    with contextlib.closing(Checkpoint(snapshot)) as source:
        assert read(source, "a") == raw(tensors["a"])
        assert source.config == {"hidden_size": 4}


def test_any_range_of_bytes_can_be_read(sharded: Checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    whole = raw(tensors["a"])
    for begin in range(len(whole)):
        for end in range(begin, len(whole) + 1):
            buffer = bytearray(end - begin)
            sharded.read_into(memoryview(buffer), "a", begin)
            assert buffer == whole[begin:end]


def test_buffers_of_any_element_type_are_filled(sharded: Checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    out = torch.empty(7, dtype=torch.int64)
    sharded.read_into(out.numpy().data, "b")
    assert torch.equal(out, tensors["b"])


@pytest.mark.parametrize(("offset", "count"), [(-1, 2), (0, 31), (30, 1), (31, 0)])
def test_reading_outside_a_tensor_is_an_error(offset: int, count: int, sharded: Checkpoint) -> None:
    with pytest.raises(SourceError, match="tensor 'a' has 30 bytes"):
        sharded.read_into(memoryview(bytearray(count)), "a", offset)


def test_unknown_tensor_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    safetensors.torch.save_file({"layer.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    source = Checkpoint(tmp_path, "mine")
    with pytest.raises(SourceError, match=r"mine has no tensor 'layer.weigth'. Did you mean 'layer.weight'\?"):
        source.read_into(memoryview(bytearray(4)), "layer.weigth")
    with pytest.raises(SourceError, match="has no tensor"):
        source.locate("layer.weigth")


@pytest.mark.parametrize("positioned", [True, False])
def test_many_threads_read_at_once(positioned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not positioned:
        monkeypatch.delattr(os, "preadv")
    values = torch.arange(50_000, dtype=torch.int32)
    safetensors.torch.save_file({"w": values}, tmp_path / "model.safetensors")
    barrier = threading.Barrier(8)
    with contextlib.closing(Checkpoint(tmp_path)) as source, ThreadPoolExecutor(8) as pool:

        def read_strided(thread: int) -> bool:
            barrier.wait()  # the first read of all, so that they race to open the file
            for begin in range(thread * 400, values.nbytes, 8 * 400):
                buffer = bytearray(400)
                source.read_into(memoryview(buffer), "w", begin)
                if bytes(buffer) != values.numpy().tobytes()[begin : begin + 400]:
                    return False
            return True

        assert all(pool.map(read_strided, range(8)))


def test_short_reads_are_continued(sharded: Checkpoint, tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, views, offset: preadv(file, [views[0][:3]], offset))
    assert read(sharded, "a") == raw(tensors["a"])


def test_file_that_changed_before_the_first_read_is_refused(sharded: Checkpoint) -> None:
    with Path(sharded.locate("a")).open("ab") as file:
        file.write(b"more")
    with pytest.raises(SourceError, match=r"00002-of-00002.safetensors: tensor 'a' cannot be read: it has changed"):
        read(sharded, "a")


def test_file_cut_short_between_reads_is_an_error(sharded: Checkpoint) -> None:
    read(sharded, "a")
    os.truncate(sharded.locate("a"), 100)
    with pytest.raises(SourceError, match=r"model-00002.*tensor 'a': the file ended after 0 of 30 bytes"):
        read(sharded, "a")


def test_file_that_vanished_is_an_error(sharded: Checkpoint) -> None:
    Path(sharded.locate("a")).unlink()
    with pytest.raises(SourceError, match="tensor 'a' cannot be read: No such file"):
        read(sharded, "a")


def test_reading_after_close_is_an_error(sharded: Checkpoint) -> None:
    read(sharded, "a")
    sharded.close()
    sharded.close()
    with pytest.raises(SourceError, match="tensor 'a' cannot be read: it was closed"):
        read(sharded, "a")


def test_truncated_shard_is_refused(sharded: Checkpoint) -> None:
    path = Path(sharded.locate("a"))
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(FormatError, match=r"model-00002-of-00002.safetensors: tensor '.': .*the file is truncated"):
        Checkpoint(path.parent)


def test_several_files_without_index_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(
        SourceError, match=r"2 safetensors files \('one.safetensors', 'two.safetensors'\) and no single index"
    ):
        Checkpoint(tmp_path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt", "model.ckpt"])
def test_pickled_weights_are_refused_with_the_way_to_convert(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    (tmp_path / "optimizer.pt").write_bytes(b"\x80\x04.")
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(SourceError, match=re.escape(f"{tmp_path / name} holds pickled weights")) as caught:
            Checkpoint(path)
        assert f"give {tmp_path / name}. Or convert it" in str(caught.value)
        assert "save_pretrained" in str(caught.value)


def test_folder_of_pickled_shards_is_refused_by_the_name_of_its_index(tmp_path: Path) -> None:
    for name in ("pytorch_model-00001-of-00001.bin", "pytorch_model.bin.index.json", "config.json"):
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(SourceError, match=re.escape(f"give {tmp_path / 'pytorch_model.bin.index.json'}.")):
        Checkpoint(tmp_path)


def test_pickles_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"\x80\x04.")
    for path in (tmp_path, tmp_path / "model.pkl"):
        with pytest.raises(SourceError, match=r"model.pkl is a pickle of whatever kind.*is not read"):
            Checkpoint(path)


def test_adapter_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"lora_A": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UnsupportedError, match="holds an adapter"):
        Checkpoint(tmp_path)


def test_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"holds no .safetensors file. Expected a checkpoint folder"):
        Checkpoint(tmp_path)


def test_folder_of_folders_says_which_hold_weights(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "unet" / "model.safetensors")
    with pytest.raises(SourceError, match=r"its folders 'unet' do"):
        Checkpoint(tmp_path)


def test_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere cannot be read: No such file"):
        Checkpoint(tmp_path / "nowhere")


def test_sidecars_are_found_by_name_with_custom_code(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    travels = sorted({*SIDECARS, "modeling_mine.py"})
    for name in [*travels, "training_args.bin", "notes.txt", "optimizer.json"]:
        (tmp_path / name).write_text("{}")
    (tmp_path / "tools.py").mkdir()
    assert Checkpoint(tmp_path).sidecars == {name: tmp_path / name for name in travels}


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": 1, "a": 2}', "\xff"])
def test_malformed_configuration_is_refused(text: str, tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=r"config.json is "):
        Checkpoint(tmp_path)


def test_configuration_may_hold_infinity(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"time_step_limit": [0.0, Infinity]}')
    assert Checkpoint(tmp_path).config == {"time_step_limit": [0.0, float("inf")]}


def test_reading_changes_nothing(sharded: Checkpoint) -> None:
    def state() -> dict[str, tuple[bytes, int]]:
        return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(sharded.reference).iterdir()}

    before = state()
    for name in sharded.header:
        read(sharded, name)
    assert state() == before

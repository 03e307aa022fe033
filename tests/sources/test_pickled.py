"""Pickled weights, named by their file, are tensors like any others."""

import json
import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from cuvee.cli import main
from cuvee.errors import CuveeWarning, FormatError, MissingLibraryError, SourceError, UnsupportedError
from cuvee.sources import pickled
from cuvee.sources.open import open_source
from cuvee.sources.pickled import Pickled
from cuvee.spec import DTYPES

TORCH_DTYPES = [dtype for dtype in DTYPES.values() if dtype.torch_name and hasattr(torch, dtype.torch_name)]
# torch writes younger ones in the old format, too, and cannot read them itself.
OLD_DTYPES = {"F64", "F32", "F16", "BF16", "C64", "I64", "I32", "I16", "I8", "U8", "BOOL"}
OLD = {"_use_new_zipfile_serialization": False}


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def read(source: Any, name: str) -> bytes:
    buffer = bytearray(source.header[name].nbytes)
    source.read_into(memoryview(buffer), name)
    return bytes(buffer)


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize(
    ("dtype", "options"),
    [(dtype, {}) for dtype in TORCH_DTYPES] + [(dtype, OLD) for dtype in TORCH_DTYPES if dtype.name in OLD_DTYPES],
    ids=str,
)
def test_every_dtype_is_read(tmp_path: Path, dtype: Any, options: Any) -> None:
    data = torch.arange(16, dtype=torch.uint8) % 2
    tensor = data.view(getattr(torch, dtype.torch_name)).reshape(1, -1)
    source = open_source(save(tmp_path / "model.pt", {"w": tensor}, **options))
    assert source.header["w"].dtype is dtype
    assert read(source, "w") == data.numpy().tobytes()


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".ckpt", ".BIN"])
def test_files_are_read_where_they_are_named(tmp_path: Path, suffix: str) -> None:
    whole = torch.randn(30, 20)
    tensors = {"a": whole, "b": whole.t(), "c": whole[3:7, ::2], "d": torch.nn.Parameter(torch.randn(4)), "e": whole}
    path = save(tmp_path / f"model{suffix}", tensors)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    source = open_source(path)
    assert isinstance(source, Pickled)
    assert list(source.header) == list(tensors)
    assert {name: read(source, name) for name in tensors} == {name: raw(tensor) for name, tensor in tensors.items()}
    assert source.shared == (("a", "e"),)
    assert (source.reference, source.location) == (str(path), str(path))
    assert (source.config, source.sidecars, source.paths) == ({}, {}, (path,))
    assert (source.cost("a"), source.locate("a")) == (2400, str(path))


def test_reading_is_refused_after_close(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "model.pt", {"w": torch.ones(2)}))
    source.close()
    for ask in (source.locate, lambda name: source.read_into(memoryview(bytearray(8)), name)):
        with pytest.raises(SourceError, match="the source was closed"):
            ask("w")


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    tensor = torch.arange(100_000, dtype=torch.int32)
    source, whole = open_source(save(tmp_path / "model.pt", {"w": tensor})), raw(tensor)

    def piece(begin: int) -> bytes:
        buffer = bytearray(min(999, len(whole) - begin))
        source.read_into(memoryview(buffer), "w", begin)
        return bytes(buffer)

    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(piece, range(0, len(whole), 999))) == whole


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures resident memory the way Linux tells it")
@pytest.mark.parametrize("shape", [(16, 1 << 20), (1 << 20, 16)], ids=["rows", "transposed"])
def test_reading_a_file_does_not_fill_the_memory_with_it(tmp_path: Path, shape: tuple[int, int]) -> None:
    tensor = torch.zeros(shape)
    source = open_source(save(tmp_path / "model.pt", {"w": tensor if shape[0] == 16 else tensor.t()}))
    del tensor
    block = memoryview(bytearray(1 << 20))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    source.read_into(block, "w")
    before = resident()
    for offset in range(0, source.header["w"].nbytes, len(block)):
        source.read_into(block, "w", offset)
    assert resident() - before < 24 << 20  # of 64 MiB


def test_shards_are_read_by_their_index(tmp_path: Path) -> None:
    index = shards(tmp_path, {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"})
    source = open_source(index)
    assert {name: source.locate(name) for name in source.header} == {
        "a": str(tmp_path / "pytorch_model-1.bin"),
        "b": str(tmp_path / "pytorch_model-2.bin"),
    }
    assert read(source, "b") == raw(torch.full((2,), 2.0))
    assert set(source.paths) == {index, tmp_path / "pytorch_model-1.bin", tmp_path / "pytorch_model-2.bin"}


def shards(folder: Path, weight_map: Any) -> Path:
    """Two files of one tensor each, and an index."""
    save(folder / "pytorch_model-1.bin", {"a": torch.full((2,), 1.0)})
    save(folder / "pytorch_model-2.bin", {"b": torch.full((2,), 2.0)})
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"a": "pytorch_model-2.bin", "b": "pytorch_model-1.bin"}, "tensor 'a' is said to be in 'pytorch_model-2.bin'"),
        ({"a": "pytorch_model-1.bin", "c": "pytorch_model-2.bin"}, "tensor 'c' is said to be in"),
        ({"a": "pytorch_model-1.bin", "b": "pytorch_model-3.bin"}, "'pytorch_model-3.bin', missing from the folder"),
        ({"a": "../pytorch_model-1.bin"}, "expected the bare name of a .bin file"),
        ({"a": "model.safetensors"}, "expected the bare name of a .bin file"),
        ({}, "'weight_map' is {}"),
    ],
)
def test_index_that_does_not_fit_is_refused(tmp_path: Path, weight_map: Any, words: str) -> None:
    with pytest.raises(FormatError, match=re.escape(words)):
        open_source(shards(tmp_path, weight_map))


def test_tensor_in_two_shards_is_refused(tmp_path: Path) -> None:
    index = shards(tmp_path, {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"})
    save(tmp_path / "pytorch_model-2.bin", {"a": torch.ones(2), "b": torch.ones(2)})
    with pytest.raises(FormatError, match="Tensor 'a' is in both"):
        open_source(index)


TENSORS = {"w": torch.ones(2), "b": torch.zeros(1)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"state_dict": TENSORS, "epoch": 3, "optimizer_states": [OPTIMIZER]},
            "'state_dict' are read; left out: 'epoch', ",
        ),
        ({"model": TENSORS, "optimizer": OPTIMIZER}, "'model' are read; left out: 'optimizer'."),
        ({"params": TENSORS}, "'params' are read; left out: nothing."),
    ],
)
def test_state_dict_within_is_taken_and_named(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.warns(CuveeWarning, match=re.escape(words)):
        source = open_source(save(tmp_path / "last.ckpt", content))
    assert list(source.header) == ["w", "b"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": TENSORS, "ema": TENSORS, "step": 1}, "holds 2 state dicts ('model', 'ema')"),
        ({"w": torch.ones(1), "step": 5, "name": "x"}, "has entries that are no tensors: 'step', 'name' (int, str)"),
        ({"model": {"w": torch.ones(1), "step": 5}}, "'model' has entries that are no tensors: 'step' (int)"),
        ({"w": torch.ones(1), "inner": TENSORS}, "has entries that are no tensors: 'inner' (dict)"),
        ({"a": {"b": TENSORS}}, "holds no tensors; expected a state dict, name → tensor. It has: 'a'."),
        ({}, "holds no tensors; expected a state dict, name → tensor. It has: nothing."),
        (torch.ones(2), "holds a Tensor; expected a state dict"),
        ([TENSORS], "holds a list; expected a state dict"),
        ({1: torch.ones(1)}, "tensor 1: its name is a int"),
        (torch.nn.Linear(2, 2), "beside tensors it asks for 'torch.nn.modules.linear.Linear'"),
        ({"w": torch.eye(2).to_sparse()}, "beside tensors it asks for 'torch._utils._rebuild_sparse_tensor'"),
        ({"w": torch.ones(2), "buffer": bytearray(3)}, "beside tensors it asks for '"),
        ({"w": torch.ones(1).expand(1000)}, "says it has 4,000 bytes, but 4 are stored for it"),
    ],
    ids=range(13),
)
@pytest.mark.parametrize("options", [{}, OLD], ids=["zip", "old"])
def test_what_is_no_single_state_dict_is_refused(tmp_path: Path, content: Any, words: str, options: Any) -> None:
    path = save(tmp_path / "model.ckpt", content, **options)
    with pytest.raises(SourceError, match=re.escape(words)) as caught:
        open_source(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_old_file_that_is_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model.bin", {"w": torch.ones(2000)}, **OLD)
    monkeypatch.setattr(pickled, "MOST_UNMAPPED", 8000)
    with pytest.raises(SourceError, match=r"has 8,\d+ bytes in the format before PyTorch 1.6.* at most 8,000 are read"):
        open_source(path)


def test_torch_that_is_not_safe_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model.bin", TENSORS)
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(MissingLibraryError, match=r"torch 2.9.1\+cpu cannot read pickled weights safely"):
        open_source(path)


def test_file_of_a_machine_of_the_other_byte_order_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "model.bin", TENSORS)
    monkeypatch.setattr(sys, "byteorder", "big" if sys.byteorder == "little" else "little")
    with pytest.raises(UnsupportedError, match="written on a machine of the other byte order"):
        open_source(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.bin")
    with pytest.raises(SourceError, match="is not an ordinary file"):
        open_source(tmp_path / "model.bin")
    (tmp_path / "folder.bin").mkdir()
    with pytest.raises(SourceError, match=r"holds no .safetensors file"):
        open_source(tmp_path / "folder.bin")


def test_changed_file_is_noticed(tmp_path: Path) -> None:
    path = save(tmp_path / "model.bin", {"w": torch.ones(2000)})
    source = open_source(path)
    before = source.identity
    source.check_unchanged()
    os.truncate(path, 4096)
    for ask in (source.check_unchanged, lambda: read(source, "w")):
        with pytest.raises(SourceError, match="was changed during the merge"):
            ask()
    save(path, {"w": torch.ones(2001)})
    assert open_source(path).identity != before


def test_pickled_weights_merge_as_safetensors_do(tmp_path: Path) -> None:
    a, b = ({"w": torch.randn(40, 50), "head": torch.randn(7)} for _ in range(2))
    save(tmp_path / "a.bin", a)
    cuvee.merge(cuvee.Recipe(method="linear", models=[str(tmp_path / "a.bin"), b]), tmp_path / "out.safetensors")
    cuvee.merge(cuvee.Recipe(method="linear", models=[a, b]), tmp_path / "expected.safetensors")
    merged, expected = (open_source(tmp_path / f"{name}.safetensors") for name in ("out", "expected"))
    assert {name: read(merged, name) for name in a} == {name: read(expected, name) for name in a}


def test_pickled_weights_are_inspected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cuvee", "inspect", str(save(tmp_path / "model.bin", TENSORS)), "--json"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert [tensor["name"] for tensor in json.loads(capsys.readouterr().out)["tensors"]] == ["w", "b"]

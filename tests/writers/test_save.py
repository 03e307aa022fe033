from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from cuvee.errors import OutputError, SourceError
from cuvee.spec import DTYPES
from cuvee.writers.save import save_state_dict

TORCH_DTYPES = [dtype for dtype in DTYPES.values() if hasattr(torch, dtype.torch_name or "-")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_state_dict_is_saved_as_the_reference_loads_it(tmp_path: Path) -> None:
    tensors = {
        "transposed": torch.randn(4, 6).t(),
        "strided element": torch.randn(6, 4)[2:3, 1],
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 2),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "conjugate": torch.randn(3, dtype=torch.complex64).conj(),
    }
    save_state_dict(tmp_path / "out", tensors, {"made": "here"})
    loaded = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert set(loaded) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(loaded[name], tensor), name
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "made": "here"}


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_every_dtype_is_saved(dtype: Any, tmp_path: Path) -> None:
    data = torch.arange(16, dtype=torch.uint8) % 2
    save_state_dict(tmp_path / "w.safetensors", {"w": data.view(getattr(torch, dtype.torch_name))})
    ((_, info),) = safetensors.deserialize((tmp_path / "w.safetensors").read_bytes())
    assert (info["dtype"], info["shape"]) == (dtype.name, [128 // dtype.bits])
    assert bytes(info["data"]) == data.numpy().tobytes()


def test_tied_tensors_are_written_once_and_named_in_the_metadata(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(5, 3), torch.nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    model, other = Tied(), Tied()
    save_state_dict(tmp_path / "w.safetensors", model.state_dict())
    with safetensors.safe_open(tmp_path / "w.safetensors", "pt") as file:
        assert list(file.keys()) == ["embed.weight"]
        assert file.metadata() == {"format": "pt", "head.weight": "embed.weight"}
    safetensors.torch.load_model(other, tmp_path / "w.safetensors")
    assert torch.equal(other.head.weight, model.head.weight)


def test_views_that_merely_overlap_are_all_written(tmp_path: Path) -> None:
    base = torch.arange(8)
    save_state_dict(tmp_path / "w.safetensors", {"low": base[:5], "high": base[3:], "e": base[:0], "f": base[:0]})
    loaded = safetensors.torch.load_file(tmp_path / "w.safetensors")
    assert {name: tensor.tolist() for name, tensor in loaded.items()} == {
        "low": [0, 1, 2, 3, 4],
        "high": [3, 4, 5, 6, 7],
        "e": [],
        "f": [],
    }


def test_shards_files_and_overwrite_pass_through(tmp_path: Path) -> None:
    tensors = {"a": torch.ones(4), "b": torch.ones(4)}
    save_state_dict(tmp_path / "out", tensors, shard_bytes=16, files={"config.json": b"{}"})
    assert len(names(tmp_path / "out")) == 4
    with pytest.raises(OutputError, match="exists already"):
        save_state_dict(tmp_path / "out", tensors)
    save_state_dict(tmp_path / "out", tensors, overwrite=True)
    assert names(tmp_path / "out") == ["model.safetensors"]


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(1, dtype=torch.complex128), torch.ones(1, device="meta"), torch.eye(2).to_sparse(), "text"],
    ids=str,
)
def test_what_cannot_be_stored_is_refused_by_name(tensor: Any, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="tensor 'bad'"):
        save_state_dict(tmp_path / "out", {"bad": tensor})
    assert names(tmp_path) == []

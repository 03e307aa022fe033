"""Adapters on the hub and at addresses: read as models there are, wherever their base lies."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import cuvee
from cuvee.errors import PlanError, SourceError
from cuvee.execute.verify import verify
from sources.adapter.adapters import reconfigure
from sources.hub_models import go_offline
from sources.hub_server import Hub
from sources.remote_store import Opened, Store, put, read

MODULE = "layers.0.q"
WEIGHT = f"{MODULE}.weight"


def base() -> dict[str, bytes]:
    tensors = {WEIGHT: torch.arange(48, dtype=torch.float32).reshape(8, 6)}
    return {"model.safetensors": safetensors.torch.save(tensors), "config.json": b"{}"}


def adapter(value: float = 1.0) -> dict[str, bytes]:
    """Return an adapter that adds 2 * value to every element."""
    factors = {"lora_A": torch.ones(1, 6), "lora_B": torch.full((8, 1), value)}
    tensors = {f"base_model.model.{MODULE}.{side}.weight": factor for side, factor in factors.items()}
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": [MODULE]}
    return {
        "adapter_model.safetensors": safetensors.torch.save(tensors),
        "adapter_config.json": json.dumps(config).encode(),
        "README.md": b"",
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def added(value: float) -> bytes:
    return (torch.arange(48, dtype=torch.float32) + 2 * value).numpy().tobytes()


def test_base_and_adapter_on_the_hub_are_downloaded_when_they_are_merged(hub: Hub, cache: Path, tmp_path: Path) -> None:
    commits = [hub.add("org/base", base()), hub.add("org/lora", adapter(3.0))]
    hub.add("org/lora", adapter(5.0), branch="new")
    recipe = {"cuvee": 1, "method": "linear", "models": ["org/base+org/lora", "org/base+org/lora@new"]}
    cuvee.plan(recipe)
    assert not hub.asked("GET") & {"adapter_model.safetensors", "model.safetensors"}
    cuvee.merge(recipe, tmp_path / "out")
    stored = safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")
    assert stored[WEIGHT].numpy().tobytes() == added(4.0)
    assert (cache / "models--org--lora" / "snapshots" / commits[1] / "adapter_model.safetensors").is_file()
    record = json.loads((tmp_path / "out" / "cuvee.json").read_text())
    assert record["inputs"]["m0"]["location"] == f"org/base@{commits[0]}+org/lora@{commits[1]}"
    assert {each.state for each in verify(tmp_path / "out", replay=True)} == {"same"}


def test_downloaded_adapters_are_read_without_a_network(
    hub: Hub, tmp_path: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/lora", adapter(3.0))
    folder = write(tmp_path / "base", base())
    assert read(opened(f"{folder}+org/lora"), WEIGHT) == added(3.0)
    go_offline(monkeypatch)
    source = opened(f"{folder}+org/lora")
    assert read(source, WEIGHT) == added(3.0)
    source.check_unchanged()


def test_an_adapter_at_an_address_is_read_where_it_is(store: type[Store], tmp_path: Path, opened: Opened) -> None:
    put("store://bucket/lora", adapter(3.0))
    folder = write(tmp_path / "base", base())
    source = opened(f"{folder}+store://bucket/lora")
    assert read(source, WEIGHT) == added(3.0)
    assert source.location == f"{folder}+store://bucket/lora"
    assert source.locate(WEIGHT) == f"{folder}/model.safetensors + store://bucket/lora/adapter_model.safetensors"
    assert source.memory > opened(str(folder)).memory
    put("store://bucket/lora", {"adapter_config.json": adapter()["adapter_config.json"].replace(b"2", b"3")})
    with pytest.raises(SourceError, match=r"store://bucket/lora/adapter_config\.json was changed"):
        source.check_unchanged()


def test_adapters_from_everywhere_are_merged_as_an_adapter(hub: Hub, store: type[Store], tmp_path: Path) -> None:
    commit = hub.add("org/lora", adapter(3.0))
    put("store://bucket/lora", adapter(5.0))
    here = write(tmp_path / "lora", adapter(1.0))
    recipe = {
        "cuvee": 1, "method": "linear", "models": ["org/lora", "store://bucket/lora", here],
        "output": {"adapter": True},
    }  # fmt: skip
    cuvee.merge(recipe, tmp_path / "out")
    stored = safetensors.torch.load_file(tmp_path / "out" / "adapter_model.safetensors")
    a, b = (stored[f"base_model.model.{MODULE}.lora_{side}.weight"] for side in "AB")
    torch.testing.assert_close(b @ a, torch.full((8, 6), 6.0))
    inputs = json.loads((tmp_path / "out" / "cuvee.json").read_text())["inputs"]
    places = [f"org/lora@{commit}", "store://bucket/lora", str(here)]
    assert [inputs[f"m{i}"]["location"] for i in range(3)] == places
    assert {each.state for each in verify(tmp_path / "out", replay=True)} == {"same"}


def test_what_is_missing_elsewhere_is_said(hub: Hub, store: type[Store], tmp_path: Path, opened: Opened) -> None:
    folder = write(tmp_path / "base", base())
    hub.add("org/model", base())
    with pytest.raises(SourceError, match=r"org/model@\w+ holds no adapter: adapter_model\.safetensors is missing"):
        opened(f"{folder}+org/model")
    with pytest.raises(SourceError, match=r"store://bucket/nothing does not exist"):
        opened(f"{folder}+store://bucket/nothing")
    put("store://bucket/lora", {"adapter_model.safetensors": adapter()["adapter_model.safetensors"]})
    with pytest.raises(SourceError, match=r"store://bucket/lora holds .* but no adapter_config\.json"):
        opened(f"{folder}+store://bucket/lora")
    recipe = {"cuvee": 1, "method": "linear", "models": [f"{folder}+org/model"]}
    with pytest.raises((PlanError, SourceError), match="model 'm0'"):
        cuvee.plan(recipe)


def test_a_folder_of_the_same_name_wins_over_the_hub(hub: Hub, tmp_path: Path, opened: Opened) -> None:
    hub.add("org/lora", adapter(3.0))
    folder = write(tmp_path / "base", base())
    (tmp_path / "org").mkdir()
    shutil.copytree(write(tmp_path / "own", adapter(1.0)), tmp_path / "org" / "lora")
    reconfigure(tmp_path / "org" / "lora", lora_alpha=4)
    assert read(opened(f"{folder}+org/lora"), WEIGHT) == added(2.0)

"""Models on the hub, which is a server of this machine here, and in the cache of what was downloaded from it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import cuvee
from cuvee.errors import CuveeWarning, PlanError, SourceError
from cuvee.sources import hub_folder
from cuvee.sources.hub import tell_downloads
from sources.hub_models import SHARDS, Opened, go_offline, read, sharded, single, weights
from sources.hub_server import Hub


def test_opening_downloads_no_weights_and_merging_does(hub: Hub, cache: Path, tmp_path: Path) -> None:
    commit = hub.add("org/model", single(1.0))
    hub.add("org/other", single(3.0))
    recipe = {"cuvee": 1, "method": "linear", "models": ["org/model", "org/other"]}
    cuvee.plan(recipe)
    assert "model.safetensors" not in hub.asked("GET")
    assert "model.safetensors" in hub.asked("PART")
    cuvee.merge(recipe, tmp_path / "out")
    assert "model.safetensors" in hub.asked("GET")
    assert safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")["a"].eq(2.0).all()
    assert (cache / "models--org--model" / "snapshots" / commit / "model.safetensors").is_file()
    record = json.loads((tmp_path / "out" / "cuvee.json").read_text())
    assert record["inputs"]["m0"]["location"] == f"org/model@{commit}"
    assert record["inputs"]["m0"]["licence"] == "mit"


def test_wrong_recipe_fails_before_weights_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/model", single())
    hub.add("org/other", {"model.safetensors": safetensors.torch.save({"a": torch.ones(5), "b": torch.ones(3)})})
    with pytest.raises(PlanError):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": ["org/model", "org/other"]}, tmp_path / "out")
    assert "model.safetensors" not in hub.asked("GET")


def test_only_files_of_the_model_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    others = ["consolidated.safetensors", "pytorch_model.bin", "tf_model.h5", "flax_model.msgpack", "modeling_x.py",
              "onnx/model.onnx", "original/model.safetensors", "training_args.bin"]  # fmt: skip
    hub.add("org/model", sharded() | dict.fromkeys(others, b"never read") | {"tokenizer.json": b"[]"})
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["org/model"]}, tmp_path / "out")
    assert hub.asked("GET") == {"config.json", "model.safetensors.index.json", "tokenizer.json", *SHARDS}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"pytorch_model.bin": b"x"}, "org/model@.*/pytorch_model.bin holds pickled weights"),
        ({"unet/model.safetensors": b"x"}, "holds no .safetensors file, but its folders 'unet' do"),
        ({"model.safetensors": b"x"}, "org/model@.*/model.safetensors has 1 bytes; a safetensors file begins with 8"),
        (
            {"model.safetensors.index.json": b'{"weight_map": {"w": "x.safetensors"}}'},
            "The model on the hub is incomplete",
        ),
    ],
)
def test_what_is_no_checkpoint_is_refused(files: dict[str, bytes], said: str, hub: Hub, opened: Opened) -> None:
    hub.add("org/model", files)
    with pytest.raises(SourceError, match=said):
        opened("org/model")
    assert hub.asked("GET") <= {"model.safetensors.index.json"}


def test_only_shards_that_a_merge_reads_are_downloaded(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/model", sharded())
    recipe = {"cuvee": 1, "method": "linear", "models": ["org/model"], "tensors": [{"match": "a", "skip": True}]}
    cuvee.merge(recipe, tmp_path / "out")
    assert hub.asked("GET") & {*SHARDS} == {SHARDS[1]}


def test_code_is_downloaded_only_when_the_recipe_takes_it_along(hub: Hub, tmp_path: Path) -> None:
    hub.add("org/model", single() | {"modeling_x.py": b"x = 1\n"})
    recipe: dict[str, Any] = {"cuvee": 1, "method": "linear", "models": ["org/model"]}
    cuvee.merge(recipe, tmp_path / "without")
    assert "modeling_x.py" not in hub.asked("GET") | hub.asked("HEAD")
    cuvee.merge(recipe | {"output": {"custom_code": True}}, tmp_path / "with")
    assert (tmp_path / "with" / "modeling_x.py").read_bytes() == b"x = 1\n"


def test_revision_is_pinned_when_it_is_opened(hub: Hub, opened: Opened) -> None:
    old = hub.add("org/model", single(1.0))
    source = opened("org/model")
    new = hub.add("org/model", single(2.0) | {"tokenizer.json": b"{}"})
    assert read(source, "a") == weights(1.0)["a"].numpy().tobytes()
    assert source.location == f"org/model@{old}"
    again = opened(str(source.location))
    assert read(again, "a") == weights(1.0)["a"].numpy().tobytes()
    assert again.identity == source.identity
    newest = opened("org/model")
    assert newest.location == f"org/model@{new}"
    assert newest.identity != source.identity


def test_what_was_opened_opens_again_without_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    hub.add("org/model", sharded(), "v1.0")
    first = opened("org/model@v1.0")
    data = read(first, "a") + read(first, "b")
    go_offline(monkeypatch)
    again = opened("org/model@v1.0")
    assert read(again, "a") + read(again, "b") == data
    assert (again.location, again.identity) == (first.location, first.identity)


def test_hub_that_is_gone_is_told_and_the_cache_is_used(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    commit = hub.add("org/model", single())
    read(opened("org/model"), "a")
    hub.models["org/model"].status = 503
    with pytest.warns(CuveeWarning, match=f"'org/model' is read from the cache, at commit {commit}"):
        source = opened("org/model")
    assert read(source, "b") == weights()["b"].numpy().tobytes()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(SourceError, match=r"it cannot be reached .*nothing of its revision 'main'"):
        opened("org/never")


def test_commit_that_is_here_needs_no_permission(hub: Hub, opened: Opened) -> None:
    commit = hub.add("org/model", single())
    read(opened("org/model"), "a")
    hub.models["org/model"].token = "secret"
    with pytest.warns(CuveeWarning, match="is read from the cache"):
        assert read(opened(f"org/model@{commit}"), "a") == weights()["a"].numpy().tobytes()
    with pytest.raises(SourceError, match="there is no such model, or it is private"):
        opened("org/model")


def test_refusals_say_what_to_do(hub: Hub, monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    hub.add("org/model", single())
    hub.add("org/gated", single(), token="right", gated=True)
    hub.add("org/private", single(), token="right")
    hub.add("org/forbidden", single(), status=403)
    for reference, said in {
        "org/nobody": "there is no such model, or it is private. This machine has no token: run `hf auth login`",
        "org/model@v9": "it has no revision 'v9'",
        "org/gated": f"its authors ask for consent. Give it at {hub.url}/org/gated",
        "org/private": "or it is private",
        "org/forbidden": "access is refused",
        "org/a--b": "cannot be called so",
    }.items():
        with pytest.raises(SourceError) as caught:
            opened(reference)
        assert said in str(caught.value)
        assert "is not a local folder or file." in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "wrong")
    with pytest.raises(SourceError, match="Check your token"):
        opened("org/gated")
    monkeypatch.setenv("HF_TOKEN", "right")
    assert set(opened("org/gated").header) == {"a", "b"}


def test_file_that_vanishes_from_the_hub_is_named(hub: Hub, opened: Opened) -> None:
    commit = hub.add("org/model", single())
    source = opened("org/model")
    del hub.models["org/model"].commits[commit]["model.safetensors"]
    with pytest.raises(
        SourceError, match=r"on the hub: model\.safetensors cannot be downloaded: it is not there any more"
    ):
        read(source, "a")


def test_disk_without_room_is_told_before_the_download(
    hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    hub.add("org/model", sharded())
    source = opened("org/model")
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3))
    with pytest.raises(SourceError, match=rf"needs \d+ bytes more in the cache folder {cache}, whose disk has 3 left"):
        read(source, "a")
    assert not hub.asked("GET") & {*SHARDS}


def test_full_disk_is_told(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch, opened: Opened) -> None:
    hub.add("org/model", single())
    source = opened("org/model")

    def fill(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fill)
    with pytest.raises(SourceError, match=f"No space left on device, in the cache folder {cache}"):
        read(source, "a")


def test_large_file_is_looked_at_from_afar_until_much_of_it_is_read(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    monkeypatch.setattr(hub_folder, "PEEK", 100)
    hub.add("org/model", {"model.safetensors": safetensors.torch.save({"w": torch.arange(100, dtype=torch.uint8)})})
    source = opened("org/model")
    for begin in (0, 40, 10, 60):  # 120 bytes in all
        buffer = bytearray(30)
        source.read_into(memoryview(buffer), "w", begin)
        assert list(buffer) == list(range(begin, begin + 30))
        assert ("model.safetensors" in hub.asked("GET")) == (begin == 60)


def test_server_that_sends_no_parts_is_told(hub: Hub, opened: Opened) -> None:
    commit = hub.add("org/model", single())
    hub.sends_parts = False
    with pytest.raises(
        SourceError, match=f"does not send parts of files; run `hf download org/model --revision {commit}`"
    ):
        opened("org/model")


def test_downloads_are_told_to_who_listens(hub: Hub, opened: Opened) -> None:
    files = single()
    hub.add("org/model", files)
    told: dict[str, list[int]] = {}

    def begin(name: str, nbytes: int) -> Any:
        told[name] = [nbytes, 0]

        def advance(count: int) -> None:
            told[name][1] += count

        return advance

    with tell_downloads(begin):
        read(opened("org/model"), "a")
    assert told == {f"org/model/{name}": [len(data), len(data)] for name, data in files.items()}


def test_closed_model_is_not_read(hub: Hub, opened: Opened) -> None:
    hub.add("org/model", single())
    for is_read in (False, True):
        source = opened("org/model")
        if is_read:
            read(source, "a")
        source.close()
        with pytest.raises(SourceError, match="it was closed"):
            read(source, "a")


def test_local_checkpoints_load_neither_library(tmp_path: Path) -> None:
    safetensors.torch.save_file(weights(), tmp_path / "model.safetensors")
    recipe = {"cuvee": 1, "method": "linear", "models": [str(tmp_path / "model.safetensors")]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    script = (
        "import cuvee, json, sys\n"
        f"cuvee.merge(json.load(open({str(tmp_path / 'recipe.json')!r})), {str(tmp_path / 'out')!r})\n"
        "sys.exit(bool({'fsspec', 'huggingface_hub'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_part_of_a_file_with_more_bytes_than_were_asked_for_is_an_error(
    hub: Hub, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/model", single(1.0))
    monkeypatch.setattr(hub_folder, "PEEK", 64)
    source = opened("org/model")
    name = next(iter(source.header))
    hub.excess = 3
    with pytest.raises(
        SourceError, match=rf"tensor '{name}' cannot be read: 127\.0\.0\.1 sent 11 bytes where 8 were asked"
    ):
        source.read_into(memoryview(bytearray(8)), name)

"""Models on the hub, which is a server of this machine here, and in the cache of what was downloaded from it."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import cuvee
from cuvee.errors import CuveeWarning, FormatError, OutputError, PlanError, SourceError
from cuvee.sources import hub_folder
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.hub import tell_downloads
from cuvee.sources.open import open_source
from cuvee.spec import Source
from sources.hub_server import Hub

SHARDS = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
Opened = Callable[[str], Source]
CARD = b"---\nlicense: mit\n---\n"


def read(source: Source, name: str) -> bytes:
    buffer = bytearray(source.header[name].nbytes)
    source.read_into(memoryview(buffer), name)
    return bytes(buffer)


def weights(value: float = 1.0) -> dict[str, torch.Tensor]:
    return {"a": torch.full((4, 4), value), "b": torch.full((3,), -value)}


def single(value: float = 1.0) -> dict[str, bytes]:
    return {
        "config.json": b'{"hidden_size": 4}',
        "README.md": CARD,
        "model.safetensors": safetensors.torch.save(weights(value)),
    }


def sharded() -> dict[str, bytes]:
    parts = {file: {name: tensor} for file, (name, tensor) in zip(SHARDS, weights().items(), strict=True)}
    index = {"metadata": {}, "weight_map": {name: file for file, part in parts.items() for name in part}}
    return {
        "config.json": b"{}",
        "model.safetensors.index.json": json.dumps(index).encode(),
        **{file: safetensors.torch.save(part) for file, part in parts.items()},
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of downloads, empty; the hub may not be asked."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache"


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return what opens a reference; it is closed when the test is over."""
    with contextlib.ExitStack() as stack:

        def open_it(reference: str) -> Source:
            return stack.enter_context(contextlib.closing(open_source(reference)))

        yield open_it


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub that may be asked."""
    from huggingface_hub import close_session, constants

    server = Hub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    yield server
    close_session()
    server.shutdown()
    server.server_close()


def go_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import close_session, constants

    close_session()  # a connection that is open would still be used
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def put_in_cache(cache: Path, files: dict[str, bytes], commit: str = "a" * 40, branch: str | None = "main") -> Path:
    """Lay a model out as huggingface_hub does; return the folder of the commit."""
    folder = cache / "models--org--model"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    (folder / "blobs").mkdir(exist_ok=True)
    for number, (name, data) in enumerate(files.items()):
        (folder / "blobs" / f"{commit[:8]}{number}").write_bytes(data)
        (snapshot / name).symlink_to(f"../../blobs/{commit[:8]}{number}")
    if branch:
        (folder / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
        (folder / "refs" / branch).write_text(commit)
    return snapshot


# What is in the cache, and no hub


def test_cached_model_opens_without_the_hub(cache: Path) -> None:
    put_in_cache(cache, single(2.0))
    with contextlib.closing(open_source("org/model")) as source:
        assert isinstance(source, Checkpoint)
        assert source.location == f"org/model@{'a' * 40}"
        assert source.reference == "org/model"
        assert source.config == {"hidden_size": 4}
        assert read(source, "a") == weights(2.0)["a"].numpy().tobytes()
        assert source.sidecars["README.md"].read_bytes() == CARD
        assert source.locate("a") == f"org/model@{'a' * 40}/model.safetensors"
        source.check_unchanged()


def test_revisions_and_commits_name_what_is_cached(cache: Path, opened: Opened) -> None:
    put_in_cache(cache, single(1.0), "a" * 40, "main")
    put_in_cache(cache, single(2.0), "b" * 40, "refs/pr/1")
    for revision, commit in (("main", "a"), ("refs/pr/1", "b"), ("b" * 40, "b")):
        assert opened(f"org/model@{revision}").location == f"org/model@{commit * 40}"


def test_model_that_is_nowhere_says_where_was_looked_and_how_to_get_it(
    cache: Path, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "org" / "models").mkdir(parents=True)
    with pytest.raises(SourceError) as caught:
        opened("org/model@v2")
    said = str(caught.value)
    assert "HF_HUB_OFFLINE" in said
    assert f"the cache folder {cache} has nothing of its revision 'v2'" in said
    assert "`hf download org/model --revision v2`" in said
    assert "'org/model@v2' is not a local folder or file. Did you mean 'models'?" in said


def test_shards_that_the_cache_lacks_are_named(cache: Path, opened: Opened) -> None:
    files = sharded()
    del files[SHARDS[1]]
    put_in_cache(cache, files)
    with pytest.raises(FormatError) as caught:
        opened("org/model")
    said = str(caught.value)
    assert f"names '{SHARDS[1]}', missing" in said
    assert str(cache) in said
    assert f"`hf download org/model --revision {'a' * 40}`" in said


def test_blob_that_is_gone_is_a_file_that_is_missing(cache: Path, opened: Opened) -> None:
    snapshot = put_in_cache(cache, sharded())
    (snapshot / SHARDS[0]).resolve().unlink()
    with pytest.raises(FormatError, match=f"names '{SHARDS[0]}', missing"):
        opened("org/model")


def test_folder_of_that_name_wins(cache: Path, tmp_path: Path, opened: Opened) -> None:
    put_in_cache(cache, single(2.0))
    (tmp_path / "org" / "model").mkdir(parents=True)
    safetensors.torch.save_file(weights(5.0), tmp_path / "org" / "model" / "model.safetensors")
    source = opened("org/model")
    assert source.location == str(tmp_path / "org" / "model")
    assert read(source, "a") == weights(5.0)["a"].numpy().tobytes()


def test_output_cannot_lie_in_the_cache_of_an_input(cache: Path, tmp_path: Path) -> None:
    snapshot = put_in_cache(cache, single())
    with pytest.raises(OutputError, match="would touch the input"):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": ["org/model", "org/model"]}, snapshot / "merged")


# A hub that answers


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
    with pytest.raises(SourceError, match=r"'org/model' on the hub: model.safetensors cannot be downloaded"):
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

"""Checkpoints at addresses: of fsspec's file systems in memory and on disk, and of one that is slow or fails."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import fsspec
import pytest
import safetensors.torch
import torch
from fsspec.implementations.memory import MemoryFileSystem

import cuvee
from cuvee.errors import CuveeWarning, FormatError, MissingLibraryError, SourceError, UnsupportedError
from cuvee.sources.checkpoint import Checkpoint
from sources.remote_store import Opened, Store, model, numbers, put, read


@pytest.fixture(params=["memory", "store", "disk"])
def address(request: pytest.FixtureRequest, store: type[Store], tmp_path: Path) -> Iterator[str]:
    """Return an address of each kind at which nothing is."""
    yield f"disk://{tmp_path}/models" if request.param == "disk" else f"{request.param}://models"
    MemoryFileSystem.store.clear()


def test_folders_are_read_where_they_are(address: str, opened: Opened) -> None:
    put(f"{address}/a", model(3.0))
    source = opened(f"{address}/a/")
    assert isinstance(source, Checkpoint)
    assert source.reference == f"{address}/a/"
    assert source.location == f"{address}/a"
    assert source.locate("a") == f"{address}/a/model.safetensors"
    assert source.config == {"hidden_size": 4}
    assert source.paths == ()
    assert read(source, "a") == torch.full((4, 4), 3.0).numpy().tobytes()
    assert read(source, "b") == torch.arange(5, dtype=torch.int32).numpy().tobytes()
    assert {name: file.read_bytes() for name, file in source.sidecars.items()} == {
        name: data for name, data in model().items() if name not in ("model.safetensors", "notes.txt")
    }
    assert {file.suffix for file in source.sidecars.values()} == {".json", ".md", ".py"}
    source.check_unchanged()


def test_one_file_by_itself_brings_no_configuration(address: str, opened: Opened) -> None:
    put(f"{address}/a", model(3.0))
    source = opened(f"{address}/a/model.safetensors")
    assert read(source, "a") == torch.full((4, 4), 3.0).numpy().tobytes()
    assert source.config == source.sidecars == {}
    assert source.locate("a") == f"{address}/a/model.safetensors"


def test_shards_are_found_by_their_index(address: str, opened: Opened) -> None:
    parts = {f"model-0000{i + 1}-of-00002.safetensors": {f"t{i}": torch.full((3,), i)} for i in range(2)}
    weight_map = {name: file for file, part in parts.items() for name in part}
    put(f"{address}/a", {file: safetensors.torch.save(part) for file, part in parts.items()})
    put(f"{address}/a", {"consolidated.safetensors": b"not looked at"})
    put(f"{address}/a", {"model.safetensors.index.json": json.dumps({"weight_map": weight_map}).encode()})
    source = opened(f"{address}/a")
    assert [read(source, f"t{i}") for i in range(2)] == [torch.full((3,), i).numpy().tobytes() for i in range(2)]


def test_merging_gives_the_same_bytes_as_from_a_disk(address: str, tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 3.0)):
        put(f"{address}/{name}", model(value))
        (tmp_path / name).mkdir()
        for file, data in model(value).items():
            (tmp_path / name / file).write_bytes(data)
    recipe = {"cuvee": 1, "method": "linear", "output": {"custom_code": True}}
    cuvee.merge(recipe | {"models": [str(tmp_path / "a"), str(tmp_path / "b")]}, tmp_path / "near")
    cuvee.merge(recipe | {"models": [f"{address}/a", f"{address}/b"]}, tmp_path / "far")
    record = json.loads((tmp_path / "far" / "cuvee.json").read_text())
    assert record["inputs"]["m1"]["location"] == f"{address}/b"
    assert record["inputs"]["m1"]["licence"] == "mit"
    near, far = ({path.name: path.read_bytes() for path in (tmp_path / x).iterdir()} for x in ("near", "far"))
    assert near.keys() == far.keys() > {"tokenizer.json", "modeling_x.py"}
    assert {name for name in near if near[name] != far[name]} == {"README.md", "cuvee.json"}  # they name the models


def test_file_addresses_are_paths(tmp_path: Path, opened: Opened) -> None:
    (tmp_path / "a").mkdir()
    for file, data in model().items():
        (tmp_path / "a" / file).write_bytes(data)
    source = opened(f"file://{tmp_path}/a")
    assert source.location == str(tmp_path / "a")
    assert source.paths[0] == tmp_path / "a"
    with pytest.raises(SourceError, match=r"aa' is not a local folder or file. Did you mean 'a'\?"):
        opened(f"file://{tmp_path}/aa")


def test_what_is_not_there_is_an_error_with_the_nearest_name(address: str, opened: Opened) -> None:
    put(f"{address}/expert-math", model())
    with pytest.raises(SourceError, match=r"expert-maths does not exist. Did you mean 'expert-math'\?"):
        opened(f"{address}/expert-maths")
    with pytest.raises(SourceError, match=r"other.safetensors does not exist"):
        opened(f"{address}/expert-math/other.safetensors")


def test_folders_that_are_no_checkpoint_are_refused_as_on_a_disk(address: str, opened: Opened) -> None:
    put(f"{address}/empty", {"notes.txt": b"x"})
    put(f"{address}/nested/unet", model())
    put(f"{address}/pickled", {"pytorch_model.bin": b"x"})
    put(f"{address}/adapter", {"adapter_model.safetensors": model()["model.safetensors"]})
    put(f"{address}/broken", {"model.safetensors": model()["model.safetensors"][:-1]})
    put(f"{address}/part", {"model.safetensors.index.json": b'{"weight_map": {"w": "x.safetensors"}}'})
    put(f"{address}/wrong", model() | {"config.json": b"{"})
    for name, kind, said in (
        ("empty", SourceError, f"{address}/empty holds no .safetensors file"),
        ("nested", SourceError, "its folders 'unet' do"),
        ("pickled", SourceError, f"{address}/pickled/pytorch_model.bin holds pickled weights"),
        ("pickled/pytorch_model.bin", SourceError, "holds pickled weights"),
        ("adapter", UnsupportedError, "holds an adapter"),
        ("broken", FormatError, f"{address}/broken/model.safetensors: tensor 'b': .*the file is truncated"),
        ("part", FormatError, "'x.safetensors', missing from the folder. Copy the whole checkpoint to that place"),
        ("wrong", FormatError, f"{address}/wrong/config.json is not valid JSON"),
        ("wrong/config.json", SourceError, f"not weights but a file about them. Name its folder, {address}/wrong"),
        ("empty/notes.txt", SourceError, "is not a checkpoint folder or a .safetensors file"),
    ):
        with pytest.raises(kind, match=said):
            opened(f"{address}/{name}")


def test_unknown_protocol_is_an_error_with_the_nearest(opened: Opened) -> None:
    with pytest.raises(SourceError, match=r"Protocol not known: memry. Did you mean 'memory'\?"):
        opened("memry://x")


@pytest.mark.parametrize(("protocol", "library"), [("s3", "s3fs"), ("gs", "gcsfs"), ("abfs", "adlfs")])
def test_missing_library_is_named(protocol: str, library: str, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ImportError(f"Install {library}")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(MissingLibraryError, match=f"'{protocol}://bucket/x' needs .*: pip install {library}"):
        opened(f"{protocol}://bucket/x")
    recipe = {"cuvee": 1, "method": "linear", "models": {"near": {"w": torch.ones(1)}, "far": f"{protocol}://bucket/x"}}
    with pytest.raises(MissingLibraryError, match=f"model 'far': '{protocol}://bucket/x' needs"):
        cuvee.plan(recipe)


def test_password_in_an_address_is_refused_and_not_repeated(opened: Opened) -> None:
    with pytest.raises(SourceError, match="holds a password") as caught:
        opened("ftp://me:hunter2@host/model")
    assert "hunter2" not in str(caught.value)


class NoCredentialsError(Exception):
    """As botocore calls it."""


@pytest.mark.parametrize(
    "error", [PermissionError("Access Denied"), NoCredentialsError("Unable to locate credentials")]
)
def test_refused_access_is_told_at_once(error: Exception, store: type[Store], opened: Opened) -> None:
    put("store://a", model())
    store.failures += [error]
    with pytest.raises(SourceError, match=rf"access is refused \({error}\). Check the credentials"):
        opened("store://a")
    assert store.requests.total() == 1


def test_failures_that_pass_are_overcome(store: type[Store], opened: Opened) -> None:
    put("store://a", model(2.0))
    store.failures += [TimeoutError("slow"), ConnectionResetError("reset"), RuntimeError("503 SlowDown")]
    source = opened("store://a")
    store.failures += [OSError(5, "Input/output error"), RuntimeError("again"), TimeoutError()]
    assert read(source, "a") == torch.full((4, 4), 2.0).numpy().tobytes()


def test_failures_that_stay_are_told_with_the_tensor(store: type[Store], opened: Opened) -> None:
    put("store://a", model())
    source = opened("store://a")
    store.requests.clear()
    store.failures += [RuntimeError("503 SlowDown")] * 4
    with pytest.raises(
        SourceError, match=r"store://a/model.safetensors: tensor 'a' cannot be read: RuntimeError: 503 SlowDown"
    ):
        read(source, "a")
    assert store.requests["model.safetensors"] == 4
    assert read(source, "a")  # whoever asks later tries again
    store.failures += [TimeoutError("slow")] * 4
    with pytest.raises(SourceError, match=r"tokenizer.json cannot be read: it did not answer in time \(slow\)"):
        source.sidecars["tokenizer.json"].read_bytes()


@pytest.mark.parametrize("tagged", [True, False])
def test_changed_objects_are_noticed(tagged: bool, store: type[Store], opened: Opened) -> None:
    put("store://a", model(1.0))
    path = "/a/model.safetensors"
    if tagged:
        store.tags[path] = "first"
    source = opened("store://a/model.safetensors")
    source.check_unchanged()
    identity = source.identity
    if tagged:
        store.tags[path] = "second"
    else:
        put("store://a", model(2.0))
    with pytest.raises(SourceError, match=r"store://a/model.safetensors was changed during the merge"):
        source.check_unchanged()
    assert opened("store://a/model.safetensors").identity != identity
    store.store.clear()
    with pytest.raises(SourceError, match="cannot be found now: it does not exist"):
        source.check_unchanged()


@pytest.mark.parametrize("field", ["ETag", "Content-MD5", "Digest", "Last-Modified"])
def test_each_version_that_a_web_server_tells_is_compared(
    field: str, store: type[Store], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"name": "/a/model.safetensors", "type": "file", "size": len(model()["model.safetensors"])}
    monkeypatch.setattr(Store, "info", lambda self, path, **options: entry | {field: "Sun, 01 Nov 2026 10:00:00 GMT"})
    put("store://a", model())
    source = opened("store://a/model.safetensors")
    assert source.identity
    monkeypatch.setattr(Store, "info", lambda self, path, **options: entry | {field: "Sun, 01 Nov 2026 10:00:01 GMT"})
    with pytest.raises(SourceError, match=r"store://a/model.safetensors was changed during the merge"):
        source.check_unchanged()


def test_without_a_version_there_is_no_identity_and_one_warning(store: type[Store], opened: Opened) -> None:
    put("store://a", {f"{name}.safetensors": safetensors.torch.save({name: torch.ones(2)}) for name in "xy"})
    index = {"weight_map": {name: f"{name}.safetensors" for name in "xy"}}
    put("store://a", {"model.safetensors.index.json": json.dumps(index).encode()})
    store.tells_versions = False
    with pytest.warns(CuveeWarning, match=r"^store://a: its server does not tell when .* begins anew\.$") as warned:
        source = opened("store://a")
    assert source.identity == ""
    assert len(warned) == 1


def test_object_cut_short_is_an_error(store: type[Store], opened: Opened) -> None:
    put("store://a", model())
    source = opened("store://a")
    whole = model()["model.safetensors"]
    put("store://a", {"model.safetensors": whole[:-24]})
    last = list(source.header)[-1]
    with pytest.raises(SourceError, match=f"tensor '{last}' cannot be read: its server sent 180 bytes where 204"):
        read(source, last)


def test_server_that_sends_whole_files_is_refused_before_bytes_are_taken_from_the_wrong_place(
    store: type[Store], opened: Opened, small_chunks: None
) -> None:
    put("store://a", {"model.safetensors": numbers(6000)})
    source = opened("store://a")
    store.sends_parts = False
    words = r"its server does not send parts of files; download it, and name the copy\."
    with pytest.raises(SourceError, match=f"a/model.safetensors: tensor 'w' cannot be read: {words}"):
        source.read_into(memoryview(bytearray(8)), "w", 3000)


def test_web_server_that_ignores_ranges_is_refused(tmp_path: Path, opened: Opened) -> None:
    pytest.importorskip("aiohttp")
    (tmp_path / "model.safetensors").write_bytes(numbers(9 << 20))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path))
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        with pytest.raises(SourceError, match="its server does not send parts of files"):
            opened(f"http://127.0.0.1:{server.server_port}/model.safetensors")
    finally:
        server.shutdown()
        server.server_close()


def test_closed_source_is_not_read(store: type[Store], opened: Opened) -> None:
    put("store://a", model())
    source = opened("store://a")
    source.close()
    with pytest.raises(SourceError, match="tensor 'a' cannot be read: it was closed"):
        read(source, "a")


# What stores are like that are not here to be asked


def test_asynchronous_file_systems_are_shared_between_threads(
    store: type[Store], opened: Opened, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.asyn_wrapper import AsyncFileSystemWrapper

    put("store://a", {"model.safetensors": numbers(50_000), "config.json": b"{}"})
    wrapped = AsyncFileSystemWrapper(fsspec.filesystem("store"), asynchronous=False)
    assert wrapped.async_impl
    monkeypatch.setattr("fsspec.core.url_to_fs", lambda address: (wrapped, "/a"))
    source = opened("store://a")
    with ThreadPoolExecutor(4) as pool:
        whole = torch.arange(6250, dtype=torch.int64).numpy().tobytes()
        assert all(data == whole for data in pool.map(lambda _: read(source, "w"), range(4)))


def test_server_that_tells_no_size_is_refused(
    store: type[Store], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("store://a", model())
    info = Store.info
    monkeypatch.setattr(Store, "info", lambda self, path, **options: {**info(self, path, **options), "size": None})
    with pytest.raises(SourceError, match=r"a/model.safetensors: its server does not tell its size. Download it"):
        opened("store://a/model.safetensors")


def test_small_file_that_turns_out_larger_than_its_server_said_is_not_parsed(
    store: type[Store], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("store://a", {**model(), "config.json": b'{"text": "' + b"x" * (33 << 20) + b'"}'})
    listed = Store.ls

    def ls(self: Store, path: str, detail: bool = True, **options: Any) -> Any:
        found = listed(self, path, detail=detail, **options)
        return [{**each, "size": 2} if each["name"].endswith("config.json") else each for each in found]

    monkeypatch.setattr(Store, "ls", ls)
    with pytest.raises(FormatError, match=r"a/config.json has 34,\d+,\d+ bytes; a JSON file of at most 32,000,000"):
        opened("store://a")


def test_store_that_cannot_be_reached_is_an_error(
    store: type[Store], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(Store, "ls", fail)
    with pytest.raises(SourceError, match=r"store://a cannot be read: .*Connection refused"):
        opened("store://a")
    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(SourceError, match=r"'store://a' cannot be opened: .*Connection refused"):
        opened("store://a")

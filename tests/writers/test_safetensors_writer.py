import contextlib
import errno
import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import safetensors
import safetensors.torch
import torch

from cuvee.errors import OutputError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement

ENTRIES = [
    ("a", TensorSpec((3, 4), DTYPES["BF16"])),
    ("b", TensorSpec((5,), DTYPES["F32"])),
    ("e", TensorSpec((0,), DTYPES["F32"])),
]
DATA = {"a": bytes(range(24)), "b": bytes(range(20)), "e": b""}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_all(writer: SafetensorsWriter, data: dict[str, bytes] = DATA) -> None:
    for name, content in data.items():
        writer.write_at(name, 0, memoryview(content))


def write(out: Path, **options: Any) -> None:
    with SafetensorsWriter(out, ENTRIES, **options) as writer:
        write_all(writer)


def write_blocks(out: Path, blocks: list[tuple[str, int, int]], after_each: Callable[[], None] | None = None) -> None:
    with SafetensorsWriter(out, ENTRIES) as writer:
        for name, offset, count in blocks:
            writer.write_at(name, offset, memoryview(bytes(count)))
            if after_each:
                after_each()


def read(path: Path) -> dict[str, bytes]:
    with contextlib.closing(Checkpoint(path)) as source:
        content = {name: bytearray(spec.nbytes) for name, spec in source.header.items()}
        for name, buffer in content.items():
            source.read_into(memoryview(buffer), name)
    return {name: bytes(buffer) for name, buffer in content.items()}


def test_one_file_is_written_and_read_by_the_reference(tmp_path: Path) -> None:
    write(tmp_path / "out", metadata={"recipe": "linear"})
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["model.safetensors"]
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "recipe": "linear"}
        assert file.get_tensor("a").view(torch.uint8).numpy().tobytes() == DATA["a"]
        assert file.get_tensor("a").shape == (3, 4)


def test_shards_and_index_are_written(tmp_path: Path) -> None:
    write(tmp_path / "out", arrangement=Arrangement(shard_bytes=24))
    files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert names(tmp_path / "out") == files
    index = json.loads((tmp_path / "out" / files[2]).read_text())
    assert index == {"metadata": {"total_size": 44}, "weight_map": {"a": files[0], "b": files[1], "e": files[1]}}
    assert read(tmp_path / "out") == DATA
    assert set(safetensors.torch.load_file(tmp_path / "out" / files[1])) == {"b", "e"}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_goes_out_and_comes_back(dtype: Any, tmp_path: Path) -> None:
    data = bytes(index % 2 for index in range(dtype.bits))
    entries = [("w", TensorSpec((2, 4), dtype))]
    with SafetensorsWriter(tmp_path / "out", entries) as writer:
        writer.write_at("w", 0, memoryview(data))
    path = tmp_path / "out" / "model.safetensors"
    assert read(path) == {"w": data}
    ((name, info),) = safetensors.deserialize(path.read_bytes())
    assert (name, info["dtype"], info["shape"], bytes(info["data"])) == ("w", dtype.name, [2, 4], data)
    if dtype.torch_name and dtype.kind != "packed":  # the reference has no torch form of the packed ones
        tensor = safetensors.torch.load_file(path)["w"]
        assert tensor.dtype is getattr(torch, dtype.torch_name)
        assert tensor.view(torch.uint8).numpy().tobytes() == data


def test_same_tensors_give_the_same_bytes_in_any_order_of_writing(tmp_path: Path) -> None:
    write(tmp_path / "one")
    with SafetensorsWriter(tmp_path / "two", ENTRIES) as writer:
        for offset in (16, 0, 8):
            writer.write_at("a", offset, memoryview(DATA["a"])[offset : offset + 8])
        writer.write_at("b", 0, memoryview(DATA["b"]).cast("I"))
    one, two = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("positioned", [True, False])
def test_many_threads_write_at_once(positioned: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not positioned:
        monkeypatch.delattr(os, "pwrite")
    content = {name: os.urandom(40_000) for name in ("u", "v", "w")}
    entries = [(name, TensorSpec((40_000,), DTYPES["U8"])) for name in content]
    blocks = [(name, offset) for offset in range(0, 40_000, 333) for name in content]
    with (
        SafetensorsWriter(tmp_path / "out", entries, Arrangement(shard_bytes=80_000)) as writer,
        ThreadPoolExecutor(8) as pool,
    ):
        list(
            pool.map(
                lambda block: writer.write_at(*block, memoryview(content[block[0]])[block[1] : block[1] + 333]), blocks
            )
        )
    assert read(tmp_path / "out") == content


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, view, position: pwrite(file, view[:5], position))
    write(tmp_path / "out")
    assert read(tmp_path / "out") == DATA


@pytest.mark.parametrize("reason", ["absent", "unsupported"])
def test_space_need_not_be_reserved(reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if reason == "absent":
        monkeypatch.delattr(os, "posix_fallocate")
    else:
        monkeypatch.setattr(os, "posix_fallocate", unsupported)
    write(tmp_path / "out")
    assert read(tmp_path / "out") == DATA


def test_sidecars_appear_with_the_weights(tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "out", ENTRIES) as writer:
        write_all(writer)
        writer.add_file("config.json", b"{}")
        writer.add_file("empty.txt", b"")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "config.json").read_bytes() == b"{}"
    assert (tmp_path / "out" / "empty.txt").read_bytes() == b""


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b", "a\\b", "a\0b"])
def test_sidecar_with_a_path_is_refused(name: str, tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="expected a file name without folders"),
        SafetensorsWriter(tmp_path / "out", []) as writer,
    ):
        writer.add_file(name, b"")
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["model.safetensors", "model.safetensors.index.json", "config.json"])
def test_sidecar_whose_name_is_taken_is_refused(name: str, tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "out", []) as writer:
        writer.add_file("config.json", b"{}")
        with pytest.raises(OutputError, match=rf"'{name}' cannot be added to .*out twice"):
            writer.add_file(name, b"")


def test_output_may_be_one_file_by_itself(tmp_path: Path) -> None:
    out = tmp_path / "merged.safetensors"
    with SafetensorsWriter(out, ENTRIES, Arrangement(shard_bytes=1)) as writer:
        write_all(writer)
        with pytest.raises(AssertionError, match=r"'config\.json' cannot go with it"):
            writer.add_file("config.json", b"{}")
    assert names(tmp_path) == ["merged.safetensors"]
    assert read(out) == DATA
    write(out, overwrite=True)
    assert names(tmp_path) == ["merged.safetensors"]


def test_incomplete_output_is_refused_by_tensor(tmp_path: Path) -> None:
    message = "is incomplete: missing from 'a' (8 of 24 bytes), 'b' (20 of 20 bytes)"
    blocks = [("a", 0, 8), ("a", 4, 4), ("a", 16, 8)]  # bytes written again do not make up for others
    with pytest.raises(AssertionError, match=re.escape(message)):
        write_blocks(tmp_path / "out", blocks)
    assert names(tmp_path) == []


def test_long_list_of_incomplete_tensors_is_cut(tmp_path: Path) -> None:
    entries = [(f"w{number}", TensorSpec((1,), DTYPES["U8"])) for number in range(9)]
    with (
        pytest.raises(AssertionError, match=r"'w2' \(1 of 1 bytes\) and 6 more"),
        SafetensorsWriter(tmp_path / "out", entries),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "offset", "count", "message"),
    [
        ("a", -1, 1, "tensor 'a' has 24 bytes; bytes -1 to 0 lie outside"),
        ("a", 20, 5, "tensor 'a' has 24 bytes; bytes 20 to 25 lie outside"),
        ("aa", 0, 1, "the output has no tensor 'aa'"),
    ],
)
def test_writing_outside_a_tensor_is_refused(name: str, offset: int, count: int, message: str, tmp_path: Path) -> None:
    with SafetensorsWriter(tmp_path / "out", ENTRIES) as writer:
        with pytest.raises(AssertionError, match=re.escape(message)):
            writer.write_at(name, offset, memoryview(bytes(count)))
        write_all(writer)


def test_writer_takes_bytes_only_while_it_is_open(tmp_path: Path) -> None:
    writer = SafetensorsWriter(tmp_path / "out", ENTRIES)
    with pytest.raises(AssertionError, match="is not being written"):
        writer.write_at("a", 0, memoryview(b"x"))
    with writer:
        write_all(writer)
        writer.finish()
        writer.finish()
        with pytest.raises(AssertionError, match="is not being written"):
            writer.add_file("config.json", b"{}")
    assert read(tmp_path / "out") == DATA


def test_nothing_is_touched_before_the_writer_is_entered(tmp_path: Path) -> None:
    writer = SafetensorsWriter(tmp_path / "new" / "out", ENTRIES)
    assert names(tmp_path) == []
    assert [part.file for part in writer.shards] == ["model.safetensors"]
    with writer:
        assert sum(path.stat().st_size for path in tmp_path.rglob("*.safetensors")) == writer.nbytes
        write_all(writer)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("out", ["out", "new/parents/out", "one.safetensors"])
def test_exception_leaves_nothing(error: type[BaseException], out: str, tmp_path: Path) -> None:
    def stop() -> None:
        raise error

    with pytest.raises(error):
        write_blocks(tmp_path / out, [("a", 0, 24)], stop)
    assert names(tmp_path) == []


def test_parents_are_made_and_permissions_follow_the_umask(tmp_path: Path) -> None:
    umask = os.umask(0o027)
    try:
        write(tmp_path / "new" / "parents" / "out")
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "new" / "parents" / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "new" / "parents" / "out" / "model.safetensors").stat().st_mode) == 0o640


def test_long_name_of_the_output_is_fine(tmp_path: Path) -> None:
    out = tmp_path / ("é" * 127)  # 254 bytes
    write(out)
    assert read(out) == DATA


@pytest.mark.parametrize("call", ["posix_fallocate", "pwrite"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_is_an_error_with_bytes_needed_and_free(
    call: str, code: int, tmp_path: Path, monkeypatch: Any
) -> None:
    def full(*_: object) -> int:
        raise OSError(code, "No space left on device")

    writer = SafetensorsWriter(tmp_path / "out", ENTRIES)
    monkeypatch.setattr(os, call, full)
    message = rf"out: the disk is full. The output needs {writer.nbytes:,} bytes; [\d,]{{2,}} were free"
    with pytest.raises(OutputError, match=message), writer:
        write_all(writer)
    assert names(tmp_path) == []


def test_disk_that_fills_up_halfway_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    blocks = [("a", 0, 24), ("b", 0, 20)]
    with pytest.raises(OutputError, match="the disk is full"):
        write_blocks(tmp_path / "out", blocks, lambda: monkeypatch.setattr(os, "pwrite", full))
    assert names(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_disk_of_one_megabyte_is_too_small_for_two(small_disk: Path) -> None:
    with pytest.raises(OutputError, match=r"needs 2,000,\d\d\d bytes; 1,048,576 were free"):
        SafetensorsWriter(small_disk / "out", [("w", TensorSpec((2_000_000,), DTYPES["U8"]))]).__enter__()
    assert names(small_disk) == []


def test_other_errors_name_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", broken)
    with pytest.raises(OutputError, match=r"out cannot be written: .*: Input/output error"):
        write(tmp_path / "out")
    assert names(tmp_path) == []


def test_interrupt_and_kill_leave_nothing_under_the_final_name(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from cuvee.spec import DTYPES, TensorSpec\n"
        "from cuvee.writers.safetensors import SafetensorsWriter\n"
        "with SafetensorsWriter(sys.argv[1], [('w', TensorSpec((9,), DTYPES['U8']))]) as writer:\n"
        "    writer.write_at('w', 0, memoryview(b'123456789'))\n"
        "    print('written', flush=True)\n"
        "    time.sleep(60)\n"
    )
    for sent, left in ((signal.SIGINT, 0), (signal.SIGKILL, 1)):
        out = tmp_path / sent.name / "out"
        out.parent.mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", script, out], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"written\n"
            process.send_signal(sent)
            process.wait(timeout=20)
        assert not out.exists()
        assert len(names(out.parent)) == left


def test_writers_load_no_torch() -> None:
    script = "import cuvee.writers.safetensors, cuvee.writers.memory, cuvee.writers.save, cuvee.writers.sidecars, sys\n"
    script += "assert not {'torch', 'safetensors', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)

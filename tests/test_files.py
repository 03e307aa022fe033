"""Many files, few of them open."""

import io
import resource
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cuvee
from cuvee.files import AHEAD, SMALL, OpenFiles, _read_once
from cuvee.writers.save import save_state_dict


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Let this process open some hundred files only."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, len(list(Path("/proc/self/fd").iterdir())) + 150), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files the way Linux does")
def test_models_and_outputs_of_more_files_than_may_be_open_are_merged(tmp_path: Path, few_descriptors: None) -> None:
    tensors = {f"t{i:03}": torch.full((4,), float(i)) for i in range(300)}
    for name in ("a", "b"):
        save_state_dict(tmp_path / name, tensors, shard_bytes=16)
    recipe = cuvee.Recipe(
        method="linear", models=[str(tmp_path / "a"), str(tmp_path / "b")], output=cuvee.Output(shard_size=16)
    )
    cuvee.merge(recipe, tmp_path / "out")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) == 300
    merged = cuvee.open_source(tmp_path / "out")
    for name, tensor in tensors.items():
        data = bytearray(16)
        merged.read_into(memoryview(data), name)
        assert torch.equal(torch.frombuffer(data, dtype=torch.float32), tensor)


def numbered(folder: Path, count: int) -> list[Path]:
    paths = [folder / f"{i}" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(bytes([i]) * 100)
    return paths


def test_those_used_longest_ago_are_closed_first(tmp_path: Path) -> None:
    opened: list[str] = []

    def open_file(path: Path) -> io.FileIO:
        opened.append(path.name)
        return io.FileIO(path, "rb")

    paths, buffer = numbered(tmp_path, 3), memoryview(bytearray(1))
    files = OpenFiles(open_file, most=2)
    for i in (0, 1, 0, 2, 0, 1):
        assert files.read_at(paths[i], buffer, 5) == 1
        assert buffer[0] == i
    assert opened == ["0", "1", "2", "1"]
    files.close()
    with pytest.raises(OSError, match="closed"):
        files.read_at(paths[0], buffer, 0)


def test_threads_share_files_that_come_and_go(tmp_path: Path) -> None:
    paths = numbered(tmp_path, 6)
    files = OpenFiles(lambda path: io.FileIO(path, "r+b"), most=2)
    wrong: list[int] = []

    def work(turn: int) -> None:
        buffer = memoryview(bytearray(10))
        for step in range(200):
            i = (turn + step) % 6
            if files.read_at(paths[i], buffer, 10 * turn) != 10 or bytes(buffer) != bytes([i]) * 10:
                wrong.append(i)
            files.write_at(paths[i], memoryview(bytes([i]) * 10), 10 * turn)

    threads = [threading.Thread(target=work, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files.sync(paths[0])
    files.close()
    assert not wrong


def test_a_short_file_gives_what_it_has(tmp_path: Path) -> None:
    (path,) = numbered(tmp_path, 1)
    assert OpenFiles(lambda p: io.FileIO(p, "rb")).read_at(path, memoryview(bytearray(30)), 90) == 10


def test_small_reads_that_follow_each_other_are_made_together(tmp_path: Path) -> None:
    content = bytes(np.random.default_rng(0).integers(0, 256, 3 * AHEAD + 1000, np.uint8))
    path = tmp_path / "data"
    path.write_bytes(content)
    files = OpenFiles(lambda path: io.FileIO(path, "rb"))
    reads: list[int] = []
    with mock.patch("cuvee.files._read_once", lambda entry, view, at: reads.append(at) or _read_once(entry, view, at)):
        position = 0
        for step in [1, 700, SMALL, 0, 13, 5000] * 40:
            view = memoryview(bytearray(step))
            count = files.read_at(path, view, position)
            assert bytes(view[:count]) == content[position : position + step]
            assert count == min(step, len(content) - position)
            position += count
            if position == len(content):
                break
        assert position == len(content)
    assert len(reads) < 20


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 300), st.booleans()), max_size=30))
def test_any_reads_give_what_the_file_holds(reads: list[tuple[int, int, bool]]) -> None:
    content = bytes(range(256)) * 16
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / name for name in "ab"]
        for k, path in enumerate(paths):
            path.write_bytes(content[k:])
        files, position = OpenFiles(lambda path: io.FileIO(path, "rb")), 0
        for k, (jump, step, goes_on) in enumerate(reads):
            path = paths[k % 7 == 0]
            position = position if goes_on else jump
            view = memoryview(bytearray(step))
            count = files.read_at(path, view, position)
            expected = path.read_bytes()[position : position + step]
            assert (count, bytes(view[:count])) == (len(expected), expected)
            position += step
        files.close()


@pytest.mark.parametrize("back", [150, AHEAD // 2, AHEAD - 400])
@pytest.mark.parametrize("done", [0, 1, 2])
def test_small_reads_after_one_that_failed_half_way_give_what_the_file_holds(
    done: int, back: int, tmp_path: Path
) -> None:
    content = bytes(np.random.default_rng(0).integers(0, 256, 3 * AHEAD, np.uint8))
    path = tmp_path / "data"
    path.write_bytes(content)
    files, filled = OpenFiles(lambda path: io.FileIO(path, "rb")), []

    def fail(entry: Any, view: memoryview, position: int) -> int:
        if len(filled) == done:
            raise OSError(5, "the disk is tired")
        filled.append(_read_once(entry, view[: len(view) // 2], position))
        return filled[-1]

    def check(position: int) -> None:
        view = memoryview(bytearray(200))
        assert files.read_at(path, view, position) == 200
        assert bytes(view) == content[position : position + 200]

    end = 200 + AHEAD
    for position in (0, 200, end - 250):  # the second one reads ahead, as far as `end`
        check(position)
    with mock.patch("cuvee.files._read_once", fail), pytest.raises(OSError, match="tired"):
        check(end - 100)
    assert len(filled) == done
    for position in (end - back, end - back + 200, end - 100, 200, 400, end, 0):
        check(position)
    files.close()

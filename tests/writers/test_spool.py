"""Tensors that wait for the rest of an output: nothing of them has a name, and their digests are taken on the way."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cuvee.digest import Digests
from cuvee.errors import OutputError
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.spool import Spool

SPEC = TensorSpec((1000,), DTYPES["I8"])


def data(number: int) -> bytes:
    return bytes([number]) * 1000


def test_threads_write_and_what_they_wrote_is_read_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "out")

    def put(number: int) -> None:
        spool.add(str(number), SPEC)
        for offset in (500, 0):
            spool.write_at(str(number), offset, memoryview(data(number))[offset : offset + 500])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(20)))
    assert list(tmp_path.iterdir()) == []  # it has no name
    for number in range(20):
        buffer = memoryview(bytearray(600))
        spool.read_into(buffer, str(number), 400)
        assert bytes(buffer) == data(number)[400:]
    digests = Digests({"7": SPEC})
    digests.add("7", 0, memoryview(data(7)))
    assert spool.digests()["7"] == digests.of("7")
    spool.close()


def test_without_an_output_only_digests_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spool = Spool(None)
    spool.add("a", SPEC)
    spool.write_at("a", 0, memoryview(data(1)))
    assert len(spool.digests()["a"]) == 32
    assert list(tmp_path.iterdir()) == []
    spool.close()


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    class Full:
        def seek(self, position: int) -> None:
            """Find any place."""

        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    spool = Spool(tmp_path / "out")
    spool.close()
    spool._file = Full()  # type: ignore[assignment]
    spool.add("a", SPEC)
    with pytest.raises(OutputError, match=r"out cannot be written: .*: No space left on device"):
        spool.write_at("a", 0, memoryview(data(1)))

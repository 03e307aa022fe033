"""Pages of mapped files are let go, and nothing else is."""

import ctypes
import mmap
from pathlib import Path

import pytest

from cuvee.sources.pages import MappedPages

pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
NBYTES = 16 * mmap.PAGESIZE


def address_of(mapped: mmap.mmap) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(mapped))


def map_file(path: Path) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE)


@pytest.mark.parametrize("name", ["plain", "with space", "ü", "(deleted)"])
def test_pages_of_a_file_are_read_from_it_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x" * NBYTES)
    mapped = map_file(tmp_path / name)
    pages = MappedPages([tmp_path / name])
    mapped[:] = b"y" * NBYTES  # what nobody should do, and what shows which pages were dropped
    pages.let_go(address_of(mapped) + mmap.PAGESIZE + 5, 2 * mmap.PAGESIZE)
    dropped = [mapped[i * mmap.PAGESIZE : i * mmap.PAGESIZE + 1] == b"x" for i in range(16)]
    assert dropped == [False, True, True, True] + [False] * 12


def test_what_is_not_the_files_stays(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        (tmp_path / name).write_bytes(b"x" * NBYTES)
    mine, other, anonymous = map_file(tmp_path / "mine"), map_file(tmp_path / "other"), mmap.mmap(-1, NBYTES)
    pages = MappedPages([tmp_path / "mine"])
    for mapped in (mine, other, anonymous):
        mapped[:] = b"y" * NBYTES
    pages.let_go(address_of(other), NBYTES)
    pages.let_go(address_of(anonymous), NBYTES)
    pages.let_go(address_of(mine) - 1, NBYTES)  # only in part
    pages.let_go(address_of(mine), NBYTES + 1)
    assert all(mapped[:] == b"y" * NBYTES for mapped in (mine, other, anonymous))


def test_the_library_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").write_bytes(b"x" * NBYTES)
    mine = map_file(tmp_path / "mine")
    pages, address = MappedPages([tmp_path / "mine"]), address_of(mine)
    pages.let_go(address, NBYTES)
    monkeypatch.setattr(ctypes, "CDLL", None)
    pages.let_go(address, NBYTES)

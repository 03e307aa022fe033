"""A disk that fills up while a merge runs: one clear error, and when there is room again the merge goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import cuvee
from cuvee.errors import OutputError
from faults.conftest import Recipe, hidden, weights
from faults.test_resume import FINE, Write

DISK = 1_500_000  # the output takes 0.33 MB
PAGE = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system in memory."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = f"size={DISK}"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip("this machine does not let tests mount a file system")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Write a file until no page is left."""
    file = disk / "somebody's"
    with file.open("wb", buffering=0) as out:
        try:
            while True:
                out.write(bytes(PAGE))
        except OSError:
            return file


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_merge_on_a_disk_that_fills_up_goes_on_when_there_is_room(
    share: float, folder: Path, disk: Path, recipe: Write
) -> None:
    wanted: Recipe = recipe("ties", density=0.5, trim_scope="model")
    whole = cuvee.merge(wanted, folder / "whole", limits=cuvee.Limits(**FINE))
    left = [share * (whole.bytes_read + whole.bytes_written)]
    filled: list[Path] = []

    def progress(moved: int, _: int) -> None:
        left[0] -= moved
        if left[0] < 0 and not filled:
            filled.append(fill(disk))

    with pytest.raises(OutputError, match=r"disk/.*out.*: the disk is full\..*Free some space") as caught:
        cuvee.merge(wanted, disk / "out", limits=cuvee.Limits(**FINE), progress=progress)
    assert not (disk / "out").exists()
    filled[0].unlink()
    rest = cuvee.merge(wanted, disk / "out", limits=cuvee.Limits(**FINE))
    if "the same merge goes on from there" in "".join(getattr(caught.value, "__notes__", [])):
        assert rest.bytes_read < whole.bytes_read
    else:
        assert share == 0.1
    assert weights(disk / "out") == weights(folder / "whole")
    assert hidden(disk) == []
    assert [path.name for path in disk.iterdir()] == ["out"]

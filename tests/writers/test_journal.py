"""What is done is remembered, whatever the moment at which the process ended."""

import os
from pathlib import Path

import pytest

from cuvee.errors import OutputError
from cuvee.writers.journal import Journal

OPEN = Path("/proc/self/fd")
ENTRIES = [{"merged": [0, 0]}, {"merged": [7, 1], "notes": [["läyer\n", "text"]]}, {"sum": "AAAA"}]


def written(path: Path, run: str = "r") -> None:
    journal = Journal(path, run)
    for entry in ENTRIES:
        journal.add(entry)
    journal.close()


def test_entries_are_found_again_in_their_order(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    journal = Journal(tmp_path / "journal", "r")
    assert list(journal.entries) == ENTRIES
    assert not journal.is_empty


@pytest.mark.skipif(not OPEN.exists(), reason="the system does not say what is open")
@pytest.mark.parametrize("fails", ["write", "truncate"])
def test_a_journal_that_cannot_be_begun_leaves_no_file_open(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, fails, refuse)
    with pytest.raises(OSError, match="No space left"):
        Journal(tmp_path / "journal", "r")
    assert str(tmp_path / "journal") not in [os.path.realpath(each) for each in OPEN.iterdir()]


def test_another_run_finds_nothing_and_removes_what_was_there(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    other = Journal(tmp_path / "journal", "another")
    assert list(other.entries) == []
    assert other.is_empty
    other.close()
    assert list(Journal(tmp_path / "journal", "r").entries) == []


def test_a_journal_cut_off_anywhere_keeps_its_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    written(path)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        journal = Journal(path, "r")
        lines = sum(end <= cut for end in ends)
        assert list(journal.entries) == ENTRIES[: max(lines - 1, 0)]
        journal.add({"more": cut})
        journal.close()
        again = Journal(path, "r")
        assert list(again.entries) == [*ENTRIES[: max(lines - 1, 0)], {"more": cut}]
        again.close()


@pytest.mark.parametrize(
    "damage", [b"\0" * 40, b"[1]\n", b"\xff\xfe\n", b"{", b'{"run": "r"}\nnonsense\n{"merged": [1, 1]}\n']
)
def test_a_damaged_journal_is_read_up_to_the_damage(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal").write_bytes(damage)
    assert list(Journal(tmp_path / "journal", "r").entries) == []


def test_a_journal_that_cannot_be_written_says_so() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    journal = object.__new__(Journal)

    journal._path, journal._run, journal.is_empty = full, "r", True
    journal._descriptor = os.open(full, os.O_WRONLY)
    with pytest.raises(OutputError, match="full cannot be written: the disk is full"):
        journal.add({"merged": [0, 0]})
    journal.close()

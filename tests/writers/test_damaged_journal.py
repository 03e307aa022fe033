"""Whatever an unfinished run has left, or someone has done to it, a journal opens with whole entries of its own run."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from cuvee.writers.journal import Journal

RUN = "run of this test"
ENTRIES: list[Any] = [{"merged": [0, 1], "notes": []}, {"asked": [3, 0], "sum": "AAAA", "notes": [["w", "ü\n"]]}, {}]


def written(path: Path, entries: list[Any] = ENTRIES, run: str = RUN) -> Path:
    path.unlink(missing_ok=True)
    journal = Journal(path, run)
    for entry in entries:
        journal.add(entry)
    journal.close()
    return path


def opened(path: Path, run: str = RUN) -> list[Any]:
    """Open a journal and return what it has; then add to it, and see that both are there the next time."""
    journal = Journal(path, run)
    found = list(journal.entries)
    assert journal.is_empty == (not found)
    journal.add({"added": 1})
    journal.close()
    again = Journal(path, run)
    assert list(again.entries) == [*found, {"added": 1}]
    again.close()
    return found


def test_entries_are_found_again(tmp_path: Path) -> None:
    assert opened(written(tmp_path / "journal")) == ENTRIES


def test_journal_of_another_run_is_thrown_away(tmp_path: Path) -> None:
    assert opened(written(tmp_path / "journal"), "another run") == []


def test_journal_may_end_anywhere(tmp_path: Path) -> None:
    raw = written(tmp_path / "journal").read_bytes()
    ends = [len(b"".join(raw.splitlines(keepends=True)[: k + 1])) for k in range(len(ENTRIES) + 1)]
    for cut in range(len(raw)):
        (tmp_path / "journal").write_bytes(raw[:cut])
        num_whole = sum(end <= cut for end in ends[1:]) if cut >= ends[0] else 0
        assert opened(tmp_path / "journal") == ENTRIES[:num_whole]


@given(st.data())
def test_damage_costs_what_follows_it_and_no_more(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = written(tmp_path_factory.getbasetemp() / "journal")
    raw = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(raw) - 1))
    kind = data.draw(st.sampled_from(["flip", "zeros", "insert", "delete"]))
    if kind == "flip":
        raw[place] ^= data.draw(st.integers(1, 255))
    elif kind == "zeros":  # what a file system may have in place of what was not on the disk yet
        raw[place:] = bytes(len(raw) - place)
    elif kind == "insert":
        raw[place:place] = data.draw(st.binary(min_size=1, max_size=9))
    else:
        del raw[place : place + data.draw(st.integers(1, 9))]
    path.write_bytes(raw)
    found = opened(path)
    assert found == ENTRIES[: len(found)]


@given(st.binary(max_size=300))
def test_any_bytes_are_a_journal_of_nothing(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "journal"
    path.write_bytes(raw)
    assert opened(path) == []


@pytest.mark.parametrize(
    "text",
    [b"[" * 100_000, b'{"a":' * 100_000, b"[1]", b"7", b'"x"', b"\xff", b"9" * 5000, b""],
    ids=["lists", "mappings", "list", "number", "text", "no text", "digits", "nothing"],
)
def test_line_with_the_right_hash_may_still_be_no_entry(tmp_path: Path, text: bytes) -> None:
    path = written(tmp_path / "journal")
    with path.open("ab") as file:
        file.write(xxhash.xxh3_64_hexdigest(text).encode() + b" " + text + b"\n")
    assert opened(path) == ENTRIES


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.parent / "other"), Path.mkdir])
def test_what_is_no_ordinary_file_is_refused_and_left_alone(tmp_path: Path, make: Any) -> None:
    (tmp_path / "other").write_text("mine")
    make(tmp_path / "journal")
    with pytest.raises(OSError, match="journal"):
        Journal(tmp_path / "journal", RUN)
    assert (tmp_path / "other").read_text() == "mine"


def test_lines_are_json_after_their_hash(tmp_path: Path) -> None:
    lines = written(tmp_path / "journal").read_bytes().splitlines()
    assert [json.loads(line[17:]) for line in lines] == [{"run": RUN}, *ENTRIES]

"""A merge that was stopped goes on, and comes to the same bytes; what cannot go on begins anew, and says so."""

import errno
import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

import cuvee
from cuvee import files
from cuvee.errors import CuveeWarning, OutputError, SourceError
from cuvee.execute import history
from faults.conftest import FINE, Stop, Write, hidden, stop, weights

METHODS: list[tuple[str, dict[str, Any]]] = [
    ("linear", {}),
    ("ties", {"density": 0.5}),
    ("ties", {"density": 0.5, "trim_scope": "model"}),
    ("ties", {"density": 0.5, "trim_scope": "row"}),
    ("dare_ties", {"density": 0.5}),
    ("breadcrumbs", {}),
    ("mlerp", {"scope": "model"}),
]
each_method = pytest.mark.parametrize(("method", "parameters"), METHODS, ids=[f"{m}-{p}" for m, p in METHODS])


@each_method
def test_an_interrupted_merge_goes_on_and_gives_the_same_bytes(
    method: str, parameters: dict[str, Any], folder: Path, recipe: Write
) -> None:
    wanted = recipe(method, **parameters)
    whole = cuvee.merge(wanted, folder / "whole", limits=cuvee.Limits(**FINE))
    moved = whole.bytes_read + whole.bytes_written
    went_on = 0
    for share in (0.3, 0.6, 0.9, 0.97):
        out = folder / f"out-{share}"
        error = stop(wanted, out, int(share * moved))
        assert not out.exists()
        if notes := getattr(error, "__notes__", []):
            assert "the same merge goes on from there" in notes[0]
            assert hidden(folder) == [f".{out.name}.unfinished"]
        went_on += bool(notes)
        rest = cuvee.merge(wanted, out, limits=cuvee.Limits(workers=1, block_bytes=1 << 20))
        assert hidden(folder) == []
        assert weights(out) == weights(folder / "whole")
        told = [note for note in rest.notes if note.startswith("Went on")]
        assert [note for note in rest.notes if note not in told] == whole.notes
        assert bool(told) == bool(notes)
        if told:
            kept = whole.bytes_written - rest.bytes_written
            assert told[0].startswith(f"Went on from earlier work: {kept:,} of {whole.bytes_written:,} bytes")
            assert told[0] not in (out / "README.md").read_text()
        assert list(rest.inputs.values()) == list(whole.inputs.values())
        assert rest.outputs == whole.outputs
        if notes:
            assert rest.bytes_written < whole.bytes_written or rest.bytes_read < whole.bytes_read
    assert went_on >= 2


def test_passes_that_were_over_are_not_taken_again(folder: Path, recipe: Write) -> None:
    wanted = recipe("ties", density=0.5, trim_scope="model")
    whole = cuvee.merge(wanted, folder / "whole", limits=cuvee.Limits(**FINE, memory=None))
    stop(wanted, folder / "out", whole.bytes_read + whole.bytes_written // 2)
    entries = (folder / ".out.unfinished" / "journal").read_text().splitlines()
    assert sum("asked" in json.loads(line.split(" ", 1)[1]) for line in entries) >= 1
    rest = cuvee.merge(wanted, folder / "out", limits=cuvee.Limits(**FINE))
    assert rest.bytes_written < whole.bytes_written


def test_a_merge_that_had_done_nothing_leaves_nothing(folder: Path, recipe: Write) -> None:
    error = stop(recipe(), folder / "new" / "out", 0)
    assert not getattr(error, "__notes__", [])
    assert not (folder / "new").exists()


def test_several_outputs_go_on_each_by_itself(folder: Path, recipe: Write) -> None:
    recipes = {folder / "one": recipe("linear"), folder / "two.safetensors": recipe("ties", density=0.3)}
    whole = {folder / "whole": recipe("linear"), folder / "whole.safetensors": recipe("ties", density=0.3)}
    moved = cuvee.merge_variants(whole)
    with pytest.raises(KeyboardInterrupt):
        cuvee.merge_variants(recipes, progress=Stop(int(0.8 * (moved.bytes_read + moved.bytes_written))))
    assert hidden(folder) == [".one.unfinished", ".two.safetensors.unfinished"]
    shutil.rmtree(folder / ".one.unfinished")  # one of them is lost: that one is made anew
    cuvee.merge_variants(recipes)
    assert list(weights(folder / "one").values()) == list(weights(folder / "whole").values())
    assert list(weights(folder / "two.safetensors").values()) == list(weights(folder / "whole.safetensors").values())


def fail_late(monkeypatch: pytest.MonkeyPatch, name: str, number: int, calls: int) -> Callable[[int, int], None]:
    """Let the system's reads or writes fail once the progress that is returned has been told of 900,000 bytes.

    The last of `calls` waits for that: reads run ahead of what is told, and on a slow machine all may be over by then.
    """
    real, left, made, is_late = getattr(files, name), [900_000], count(1), Event()

    def told(moved: int, _: int) -> None:
        left[0] -= moved
        if left[0] < 0:
            is_late.set()

    def failing(*arguments: Any) -> int:
        if next(made) >= calls:
            assert is_late.wait(60)
        if is_late.is_set():
            raise OSError(number, os.strerror(number))
        return int(real(*arguments))

    monkeypatch.setattr(files, name, failing)
    return told


@pytest.mark.parametrize(
    ("name", "number", "kind", "said"),
    [
        ("_read_once", errno.EIO, SourceError, r"model.safetensors: tensor '.*Input/output error"),
        ("_write_once", errno.ENOSPC, OutputError, "the disk is full"),
    ],
)
def test_after_an_error_of_the_system_it_goes_on(
    name: str,
    number: int,
    kind: type[Exception],
    said: str,
    folder: Path,
    recipe: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls, real = count(), getattr(files, name)
    with monkeypatch.context() as patch:
        patch.setattr(files, name, lambda *arguments: (next(calls), real(*arguments))[1])
        cuvee.merge(recipe("linear"), folder / "whole", limits=cuvee.Limits(**FINE))
    with monkeypatch.context() as patch:
        late = fail_late(patch, name, number, next(calls))
        with pytest.raises(kind, match=said) as caught:
            cuvee.merge(recipe("linear"), folder / "out", limits=cuvee.Limits(**FINE), progress=late)
    assert "the same merge goes on from there" in caught.value.__notes__[0]
    assert not (folder / "out").exists()
    rest = cuvee.merge(recipe("linear"), folder / "out", limits=cuvee.Limits(**FINE))
    assert weights(folder / "out") == weights(folder / "whole")
    assert 0 < rest.bytes_written < 9 * 5 * 4096 * 2


def change(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-2] + b"\x01\x02")


def vanish(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    shutil.copy(path, path.with_suffix(".new"))
    path.with_suffix(".new").rename(path)


@pytest.mark.parametrize("harm", [change, vanish, replace])
def test_an_input_that_changes_meanwhile_is_noticed(harm: Callable[[Path], None], folder: Path, recipe: Write) -> None:
    victim = folder / "m2" / "model.safetensors"
    harmed = []

    def progress(*_: int) -> None:
        if not harmed:
            harmed.append(True)
            harm(victim)

    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(SourceError, match=r"m2/model.safetensors.*(changed|was there when the merge began)") as caught:
        cuvee.merge(recipe(), folder / "out", limits=cuvee.Limits(workers=1), progress=progress)
    assert not getattr(caught.value, "__notes__", [])
    assert sorted(path.name for path in folder.iterdir()) == before


def test_what_was_begun_with_other_inputs_is_removed_and_said(folder: Path, recipe: Write) -> None:
    stop(recipe("linear"), folder / "out", 900_000)
    assert hidden(folder) == [".out.unfinished"]
    change(folder / "m2" / "model.safetensors")
    with pytest.warns(CuveeWarning, match="Removed what an interrupted run had left of .*out"):
        cuvee.merge(recipe("linear"), folder / "out")
    cuvee.merge(recipe("linear"), folder / "anew")
    assert weights(folder / "out") == weights(folder / "anew")


def test_nothing_is_said_of_the_same_merge_that_had_done_nothing(folder: Path, recipe: Write) -> None:
    stop(recipe("linear"), folder / "out", 900_000)
    journal = folder / ".out.unfinished" / "journal"
    journal.write_bytes(journal.read_bytes().splitlines(keepends=True)[0])  # as if killed right after it had begun
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rest = cuvee.merge(recipe("linear"), folder / "out")
    assert rest.bytes_written == cuvee.merge(recipe("linear"), folder / "anew").bytes_written


@pytest.mark.parametrize("lost", ["model.safetensors", "journal", "all of output"])
def test_what_was_damaged_meanwhile_is_made_anew(lost: str, folder: Path, recipe: Write) -> None:
    cuvee.merge(recipe("linear"), folder / "whole")
    stop(recipe("linear"), folder / "out", 900_000)
    unfinished = folder / ".out.unfinished"
    if lost == "all of output":
        shutil.rmtree(unfinished / "output")
    elif lost == "journal":
        (unfinished / "journal").write_bytes(b"\0" * 100)
    else:
        os.truncate(unfinished / "output" / lost, 1000)
    with pytest.warns(CuveeWarning, match="Removed") if lost != "all of output" else pytest.MonkeyPatch.context():
        rest = cuvee.merge(recipe("linear"), folder / "out")
    assert rest.bytes_written == sum(spec for spec in [8 * 5 * 4096 * 2, 4 * 9 * 2, 7 * 8])
    assert weights(folder / "out") == weights(folder / "whole")


def test_two_runs_into_one_output_at_once_are_refused(folder: Path, recipe: Write) -> None:
    reached, free = threading.Event(), threading.Event()

    def wait(*_: int) -> None:
        reached.set()
        free.wait(20)

    first = threading.Thread(target=lambda: cuvee.merge(recipe(), folder / "out", progress=wait))
    first.start()
    try:
        assert reached.wait(20)
        for other in (recipe(), recipe("linear")):
            with pytest.raises(OutputError, match="is being written by another process"):
                cuvee.merge(other, folder / "out")
    finally:
        free.set()
        first.join()
    assert (folder / "out" / "model.safetensors").exists()
    assert hidden(folder) == []


def test_a_merge_of_what_lies_in_memory_never_goes_on(folder: Path) -> None:
    wanted = {"cuvee": 1, "method": "linear", "models": [{"w": torch.randn(9 * 4096)} for _ in range(2)]}
    limits = cuvee.Limits(block_bytes=16384, workers=1)
    with pytest.raises(KeyboardInterrupt) as caught:
        cuvee.merge(wanted, folder / "out", limits=limits, progress=Stop(200_000))
    assert not getattr(caught.value, "__notes__", [])
    assert hidden(folder) == []


def test_after_a_start_of_the_system_a_merge_begins_anew(
    folder: Path, recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop(recipe("linear"), folder / "out", 900_000)
    monkeypatch.setattr(history, "boot_name", lambda: "another time")
    with pytest.warns(CuveeWarning, match="before the machine was started anew"):
        cuvee.merge(recipe("linear"), folder / "out")


def test_where_a_start_of_the_system_would_pass_unnoticed_nothing_is_kept(
    folder: Path, recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "boot_name", lambda: "")
    assert not getattr(stop(recipe("linear"), folder / "out", 900_000), "__notes__", [])
    assert hidden(folder) == []

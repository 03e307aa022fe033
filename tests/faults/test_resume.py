"""A merge that was stopped goes on, and comes to the same bytes; what cannot go on begins anew, and says so."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee
from cuvee import files
from cuvee.errors import CuveeWarning, OutputError, SourceError
from cuvee.execute import history
from cuvee.execute.verify import verify
from cuvee.methods import declare as methods
from cuvee.methods.registry import find_method
from cuvee.writers.staging import Staging
from faults.conftest import Recipe, hidden, weights

Write = Callable[..., Recipe]
FINE = {"block_bytes": 8192, "workers": 2}
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


class Stop:
    """Interrupts a merge after some bytes."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.left = after
        self.error = error or KeyboardInterrupt()

    def __call__(self, moved: int, _: int) -> None:
        self.left -= moved
        if self.left < 0:
            raise self.error


def stop(recipe: Recipe, out: Path, after: int) -> BaseException:
    with pytest.raises(KeyboardInterrupt) as caught:
        cuvee.merge(recipe, out, limits=cuvee.Limits(**FINE), progress=Stop(after))
    return caught.value


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


def calls(monkeypatch: pytest.MonkeyPatch, name: str, fails_at: int = 0, number: int = 0) -> list[int]:
    """Count the system's reads or writes, and let one fail."""
    real, seen = getattr(files, name), [0]

    def counted(*arguments: Any) -> int:
        seen[0] += 1
        if seen[0] == fails_at:
            raise OSError(number, os.strerror(number))
        return int(real(*arguments))

    monkeypatch.setattr(files, name, counted)
    return seen


@pytest.mark.parametrize(
    ("name", "number", "kind", "said"),
    [
        ("_read_once", errno.EIO, SourceError, "model.safetensors: tensor 'layers.*Input/output error"),
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
    with monkeypatch.context() as patch:
        seen = calls(patch, name)
        cuvee.merge(recipe("linear"), folder / "whole", limits=cuvee.Limits(**FINE))
    with monkeypatch.context() as patch:
        calls(patch, name, int(0.8 * seen[0]), number)
        with pytest.raises(kind, match=said) as caught:
            cuvee.merge(recipe("linear"), folder / "out", limits=cuvee.Limits(**FINE))
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


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
def test_after_an_error_between_two_outputs_the_same_merge_goes_on(
    error: BaseException, folder: Path, recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {folder / "one": recipe("linear"), folder / "two.safetensors": recipe("ties", density=0.3)}
    real, published = Staging.publish, []

    def publish(staging: Staging, **options: Any) -> None:
        if published:
            raise error
        published.append(staging)
        real(staging, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "publish", publish)
        with pytest.raises((OutputError, KeyboardInterrupt)) as caught:
            cuvee.merge_variants(wanted)
    assert all("the same merge goes on from there" in note for note in caught.value.__notes__)
    assert [path.name for path in wanted if path.exists()] == ["one"]
    one = weights(folder / "one")
    assert cuvee.merge_variants(wanted).bytes_written == 0
    assert weights(folder / "one") == one
    assert (folder / "two.safetensors").exists()
    assert hidden(folder) == []


def test_after_an_error_that_lets_nothing_go_on_what_stands_stays_and_nothing_else(
    folder: Path, recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {folder / "one": recipe("linear"), folder / "two": recipe("ties", density=0.3)}
    real = Staging.publish

    def publish(staging: Staging, **options: Any) -> None:
        if staging.out.name == "two":
            (folder / "two").write_text("mine")
        real(staging, **options)

    monkeypatch.setattr(Staging, "publish", publish)
    with pytest.raises(OutputError, match="two exists and is not a folder"):
        cuvee.merge_variants(wanted)
    assert (folder / "two").read_text() == "mine"
    assert (folder / "one" / "model.safetensors").exists()
    assert hidden(folder) == []


OWN = """
from cuvee.methods.declare import Weights, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand


@method()
def of_my_own(weights: Weights) -> Operand:
    \"\"\"Add up.\"\"\"
    return weighted_sum(weights, [FACTOR] * len(weights))
"""
MADE = """
from cuvee.methods.declare import Weights, method
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.operands import Operand


def make(factor):
    def of_my_own(weights: Weights) -> Operand:
        \"\"\"Add up.\"\"\"
        return weighted_sum(weights, [factor] * len(weights))

    method()(of_my_own)


make(FACTOR)
"""


@pytest.fixture
def declare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float, str], None]:
    """Return a function that declares a method of one's own, as the import of its file does."""
    find_method("linear")  # all others are declared before
    monkeypatch.setattr(methods, "_DECLARED", dict(methods._DECLARED))

    def declared(factor: float, text: str = OWN) -> None:
        methods._DECLARED.pop("of_my_own", None)
        file = folder / "mine.py"
        file.write_text(text.replace("FACTOR", str(factor)))
        exec(compile(file.read_text(), file, "exec"), {"__name__": "mine"})

    return declared


def begin_with_own(folder: Path, recipe: Write) -> Recipe:
    wanted = {key: value for key, value in recipe("of_my_own").items() if key != "base"}
    with pytest.raises(KeyboardInterrupt):
        cuvee.merge(wanted, folder / "out", limits=cuvee.Limits(**FINE), progress=Stop(900_000))
    return wanted


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_a_merge_with_a_method_of_ones_own_goes_on_if_its_file_has_not_changed(
    factor: float, folder: Path, recipe: Write, declare: Callable[..., None]
) -> None:
    declare(0.25)
    wanted = begin_with_own(folder, recipe)
    assert hidden(folder) == [".out.unfinished"]
    declare(factor)
    with pytest.warns(CuveeWarning, match="Removed") if factor != 0.25 else pytest.MonkeyPatch.context():
        rest = cuvee.merge(wanted, folder / "out")
    whole = cuvee.merge(wanted, folder / "whole")
    assert weights(folder / "out") == weights(folder / "whole")
    assert (rest.bytes_written < whole.bytes_written) == (factor == 0.25)


def test_a_merge_with_a_method_that_no_file_tells_of_does_not_go_on(
    folder: Path, recipe: Write, declare: Callable[..., None]
) -> None:
    declare(0.25, MADE)
    begin_with_own(folder, recipe)
    assert hidden(folder) == []
    declare(0.25)
    (folder / "mine.py").unlink()
    begin_with_own(folder, recipe)
    assert hidden(folder) == []


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_exchange_that_was_cut_off_is_ended(moment: str, folder: Path, recipe: Write) -> None:
    cuvee.merge(recipe("linear"), folder / "out")
    before = weights(folder / "out")
    stop_with = recipe("ties", density=0.4)
    with pytest.raises(KeyboardInterrupt):
        cuvee.merge(stop_with, folder / "out", overwrite=True, progress=Stop(900_000), limits=cuvee.Limits(**FINE))
    unfinished = folder / ".out.unfinished"
    if moment == "before":  # the old output was moved away, and the new one not yet put in its place
        (folder / "out").rename(unfinished / "replaced")
    else:  # the new one is in its place, the old one is still there
        shutil.copytree(folder / "out", unfinished / "replaced")
    cuvee.merge(stop_with, folder / "out", overwrite=True)
    cuvee.merge(stop_with, folder / "anew")
    assert weights(folder / "out") == weights(folder / "anew") != before
    assert hidden(folder) == []


DIES = """
import json, os, sys
import cuvee
from cuvee.execute import run
from cuvee.plan import planner
from cuvee.writers.staging import Staging

planner.CELL, run.CELL = 4096, 1
calls, real = [0], getattr(Staging, sys.argv[1])

def dying(*arguments, **options):
    calls[0] += 1
    if calls[0] == int(sys.argv[2]):
        os._exit(9)
    return real(*arguments, **options)

setattr(Staging, sys.argv[1], dying)
cuvee.merge_variants(json.loads(sys.argv[3]), overwrite=len(sys.argv) > 4)
"""


def die(recipes: dict[str, Recipe], at: str, call: int, *options: str) -> None:
    """Merge in a process of its own, which dies at a call of the staging."""
    command = [sys.executable, "-c", DIES, at, str(call), json.dumps(recipes), *options]
    assert subprocess.run(command).returncode == 9


@pytest.mark.parametrize(("at", "call"), [("publish", 1), ("publish", 2), ("discard", 1)])
def test_a_merge_killed_while_its_outputs_are_put_in_place_is_ended(
    at: str, call: int, folder: Path, recipe: Write
) -> None:
    wanted = {str(folder / "one"): recipe("linear"), str(folder / "two.safetensors"): recipe("ties", density=0.3)}
    die(wanted, at, call)
    rest = cuvee.merge_variants(wanted)
    assert rest.bytes_written == 0
    assert hidden(folder) == []
    whole = {folder / "whole": recipe("linear"), folder / "whole.safetensors": recipe("ties", density=0.3)}
    cuvee.merge_variants(whole)
    assert list(weights(folder / "one").values()) == list(weights(folder / "whole").values())
    assert list(weights(folder / "two.safetensors").values()) == list(weights(folder / "whole.safetensors").values())
    for out in ("one", "two.safetensors"):
        assert {finding.state for finding in verify(folder / out, replay=True)} == {"same"}


@pytest.mark.parametrize("changed", ["output", "recipe"])
def test_what_was_put_in_place_stays_if_it_or_the_recipe_has_changed(changed: str, folder: Path, recipe: Write) -> None:
    die({str(folder / "out"): recipe("linear")}, "discard", 1)
    if changed == "output":
        (folder / "out" / "README.md").write_text("mine")
    before = weights(folder / "out")
    with pytest.raises(OutputError, match="out exists already"):
        cuvee.merge(recipe("linear" if changed == "output" else "ties"), folder / "out")
    assert weights(folder / "out") == before


def test_overwriting_that_was_killed_at_its_end_is_ended(folder: Path, recipe: Write) -> None:
    out = folder / "out.safetensors"
    cuvee.merge(recipe("linear"), out)
    die({str(out): recipe("ties")}, "discard", 1, "overwrite")
    after = weights(out)
    assert cuvee.merge(recipe("ties"), out, overwrite=True).bytes_written == 0
    assert weights(out) == after
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

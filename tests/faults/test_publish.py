"""A merge that is stopped while its outputs are put in place is ended by the same command."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cuvee
from cuvee.errors import OutputError
from cuvee.execute.verify import verify
from cuvee.writers.staging import Staging
from faults.conftest import FINE, Recipe, Stop, Write, hidden, weights


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

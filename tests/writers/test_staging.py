"""The hidden folder beside an output: whose it is, and what a process that ends leaves in it."""

import errno
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import CuveeWarning, OutputError
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.staging import Staging

ENTRIES = [("w", TensorSpec((4,), DTYPES["U8"]))]
CHANGES = "mkdir", "rename", "replace", "rmdir", "unlink"  # all by which the system changes names in a folder


class Killed(BaseException):
    """Stands for the end of a process: nothing that would catch it does anything any more."""


def at_each_change(patch: pytest.MonkeyPatch, do: Callable[[], object]) -> None:
    """Do something before each change of a name in a folder."""

    def then(real: Callable[..., object]) -> Callable[..., object]:
        def changed(*arguments: Any, **options: Any) -> object:
            do()
            return real(*arguments, **options)

        return changed

    for name in CHANGES:
        patch.setattr(os, name, then(getattr(os, name)))


def kill_at(patch: pytest.MonkeyPatch, number: int, error: OSError | None = None) -> None:
    """Let this process make only some changes from now on; or, with an error, let one fail."""
    left = iter(range(number))
    errors = iter([error])

    def end() -> None:
        if next(left, None) is not None:
            return
        if error is None:
            raise Killed
        if next(errors, None):
            raise error

    at_each_change(patch, end)


def write(
    out: Path,
    data: bytes,
    *,
    patch: pytest.MonkeyPatch | None = None,
    at: int = 0,
    error: OSError | None = None,
    **options: Any,
) -> None:
    """Write an output, as far as a process comes that is killed at a change after everything was handed over.

    With an error, only this one change fails.
    """
    writer = SafetensorsWriter(out, ENTRIES, run=data.decode(), **options)
    try:
        with writer:
            writer.write_at("w", 0, memoryview(data))
            writer.journal.add({"done": 1})
            writer.add_file(f"{out.stem}.cuvee.json", b'{"format": 1, "output": "%s"}' % data)
            if patch is not None:
                kill_at(patch, at, error)
    finally:
        writer._staging._release()  # the system does


@contextmanager
def unless_it_stands() -> Iterator[None]:
    """Let a run be refused whose output is whole, with nothing left beside it."""
    try:
        yield
    except OutputError as error:
        if "exists already" not in str(error):
            raise


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("kind", ["link", "file", "folder of somebody else"])
def test_hidden_folder_that_is_none_of_the_user_is_refused_and_stays(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thesis = tmp_path / "project" / "output" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("ten years")
    root = tmp_path / ".out.unfinished"
    if kind == "link":
        root.symlink_to("project")
    elif kind == "file":
        root.write_text("mine")
    else:
        (tmp_path / "project").rename(root)
        thesis = root / "output" / "thesis.tex"
        monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    before = sorted(tmp_path.rglob("*"))
    staging = Staging(tmp_path / "out")
    with pytest.raises(OutputError, match=r"\.out\.unfinished is not a folder of yours"):
        staging.claim("run")
    staging.discard()
    assert sorted(tmp_path.rglob("*")) == before
    assert thesis.read_text() == "ten years"


def told(out: Path) -> set[bytes]:
    """Return what the weights of an output hold, and what its record says of them."""
    folder = out if out.suffix == "" else out.parent
    weights = out / "model.safetensors" if out.suffix == "" else out
    record = folder / f"{out.stem}.cuvee.json"
    return {weights.read_bytes()[-4:], record.read_bytes()[-6:-2]}


@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_process_killed_at_any_change_while_its_output_is_put_in_place_ends_the_next_time(
    name: str, tmp_path: Path
) -> None:
    for at in count():
        out = tmp_path / str(at) / name
        with pytest.MonkeyPatch.context() as patch:
            try:
                write(out, b"new!", patch=patch, at=at)
            except Killed:
                pass
            else:
                break
        with unless_it_stands():
            write(out, b"new!")
        assert told(out) == {b"new!"}
        assert names(out.parent) == ([name] if name == "out" else ["out.cuvee.json", name])
    assert at >= 4


def begin_another_run(out: Path) -> None:
    """Take over what was left, as a run to the same place does that then fails."""
    staging = Staging(out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CuveeWarning)  # it removes what was done
        staging.claim("another run")
    staging.discard()


def seen(folder: Path) -> list[str]:
    return [name for name in names(folder) if not name.startswith(".")]


@pytest.mark.parametrize("old", [b"old!", None])
@pytest.mark.parametrize("name", ["out", "out.safetensors"])
def test_what_stood_there_stands_there_again_after_any_change_has_failed(
    name: str, old: bytes | None, tmp_path: Path
) -> None:
    refused = 0
    for at in count():
        out = tmp_path / str(at) / name
        out.parent.mkdir()
        if old is not None:
            write(out, old)
        before = names(out.parent)
        error = OSError(errno.EIO, "Input/output error")
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            warnings.simplefilter("ignore", CuveeWarning)  # what was replaced may not be removed
            try:
                write(out, b"new!", patch=patch, at=at, error=error, overwrite=True)
            except OutputError:
                refused += 1
                assert seen(out.parent) == before
                assert old is None or told(out) == {old}
            else:
                assert told(out) == {b"new!"}
        begin_another_run(out)
        assert not before or told(out) in ({old}, {b"new!"})
        if error.__traceback__ is None:  # there were no more changes
            break
    assert refused >= (1 if name == "out" and old is None else 2)


@pytest.mark.parametrize("old", [b"old!", None])
def test_process_killed_while_a_file_is_exchanged_leaves_old_or_new_to_the_next_one(
    old: bytes | None, tmp_path: Path
) -> None:
    found: list[bytes | None] = []
    for at in count():
        out = tmp_path / str(at) / "out.safetensors"
        out.parent.mkdir()
        if old is not None:
            write(out, old)
        with pytest.MonkeyPatch.context() as patch:
            try:
                write(out, b"new!", patch=patch, at=at, overwrite=True)
            except Killed:
                pass
            else:
                break
        begin_another_run(out)
        left = names(out.parent)
        assert left == (["out.cuvee.json", "out.safetensors"] if out.exists() else [])
        assert not left or len(told(out)) == 1
        found.append(told(out).pop() if left else None)
    assert found == sorted(found, key=lambda each: each == b"new!")
    assert {*found} == {old, b"new!"}


def test_record_of_somebody_else_stays_when_an_exchange_is_ended(tmp_path: Path) -> None:
    out, record = tmp_path / "out.safetensors", tmp_path / "out.cuvee.json"
    at = iter(count())
    while not record.exists():  # killed between the record and the weights
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            write(out, b"new!", patch=patch, at=next(at))
    assert not out.exists()
    record.unlink()
    record.write_text("mine")
    begin_another_run(out)
    assert record.read_text() == "mine"


def test_what_could_not_be_put_back_is_told_and_put_back_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.safetensors"
    write(out, b"old!")

    def fail(_: object, place: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(place))

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(OutputError, match="Input/output error"), pytest.warns(CuveeWarning, match="not put back"):
            write(out, b"new!", overwrite=True)
    begin_another_run(out)
    assert told(out) == {b"old!"}
    assert names(tmp_path) == ["out.cuvee.json", "out.safetensors"]


def test_what_another_process_begins_while_one_gives_up_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for at in count():
        one, other = Staging(tmp_path / str(at) / "out"), Staging(tmp_path / str(at) / "out")
        one.claim("one").add({"done": 1})
        (one.folder / "model.safetensors").touch()
        moments = iter(range(at + 1))

        def come(moments: Any = moments, other: Staging = other, at: int = at) -> None:
            if next(moments, None) == at:
                with suppress(OutputError):  # it is locked still
                    other.claim("other")
                    (other.folder / "model.safetensors").write_text("other")

        with monkeypatch.context() as patch:
            at_each_change(patch, come)
            one.discard()
        begun, over = other._lock is not None, next(moments, None) is not None
        if begun:
            assert (other.folder / "model.safetensors").read_text() == "other"
            with pytest.raises(OutputError, match="is being written by another process"):
                Staging(other.out).claim("third")
            assert names(other.root.parent) == [".out.unfinished"]
            other.discard()
        assert not other.root.exists()
        if over:
            break
    assert at >= 4

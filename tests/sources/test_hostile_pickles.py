"""Pickles made to do harm: nothing they name is run; whatever the bytes are, the answer is tensors or a CuveeError."""

import contextlib
import io
import pickle
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import CuveeError, CuveeWarning, FormatError, SourceError, UnsupportedError
from cuvee.sources import archive
from cuvee.sources.archive import MOST_PICKLE
from cuvee.sources.open import open_source


class Calls:
    """Becomes, when it is unpickled, what a function returns."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def harmful(folder: Path) -> dict[str, Any]:
    """Calls that would leave a file behind, by what the message has to name."""
    import os

    mark = str(folder / "ran")
    return {
        "posix.system": Calls(os.system, f"touch {mark}"),
        "eval": Calls(eval, f"open({mark!r}, 'w')"),
        "exec": Calls(exec, f"open({mark!r}, 'w')"),
        "io.open": Calls(open, mark, "w"),
        "torch.serialization.load": Calls(torch.load, mark),
        "torch.storage._load_from_bytes": Calls(torch.storage._load_from_bytes, b"x"),
        "getattr": Calls(getattr, "text", "upper"),
    }


FORMS = {
    "zip": lambda path, content: torch.save(content, path),
    "zip, protocol 4": lambda path, content: torch.save(content, path, pickle_protocol=4),
    "old": lambda path, content: torch.save(content, path, _use_new_zipfile_serialization=False),
    "plain pickle": lambda path, content: path.write_bytes(pickle.dumps(content, protocol=2)),
    "plain pickle, protocol 0": lambda path, content: path.write_bytes(pickle.dumps(content, protocol=0)),
    "plain pickle, protocol 5": lambda path, content: path.write_bytes(pickle.dumps(content, protocol=5)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", harmful(Path()))
@pytest.mark.parametrize("inside", [False, True])
def test_nothing_that_a_pickle_names_is_run(tmp_path: Path, name: str, form: str, inside: bool) -> None:
    call = harmful(tmp_path)[name]
    FORMS[form](tmp_path / "model.bin", {"w": torch.ones(1), "x": call} if inside else call)
    with pytest.raises(SourceError) as caught:
        open_source(tmp_path / "model.bin")
    assert not (tmp_path / "ran").exists()
    said = str(caught.value)
    assert name in said or "protocol" in said or "INST" in said
    assert "weights_only" not in said
    assert "\n" not in said


def rebuilt(offset: int, shape: Any, stride: Any) -> Any:
    """A tensor that claims this of a storage of 1,000 float32 elements."""
    storage = torch.storage.TypedStorage(
        wrap_storage=torch.arange(1000.0).untyped_storage(), dtype=torch.float32, _internal=True
    )
    return Calls(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, OrderedDict())


LIES = {
    "more than stored": (0, (10**12,), (1,)),
    "beyond its end": (10**6, (10,), (1,)),
    "before its beginning": (-5, (3,), (1,)),
    "backwards": (999, (3,), (-1,)),
    "one element many times": (0, (1 << 40,), (0,)),
    "rows that overlap": (0, (999, 999), (1, 1)),
    "more than there are numbers for": (0, (1 << 62, 1 << 62), (0, 0)),
    "of negative size": (0, (-3,), (1,)),
    "of another rank": (0, (3, 3), (1,)),
    "of numbers that are none": (0, ("a",), (1.5,)),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("is_new", [True, False], ids=["zip", "old"])
def test_tensor_that_lies_about_its_storage_is_refused(tmp_path: Path, lie: str, is_new: bool) -> None:
    torch.save({"w": rebuilt(*LIES[lie])}, tmp_path / "model.bin", _use_new_zipfile_serialization=is_new)
    with pytest.raises(FormatError, match=r"cannot be read as pickled weights|says it has [\d,]+ bytes, but 4,000 are"):
        open_source(tmp_path / "model.bin")


def repacked(path: Path, change: Any) -> Path:
    """Write an archive anew, each record as `change` says: name and bytes to name, bytes and compression."""
    with zipfile.ZipFile(path) as old:
        records = [(entry.filename, old.read(entry)) for entry in old.infolist()]
    with zipfile.ZipFile(path, "w") as new:
        for name, data in records:
            name, data, compression = change(name, data)
            new.writestr(name, data, compression)
    return path


STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
ARCHIVES = {
    "compressed pickle": (lambda name, data: (name, data, DEFLATED), FormatError, "is compressed"),
    "bomb": (
        lambda name, data: (name, bytes(10**8) if "pkl" in name else data, DEFLATED if "pkl" in name else STORED),
        FormatError,
        "is compressed",
    ),
    "large version": (
        lambda name, data: (name, bytes(1 << 17) if name.endswith("version") else data, STORED),
        FormatError,
        "claims 131,072 bytes; at most 65,536 are read",
    ),
    "program": (
        lambda name, data: (name.replace("byteorder", "constants.pkl"), data, STORED),
        UnsupportedError,
        "holds a program (TorchScript)",
    ),
    "no pickle": (lambda name, data: (name.replace("data.pkl", "x"), data, STORED), FormatError, "cannot be read"),
    "no storages": (lambda name, data: (name.replace("data/", "x/"), data, STORED), FormatError, "cannot be read"),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_archive_that_torch_would_not_write_is_refused(tmp_path: Path, kind: str) -> None:
    change, error, words = ARCHIVES[kind]
    torch.save({"w": torch.ones(4)}, tmp_path / "model.bin")
    with pytest.raises(error) as caught:
        open_source(repacked(tmp_path / "model.bin", change))
    assert words in str(caught.value)


def test_program_is_refused_as_such(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # of what torch intends to give up
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.pt")
    with pytest.raises(UnsupportedError, match=r"holds a program \(TorchScript\)"):
        open_source(tmp_path / "model.pt")


def with_two_directories(good: bytes, bad: bytes) -> bytes:
    """Return an archive with two wide ends: the one before the plain end is of one pickle, the locator's of another."""

    def add(name: bytes, data: bytes) -> bytes:
        nonlocal whole
        sizes, place = (zlib.crc32(data), len(data), len(data), len(name), 0), len(whole)
        whole += struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, *sizes) + name + data
        return struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, *sizes, 0, 0, 0, 0, place) + name

    whole = b""
    version = add(b"a/version", b"3\n")
    directories = [add(b"a/data.pkl", data) + version for data in (bad, good)]
    ends = []
    for directory in directories:
        place = len(whole)
        ends.append(place + len(directory))
        whole += directory + struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(directory), place)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, ends[0], 1)
    return whole + locator + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[(1 << 16) - 1] * 2, *[(1 << 32) - 1] * 2, 0)


def test_directory_that_torch_reads_is_the_one_that_is_looked_at(tmp_path: Path) -> None:
    asks = b"\x80\x02}X\x01\x00\x00\x00xc__builtin__\nbytearray\nM\xe8\x03\x85Rs."
    (tmp_path / "model.bin").write_bytes(with_two_directories(pickle.dumps({}, protocol=2), asks))
    assert torch.load(tmp_path / "model.bin", weights_only=True) == {"x": bytearray(1000)}
    with pytest.raises(FormatError, match="whose directory is not where it says"):
        open_source(tmp_path / "model.bin")


def test_archive_is_refused_by_the_size_it_claims_for_its_directory(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4)}, tmp_path / "model.bin")
    whole = (tmp_path / "model.bin").read_bytes()
    for tail in (b"comment", b"", struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 1 << 31, 0, 0)):
        (tmp_path / "model.bin").write_bytes(whole[: -7 if tail == b"" else None] + tail)
        with pytest.raises(FormatError, match=r"no plain end|not where it says"):
            open_source(tmp_path / "model.bin")
    (tmp_path / "model.bin").write_bytes(whole[:4] + whole)  # what stands before it moves everything
    with pytest.raises(FormatError, match="not where it says"):
        open_source(tmp_path / "model.bin")


def test_archive_with_a_large_directory_or_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"w": torch.ones(4)}, tmp_path / "model.bin")
    torch.save({"w": torch.ones(4)}, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    for most, words in ((150, "directory claims"), (20, "directory claims")):
        monkeypatch.setattr(archive, "MOST_PICKLE", most)
        with pytest.raises(FormatError, match=words):
            open_source(tmp_path / "model.bin")
        with pytest.raises(FormatError, match="its pickles take more than"):
            open_source(tmp_path / "old.bin")


@pytest.mark.slow
def test_largest_hostile_pickle_is_refused_within_its_budget(tmp_path: Path) -> None:
    """Nothing but empty lists: the most memory a byte can take."""
    (tmp_path / "old.bin").write_bytes(b"\x80\x02" + b"]" * (MOST_PICKLE + 1))
    with pytest.raises(FormatError, match="its pickles take more than"):
        open_source(tmp_path / "old.bin")


def valid(is_new: bool) -> bytes:
    file = io.BytesIO()
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(3, dtype=torch.bfloat16)}
    torch.save(tensors, file, _use_new_zipfile_serialization=is_new)
    return file.getvalue()


WHOLE = [valid(True), valid(False)]


@given(st.data())
def test_mutated_pickles_are_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(WHOLE)))
    # The pickle lies in the first thousand bytes, the directory in the last: what is between is mostly padding.
    places = st.one_of(st.integers(0, 400), st.integers(0, len(raw) - 1), st.integers(len(raw) - 400, len(raw) - 1))
    for _ in range(data.draw(st.integers(1, 3))):
        place = min(data.draw(places), len(raw) - 1)
        match data.draw(st.sampled_from(["flip", "cut", "insert", "delete"])):
            case "flip":
                raw[place] = data.draw(st.integers(0, 255))
            case "cut":
                del raw[place + 1 :]
            case "insert":
                raw[place:place] = data.draw(st.binary(max_size=9))
            case "delete":
                del raw[place : place + 1]
    path = tmp_path_factory.getbasetemp() / "mutated.bin"
    path.write_bytes(raw)
    with warnings.catch_warnings(), contextlib.suppress(CuveeError):
        warnings.simplefilter("ignore", CuveeWarning)
        source = open_source(path)
        for name, spec in source.header.items():
            source.read_into(memoryview(bytearray(spec.nbytes)), name)
        source.close()

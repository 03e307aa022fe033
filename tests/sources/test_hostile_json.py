"""JSON that is valid but for one thing, written by hand so that it can say what a JSON library would not.

Objects may name a key twice, numbers may have any size, texts may hold anything. The answer is tensors or a CuveeError,
at once and in little memory.
"""

import contextlib
import json
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuvee.errors import CuveeError, FormatError
from cuvee.sources.header import read_header
from cuvee.sources.open import open_source
from cuvee.sources.strict_json import MAX_FILE_BYTES, MAX_JSON_BYTES, MEMORY_PER_BYTE, parse_object

# JSON texts of values that readers stumble over.
NUMBERS = [
    "1e999", "-1e999", "1e-999", "-0", "-0.0", "0.5", "8.0", "1E2", "NaN", "Infinity", "-Infinity", "true", "null",
    str(2**31), str(2**53 + 1), str(2**63 - 1), str(2**63), str(2**64), str(-(2**63)), "9" * 400, "9" * 5000,
]  # fmt: skip
NAMES = [
    "", "\0", "\ud800", "\udfff\ud800", "\u202egnp.exe", "\ufeff", "..", "../a", "/etc/passwd", "C:\\a", "a\\b", "a/b",
    "a\nb", "__metadata__", "__proto__", "a" * 100_000, "\x1b[31m", "constructor", "😀", "e\u0301", "é",
]  # fmt: skip
NESTED = ["[" * 100_000, '{"a":' * 100_000, "[" * 900 + "]" * 900, "[[[[]]]]", '{"":{"":{}}}']
odd = st.sampled_from([*NUMBERS, *NESTED, *map(json.dumps, NAMES), "{}", "[]", '""'])
TABLE: dict[str, Any] = {
    "__metadata__": {"format": "pt"},
    "a": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
    "b": {"dtype": "BF16", "shape": [], "data_offsets": [8, 10]},
    "empty": {"dtype": "U8", "shape": [0, 3], "data_offsets": [10, 10]},
}
INDEX: dict[str, Any] = {"metadata": {"total_size": 10}, "weight_map": {"a": "m-1.safetensors", "b": "m-2.safetensors"}}
CONFIG: dict[str, Any] = {"model_type": "llama", "tie_word_embeddings": True, "rope": {"factor": 8.0, "on": [1, 2]}}


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> str:
    """JSON of a value, in which one thing is replaced, removed, doubled or added, at any depth."""
    num_places = json.dumps(value).count(":") + json.dumps(value).count("[") * 2 + 1
    return written(value, [draw(st.integers(0, num_places))], draw)


def written(value: Any, place: list[int], draw: st.DrawFn) -> str:
    """Write a value; `place` counts down to the thing to change."""
    place[0] -= 1
    if place[0] == -1:
        return draw(odd)
    if isinstance(value, list):
        return f"[{','.join(written(inner, place, draw) for inner in value)}]"
    if not isinstance(value, dict):
        return json.dumps(value)
    members = []
    for key, inner in value.items():
        name, said = json.dumps(key), written(inner, place, draw)
        members.append(f"{name}:{said}")
        if place[0] == -1:  # what was just written is the changed one: perhaps change what is around it, too
            change = draw(st.sampled_from(["keep", "double", "rename", "drop", "add"]))
            more = json.dumps(draw(st.sampled_from(NAMES)))
            members[-1:] = {
                "keep": members[-1:],
                "double": members[-1:] * 2,
                "rename": [f"{more}:{json.dumps(inner)}"],
                "drop": [],
                "add": [f"{name}:{json.dumps(inner)}", f"{more}:{said}"],
            }[change]
            place[0] -= 1
    return "{" + ",".join(members) + "}"


def read_or_refuse(path: Path) -> None:
    with contextlib.suppress(CuveeError), contextlib.closing(open_source(path)) as source:
        for name, spec in source.header.items():
            source.read_into(memoryview(bytearray(spec.nbytes)), name)


def safetensors_file(text: bytes, num_bytes: int = 10, length: int | None = None) -> bytes:
    return (len(text) if length is None else length).to_bytes(8, "little") + text + bytes(num_bytes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@given(text=mutated(TABLE), length=st.none() | st.integers(0, 2**64 - 1) | st.integers(0, 400))
@example(text='{"a":{"dtype":"F32","dtype":"U8","shape":[10],"data_offsets":[0,10]}}', length=None)
@example(text='{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}', length=None)
@example(text='{"a":{"dtype":"U8","shape":[0,9223372036854775808],"data_offsets":[0,0]}}', length=None)
@example(text='{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,-0]}}', length=None)
def test_header_with_one_thing_wrong_is_read_or_refused(folder: Path, text: str, length: int | None) -> None:
    (folder / "model.safetensors").write_bytes(safetensors_file(text.encode(), length=length))
    read_or_refuse(folder / "model.safetensors")


@given(text=mutated(INDEX))
def test_index_with_one_thing_wrong_is_read_or_refused(folder: Path, text: str) -> None:
    (folder / "index").mkdir(exist_ok=True)
    for name, number in (("a", 1), ("b", 2)):
        table = json.dumps({name: {"dtype": "U8", "shape": [10], "data_offsets": [0, 10]}})
        (folder / "index" / f"m-{number}.safetensors").write_bytes(safetensors_file(table.encode()))
    (folder / "index" / "model.safetensors.index.json").write_text(text)
    read_or_refuse(folder / "index")


@given(text=mutated(CONFIG))
def test_configuration_with_one_thing_wrong_is_read_or_refused(folder: Path, text: str) -> None:
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "model.safetensors").write_bytes(safetensors_file(b"{}", 0))
    (folder / "config" / "config.json").write_text(text)
    read_or_refuse(folder / "config")


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_tensor_may_have_any_name_that_is_text(folder: Path, name: str) -> None:
    text = json.dumps({name: {"dtype": "U8", "shape": [10], "data_offsets": [0, 10]}}).encode()
    (folder / "model.safetensors").write_bytes(safetensors_file(text))
    if name == "__metadata__" or any("\ud800" <= letter <= "\udfff" for letter in name):
        with pytest.raises(FormatError):
            open_source(folder / "model.safetensors")
        return
    with contextlib.closing(open_source(folder / "model.safetensors")) as source:
        assert list(source.header) == [name]
        with pytest.raises(CuveeError) as caught:
            source.read_into(memoryview(bytearray(11)), name)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(FormatError, match=r"is not UTF-8 text|is not valid JSON"):
        parse_object('{"é": 1}'.encode(encoding), "data")


def test_numbers_beyond_every_range_stay_numbers_or_are_refused() -> None:
    assert parse_object(b'{"a": -0, "b": 1e-999}', "data") == {"a": 0, "b": 0.0}
    for text in ("NaN", "Infinity", "-Infinity", "9" * 5000):
        with pytest.raises(FormatError, match="is not valid JSON"):
            parse_object(f'{{"a": {text}}}'.encode(), "data")


def test_large_file_beside_weights_is_refused_unread(folder: Path) -> None:
    (folder / "large").mkdir()
    (folder / "large" / "model.safetensors").write_bytes(safetensors_file(b"{}", 0))
    with (folder / "large" / "config.json").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="has 32,000,001 bytes; a JSON file of at most 32,000,000 was expected"):
            open_source(folder / "large")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_header_of_spaces_is_read_at_once(tmp_path: Path) -> None:
    text = b"{" + b" " * (MAX_JSON_BYTES - 2) + b"}"
    (tmp_path / "model.safetensors").write_bytes(safetensors_file(text, 0))
    began = time.process_time()
    assert read_header(tmp_path / "model.safetensors").tensors == {}
    assert time.process_time() - began < 5


DEAR = {
    "objects of one member": lambda nbytes: b'{"a":[' + b'{"":0},' * (nbytes // 7 - 2) + b"0]}",
    "empty lists": lambda nbytes: b'{"a":[' + b"[]," * (nbytes // 3 - 4) + b"0]}",
    "tensors": lambda nbytes: (
        "{"
        + ",".join(f'"{i}":{{"dtype":"U8","shape":[],"data_offsets":[{i},{i + 1}]}}' for i in range(nbytes // 61))
        + "}"
    ).encode(),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DEAR)
def test_memory_of_a_large_header_stays_within_its_budget(tmp_path: Path, kind: str) -> None:
    """The size is a fifth of the format's limit: what is kept for each byte does not depend on it."""
    text = DEAR[kind](MAX_JSON_BYTES // 5)
    (tmp_path / "model.safetensors").write_bytes(safetensors_file(text, MAX_JSON_BYTES // 5 // 61))
    script = (
        "import resource, sys, contextlib\n"
        "from pathlib import Path\n"
        "from cuvee.errors import FormatError\n"
        "from cuvee.sources.header import read_header\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "with contextlib.suppress(FormatError): read_header(Path(sys.argv[1]))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "model.safetensors")]
    taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert taken < MEMORY_PER_BYTE * len(text)

"""Whatever the bytes are, reading ends quickly, in tensors or in a CuveeError.

And what we accept, the reference accepts.
"""

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import safetensors
from hypothesis import example, given
from hypothesis import strategies as st

from cuvee.errors import CuveeError, FormatError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.header import read_header
from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.shards import Shard, shard

names = st.text(st.characters(exclude_categories=("Cs",)), max_size=12).filter(lambda name: name != "__metadata__")
integers = st.one_of(st.integers(-2, 10), st.integers(), st.sampled_from([2**31, 2**62, 2**63, 2**64]))
json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), integers, st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=5), inner, max_size=4)),
    max_leaves=8,
)
descriptions = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(list(DTYPES)), json_values),
        "shape": st.one_of(st.lists(integers, max_size=4), json_values),
        "data_offsets": st.one_of(st.lists(integers, min_size=2, max_size=2), json_values),
        "extra": json_values,
    },
)
specs = st.builds(
    TensorSpec, st.lists(st.integers(0, 4), max_size=3).map(tuple), st.sampled_from(list(DTYPES.values()))
).filter(lambda spec: spec.size * spec.dtype.bits % 8 == 0)
entries = st.dictionaries(names, specs, max_size=5).map(lambda table: list(table.items()))


def whole_file(part: Shard, metadata: dict[str, str]) -> bytes:
    return part.header_bytes(metadata) + bytes(index % 251 for index in range(part.nbytes))


def read_everything(raw: bytes) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(raw)
        with contextlib.closing(Checkpoint(path)) as source:
            tensors = {}
            for name, spec in source.header.items():
                buffer = bytearray(spec.nbytes)
                source.read_into(memoryview(buffer), name)
                tensors[name] = bytes(buffer)
            return tensors


def read_or_refuse(raw: bytes) -> None:
    try:
        tensors = read_everything(raw)
    except CuveeError as error:
        assert str(error)  # noqa: PT017  any of them will do; anything else fails the test
    else:
        assert {name: bytes(info["data"]) for name, info in safetensors.deserialize(raw)} == tensors


@given(entries, st.dictionaries(names, st.text(st.characters(exclude_categories=("Cs",)), max_size=5), max_size=2))
def test_what_we_write_is_what_the_reference_reads(entries: list[tuple[str, TensorSpec]], metadata: Any) -> None:
    (part,) = shard(entries)
    raw = whole_file(part, metadata)
    tensors = read_everything(raw)
    reference = dict(safetensors.deserialize(raw))
    assert {name: bytes(info["data"]) for name, info in reference.items()} == tensors
    assert {name: (info["dtype"], tuple(info["shape"])) for name, info in reference.items()} == {
        name: (spec.dtype.name, spec.shape) for name, spec in entries
    }


@given(entries, st.data())
def test_mutated_files_are_read_or_refused(entries: list[tuple[str, TensorSpec]], data: st.DataObject) -> None:
    (part,) = shard(entries)
    raw = bytearray(whole_file(part, {"format": "pt"}))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(raw) - 1))
        action = data.draw(st.sampled_from(["flip", "cut", "insert", "delete"]))
        if action == "flip":
            raw[place] = data.draw(st.integers(0, 255))
        elif action == "cut":
            del raw[place + 1 :]
        elif action == "insert":
            raw[place:place] = data.draw(st.binary(max_size=9))
        elif len(raw) > 1:
            del raw[place]
    read_or_refuse(bytes(raw))


@given(st.binary(max_size=200))
def test_random_bytes_are_read_or_refused(raw: bytes) -> None:
    read_or_refuse(raw)


@given(st.dictionaries(st.text(max_size=5), st.one_of(descriptions, json_values), max_size=4), st.integers(0, 40))
@example({"a": {"dtype": "U8", "shape": [0, 2**63], "data_offsets": [0, 0]}}, 0)
def test_random_headers_are_read_or_refused(table: dict[str, Any], num_bytes: int) -> None:
    text = json.dumps(table).encode()
    read_or_refuse(len(text).to_bytes(8, "little") + text + bytes(num_bytes))


def test_large_hostile_header_is_refused_in_bounded_time(tmp_path: Path) -> None:
    """A megabyte of the worst that a header can hold: many names, each wrong only at the very end."""
    fields = '{"dtype":"U8","shape":[],"data_offsets":[0,1]}'
    text = ("{" + ",".join(f'"{number}":{fields}' for number in range(20_000)) + "}").encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0")
    with pytest.raises(FormatError, match="they overlap"):
        read_header(path)

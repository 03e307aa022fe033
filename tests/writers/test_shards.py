import json
import re
from typing import Any

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import OutputError
from cuvee.spec import DEFAULT_SHARD_BYTES, DTYPES, TensorSpec
from cuvee.writers import shards as module
from cuvee.writers.shards import Shard, index_files, shard

specs = st.builds(
    TensorSpec, st.lists(st.integers(0, 5), max_size=3).map(tuple), st.sampled_from(list(DTYPES.values()))
)
specs = specs.filter(lambda spec: spec.size * spec.dtype.bits % 8 == 0)
entries = st.dictionaries(st.text("abcdé.0", min_size=1, max_size=6), specs, max_size=12).map(
    lambda table: list(table.items())
)


def spec(count: int, dtype: str = "U8") -> TensorSpec:
    return TensorSpec((count,), DTYPES[dtype])


def test_tensors_fill_files_in_the_given_order() -> None:
    parts = shard([("a", spec(4)), ("b", spec(4)), ("c", spec(4)), ("d", spec(1))], 8)
    assert [[name for name, _ in part.entries] for part in parts] == [["a", "b"], ["c", "d"]]
    assert [part.file for part in parts] == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]


def test_one_file_has_the_plain_name() -> None:
    assert [part.file for part in shard([("a", spec(4))], 4)] == ["model.safetensors"]


def test_no_tensors_are_one_empty_file() -> None:
    assert shard([], 1) == [Shard("model.safetensors", ())]


def test_large_tensor_has_a_file_of_its_own() -> None:
    parts = shard([("a", spec(1)), ("large", spec(100)), ("b", spec(1)), ("c", spec(1))], 8)
    assert [[name for name, _ in part.entries] for part in parts] == [["a"], ["large"], ["b", "c"]]


def test_default_shard_size_is_five_decimal_gigabytes() -> None:
    assert DEFAULT_SHARD_BYTES == 5 * 10**9
    half = spec(2_500_000_000)
    assert len(shard([("a", half), ("b", half)])) == 1
    assert len(shard([("a", half), ("b", half), ("c", spec(1))])) == 2


def test_wider_elements_come_first_and_otherwise_the_order_stays() -> None:
    names = [
        ("u", spec(3)),
        ("f", spec(1, "F32")),
        ("h", spec(3, "BF16")),
        ("g", spec(1, "F32")),
        ("d", spec(1, "I64")),
    ]
    (part,) = shard(names, 100)
    assert list(part.begins.items()) == [("d", 0), ("f", 8), ("g", 12), ("h", 16), ("u", 22)]


@given(entries, st.integers(1, 64))
def test_shards_hold_every_tensor_once_in_order_aligned_and_within_the_limit(entries: Any, shard_bytes: int) -> None:
    parts = shard(entries, shard_bytes)
    order = {name: position for position, (name, _) in enumerate(entries)}
    positions = [sorted(order[name] for name, _ in part.entries) for part in parts]
    assert [position for group in positions for position in group] == list(range(len(entries)))
    for part, following in zip(parts, [*parts[1:], None], strict=True):
        assert part.nbytes <= shard_bytes or len([1 for _, spec in part.entries if spec.nbytes]) == 1
        if following is not None:  # greedy: the next tensor would not have fitted
            first = entries[positions[parts.index(following)][0]][1]
            assert part.nbytes + first.nbytes > shard_bytes
        for name, tensor in part.entries:
            assert part.begins[name] % max(1, tensor.dtype.bits // 8) == 0


@given(entries, st.dictionaries(st.text("abé\n", max_size=3), st.text('xyé"\n', max_size=3), max_size=3))
def test_header_is_padded_reproducible_and_read_by_the_reference(entries: Any, metadata: dict[str, str]) -> None:
    (part,) = shard(entries, 10**9)
    header = part.header_bytes(metadata)
    assert len(header) % 8 == 0
    assert int.from_bytes(header[:8], "little") == len(header) - 8
    assert header == part.header_bytes(dict(reversed(metadata.items())))
    assert json.loads(header[8:]).get("__metadata__", {}) == metadata
    reference = dict(safetensors.deserialize(header + bytes(part.nbytes)))
    assert {name: (info["dtype"], tuple(info["shape"])) for name, info in reference.items()} == {
        name: (tensor.dtype.name, tensor.shape) for name, tensor in entries
    }


def test_header_bytes_are_frozen() -> None:
    """Outputs are reproducible across releases only while these bytes stay."""
    (part,) = shard([("b", spec(2)), ("a", spec(1, "F32"))], 100)
    text = (
        b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]}}       '
    )
    assert part.header_bytes({"format": "pt"}) == len(text).to_bytes(8, "little") + text


def test_index_is_sorted_and_sums_the_data() -> None:
    parts = shard([("b", spec(4)), ("a", spec(4))], 4)
    assert index_files(parts)["model.safetensors.index.json"].decode() == (
        '{\n  "metadata": {\n    "total_size": 8\n  },\n  "weight_map": {\n'
        '    "a": "model-00002-of-00002.safetensors",\n    "b": "model-00001-of-00002.safetensors"\n  }\n}\n'
    )


@pytest.mark.parametrize(
    ("entries", "kind", "message"),
    [
        ([("w", spec(1)), ("w", spec(1))], AssertionError, "tensor 'w' would be written twice"),
        ([("__metadata__", spec(1))], OutputError, "A tensor cannot be called '__metadata__'"),
        ([("w", spec(3, "F4"))], AssertionError, "tensor 'w': 3 elements of F4"),
    ],
)
def test_tensors_that_no_file_can_hold_are_refused(entries: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=re.escape(message)):
        shard(entries, 100)


@pytest.mark.parametrize("shard_bytes", [0, -1])
def test_shard_size_below_one_byte_is_refused(shard_bytes: int) -> None:
    with pytest.raises(AssertionError, match=f"the shard size is {shard_bytes} bytes"):
        shard([], shard_bytes)


def test_header_beyond_the_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HEADER_BYTES", 64)
    with pytest.raises(
        OutputError, match=r"its header would take 1\d\d bytes; the format allows 64. Choose a smaller shard"
    ):
        shard([("a", spec(1)), ("b", spec(1))])[0].header_bytes({})

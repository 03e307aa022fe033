import gc
import os
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import FormatError, SourceError
from cuvee.sources.header import read_header
from cuvee.spec import DTYPES


def tensor(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def test_tensors_come_in_stored_order_with_places_in_the_file(write_file: Any) -> None:
    table = {"b": tensor(offsets=(8, 16)), "a": tensor("I64", (1,), (0, 8)), "__metadata__": {"format": "pt"}}
    header = read_header(write_file(table, bytes(16)))
    assert list(header.tensors) == ["a", "b"]
    assert header.tensors["b"].begin == header.data_offset + 8
    assert header.tensors["a"].spec.shape == (1,)
    assert header.tensors["a"].spec.dtype is DTYPES["I64"]
    assert header.metadata == {"format": "pt"}


def test_empty_header_is_a_file_without_tensors(write_file: Any) -> None:
    assert read_header(write_file({})).tensors == {}


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_every_dtype_is_read(dtype: Any, write_file: Any) -> None:
    nbytes = 8 * dtype.bits // 8
    header = read_header(write_file({"w": tensor(dtype.name, (2, 4), (0, nbytes))}, bytes(nbytes)))
    assert header.tensors["w"].spec.dtype is dtype
    assert header.tensors["w"].spec.nbytes == nbytes


def test_empty_and_scalar_tensors_are_read(write_file: Any) -> None:
    table = {"e": tensor(shape=(0, 3), offsets=(0, 0)), "s": tensor(shape=(), offsets=(0, 4))}
    header = read_header(write_file(table, bytes(4)))
    assert [header.tensors[name].spec.size for name in ("e", "s")] == [0, 1]


NOT_TABLES = {
    "not UTF-8": (b"{\xff}", "is not UTF-8 text"),
    "not JSON": ("{oops}", "is not valid JSON"),
    "cut off": ('{"w": {', "is not valid JSON"),
    "two values": ("{} {}", "is not valid JSON"),
    "a list": ("[]", "expected '{'"),
    "leading spaces": ("  {}", "expected '{'"),
    "duplicate tensor": (
        '{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        "the name 'w' is given twice",
    ),
    "duplicate field": ('{"w":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}', "'dtype' is given twice"),
    "deep nesting": ('{"w":' + "[" * 200_000, "nested too deeply"),
    "NaN": ('{"w":{"dtype":"U8","shape":[NaN],"data_offsets":[0,0]}}', "NaN is not a JSON number"),
    "a number of 5000 digits": (
        '{"w":{"dtype":"U8","shape":[' + "9" * 5000 + '],"data_offsets":[0,0]}}',
        "not valid JSON",
    ),
    "lone surrogate in a name": ('{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}', "is not UTF-8 text"),
    "lone surrogate in metadata": ('{"__metadata__":{"a":"\\udfff"}}', "is not UTF-8 text"),
    "metadata is a list": ({"__metadata__": []}, "__metadata__ is []; expected an object of texts"),
    "metadata holds a number": ({"__metadata__": {"k": 1}}, "__metadata__ 'k' is 1; expected text"),
}


@pytest.mark.parametrize("case", NOT_TABLES)
def test_header_that_is_no_table_is_refused(case: str, write_file: Any) -> None:
    header, message = NOT_TABLES[case]
    path = write_file(header)
    with pytest.raises(FormatError, match=re.escape(message)) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


BAD_TENSORS = {
    "not an object": ([], "is described by []; expected an object with dtype, shape, data_offsets"),
    "dtype missing": ({"shape": [2], "data_offsets": [0, 8]}, "'dtype' is missing"),
    "shape missing": ({"dtype": "F32", "data_offsets": [0, 8]}, "'shape' is missing"),
    "offsets missing": ({"dtype": "F32", "shape": [2]}, "'data_offsets' is missing"),
    "unknown field": (tensor(scale=2), "unknown field 'scale'"),
    "unknown dtype": (tensor("FP32"), "unknown dtype 'FP32'"),
    "dtype in lower case": (tensor("bf16"), "Did you mean 'BF16'?"),
    "dtype is a number": (tensor(32), "unknown dtype 32"),
    "dtype is a list": (tensor(["F32"]), "unknown dtype ['F32']"),
    "shape is a number": (tensor(shape=2), "shape is 2; expected a list of integers"),
    "negative extent": (tensor(shape=(-2,)), "shape holds -2"),
    "fractional extent": (tensor(shape=(2.0,)), "shape holds 2.0"),
    "bool as extent": (tensor(shape=(True, 2)), "shape holds True"),
    "extent as text": (tensor(shape=("2",)), "shape holds '2'"),
    "null extent": (tensor(shape=(None,)), "shape holds None"),
    "extent beyond 64 bits": (tensor(shape=(2**63,)), "expected integers from 0 to"),
    "product overflow": (tensor(shape=(2**62, 2**62)), "more elements than any file can hold"),
    "product overflow beside a zero": (tensor(shape=(2**62, 2**62, 0)), "more elements than any file can hold"),
    "huge rank": (tensor(shape=(1,) * 100_000), "shape has 100,000 axes; at most 64"),
    "shape larger than the bytes": (tensor(shape=(3,)), "takes 8 bytes, but shape (3,) of F32 needs 12"),
    "shape smaller than the bytes": (tensor(shape=(1,)), "takes 8 bytes, but shape (1,) of F32 needs 4"),
    "half a byte": (tensor("F4", (3,), (0, 2)), "3 elements of F4 do not fill whole bytes"),
    "six bits of eight": (tensor("F6_E2M3", (1,), (0, 1)), "1 elements of F6_E2M3 do not fill whole bytes"),
    "packed size mismatch": (tensor("F4", (4,), (0, 4)), "takes 4 bytes, but shape (4,) of F4 needs 2"),
    "negative offset": (tensor(offsets=(-8, 0)), "data_offsets are [-8, 0]"),
    "reversed offsets": (tensor(offsets=(8, 0)), "data_offsets [8, 0] are reversed"),
    "three offsets": (tensor(offsets=(0, 4, 8)), "expected two integers"),
    "offsets as text": (tensor(offsets="08"), "data_offsets are '08'"),
    "fractional offsets": (tensor(offsets=(0.0, 8.0)), "data_offsets are [0.0, 8.0]"),
    "bool as offset": (tensor("U8", (1,), (False, True)), "data_offsets are [False, True]"),
    "offset beyond 64 bits": (tensor(offsets=(0, 2**64)), "data_offsets are [0, 18446744073709551616]"),
    "past the end of the file": (
        tensor(shape=(4,), offsets=(0, 16)),
        "ends at byte 16 of the data, but the file holds only 8",
    ),
    "absurdly past the end": (tensor("U8", (2**62,), (0, 2**62)), "the file is truncated"),
    "hole at the beginning": (tensor(shape=(1,), offsets=(4, 8)), "begins at byte 4, but the tensor before ends at 0"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_malformed_tensor_is_refused_by_name(case: str, write_file: Any) -> None:
    fields, message = BAD_TENSORS[case]
    path = write_file({"layer.weight": fields}, bytes(8))
    with pytest.raises(FormatError, match=re.escape(message)) as caught:
        read_header(path)
    assert str(path) in str(caught.value)
    assert "tensor 'layer.weight'" in str(caught.value)
    assert "download or write it again" in str(caught.value)


BAD_TILINGS = {
    "overlap": (
        {"a": tensor(), "b": tensor(offsets=(4, 12))},
        12,
        "tensor 'b': begins at byte 4, inside 'a', which ends at 8",
    ),
    "same bytes twice": ({"a": tensor(), "b": tensor()}, 8, "they overlap"),
    "empty tensor inside another": (
        {"a": tensor(), "e": tensor("F32", (0,), (4, 4))},
        8,
        "tensor 'e': begins at byte 4, inside 'a'",
    ),
    "hole": (
        {"a": tensor(), "b": tensor(offsets=(12, 20))},
        20,
        "tensor 'b': begins at byte 12, but the tensor before ends at 8",
    ),
    "trailing bytes": ({"a": tensor()}, 11, "3 bytes follow the last tensor"),
    "trailing bytes without tensors": ({}, 1, "1 bytes follow the last tensor"),
}


@pytest.mark.parametrize("case", BAD_TILINGS)
def test_tensors_have_to_tile_the_data(case: str, write_file: Any) -> None:
    table, num_bytes, message = BAD_TILINGS[case]
    with pytest.raises(FormatError, match=re.escape(message)):
        read_header(write_file(table, bytes(num_bytes)))


@pytest.mark.parametrize("num_bytes", [0, 1, 7])
def test_file_shorter_than_its_length_field_is_refused(num_bytes: int, tmp_path: Path) -> None:
    path = tmp_path / "short.safetensors"
    path.write_bytes(bytes(num_bytes))
    with pytest.raises(FormatError, match=rf"short\.safetensors has {num_bytes} bytes; a safetensors file begins with"):
        read_header(path)


@pytest.mark.parametrize("length", [3, 100, 2**40, 2**64 - 1])
def test_header_longer_than_the_file_is_refused_without_allocating(length: int, write_file: Any) -> None:
    with pytest.raises(FormatError, match=rf"the header claims {length:,} bytes, but only 2 follow"):
        read_header(write_file({}, length=length))


def test_header_longer_than_the_format_allows_is_refused(write_file: Any) -> None:
    path = write_file({}, length=100_000_001)
    os.truncate(path, 200_000_000)  # sparse
    with pytest.raises(FormatError, match="the header claims 100,000,001 bytes; the format allows 100,000,000"):
        read_header(path)


def test_header_of_length_zero_is_refused(write_file: Any) -> None:
    with pytest.raises(FormatError, match=r"expected '\{'"):
        read_header(write_file(b""))


def test_names_in_messages_are_short_and_escaped(write_file: Any) -> None:
    with pytest.raises(FormatError) as caught:
        read_header(write_file({"\x1b[31m" + "x" * 100_000: []}))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_missing_file_is_an_error_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.safetensors cannot be read: No such file"):
        read_header(tmp_path / "none.safetensors")


def test_pipe_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="pipe is not an ordinary file"):
        read_header(tmp_path / "pipe")


@pytest.mark.parametrize("extent", [True, 1.0])
def test_extent_that_equals_an_integer_is_refused_even_after_that_integer(extent: object, write_file: Any) -> None:
    table = {"a": tensor("U8", (1, 2), (0, 2)), "b": tensor("U8", (extent, 2), (2, 4))}
    with pytest.raises(FormatError, match=rf"tensor 'b': shape holds {extent}; expected integers"):
        read_header(write_file(table, bytes(4)))


def test_equal_specifications_are_one_object(write_file: Any) -> None:
    table = {"a": tensor("U8", (1, 2), (0, 2)), "b": tensor("U8", (1, 2), (2, 4))}
    tensors = read_header(write_file(table, bytes(4))).tensors
    assert tensors["a"].spec is tensors["b"].spec


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("table", [{}, {"w": tensor(dtype="Q")}])
def test_collection_of_garbage_goes_on_as_before(enabled: bool, table: dict[str, Any], write_file: Any) -> None:
    path = write_file(table)
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with nullcontext() if not table else pytest.raises(FormatError):
            read_header(path)
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()

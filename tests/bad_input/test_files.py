"""Files and indexes that are not what they should be."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bad_input.checkpoints import WEIGHT, state, write_file
from bad_input.merges import Refused, recipe_of
from cuvee.writers.save import save_state_dict


def span(shape: Sequence[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def twice(name: str) -> bytes:
    return f'{{"{name}":{json.dumps(span([2], 0, 8))},"{name}":{json.dumps(span([2], 0, 8))}}}'.encode()


FILES: dict[str, tuple[Any, bytes, int | None, tuple[str, ...]]] = {
    "empty file": (b"", b"", 0, ("the header begins with b''",)),
    "header longer than the file": (
        {"w": span([2], 0, 8)},
        bytes(8),
        1 << 40,
        ("the header claims 1,099,511,627,776",),
    ),
    "header without its end": (b'{"w": {"dtype"', b"", 15, ("the header claims 15 bytes, but only 14", "truncated")),
    "not safetensors": (b"PK\3\4 and so on", b"", None, ("the header begins with", "expected '{'")),
    "not JSON": (b'{"w": ', b"", None, ("is not valid JSON",)),
    "deep JSON": (b"{" + b'"a":{' * 100_000, b"", None, ("nested too deeply",)),
    "truncated data": ({"w": span([4], 0, 16)}, bytes(9), None, ("'w'", "the file holds only 9", "truncated")),
    "bytes left over": ({"w": span([2], 0, 8)}, bytes(9), None, ("1 bytes follow the last tensor",)),
    "overlap": (
        {"w": span([2], 0, 8), "v": span([2], 4, 12)},
        bytes(12),
        None,
        ("'v'", "inside 'w'", "they overlap"),
    ),
    "hole": ({"w": span([2], 0, 8), "v": span([1], 12, 16)}, bytes(16), None, ("'v'", "no one's")),
    "negative offset": ({"w": span([2], -8, 0)}, bytes(8), None, ("'w'", "data_offsets are [-8, 0]", "0 ≤ begin")),
    "reversed offsets": ({"w": span([2], 8, 0)}, bytes(8), None, ("'w'", "are reversed")),
    "offset that is no number": (
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, "8"]}},
        bytes(8),
        None,
        ("'w'",),
    ),
    "duplicate names": (twice("w"), bytes(8), None, ("the name 'w' is given twice",)),
    "absurd shape": (
        {"w": span([2**62, 2**62], 0, 8)},
        bytes(8),
        None,
        ("'w'", "more elements than any"),
    ),
    "shape of another size": ({"w": span([3], 0, 8)}, bytes(8), None, ("'w'", "takes 8 bytes", "needs 12")),
    "negative extent": ({"w": span([-2], 0, 8)}, bytes(8), None, ("'w'", "shape holds -2")),
    "absurd rank": ({"w": span([1] * 1000 + [2], 0, 8)}, bytes(8), None, ("'w'", "shape has 1,001 axes")),
    "unknown dtype": ({"w": span([2], 0, 8, "F31")}, bytes(8), None, ("'w'", "unknown dtype 'F31'")),
    "field missing": ({"w": {"dtype": "F32", "shape": [2]}}, bytes(8), None, ("'w'", "'data_offsets' is missing")),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("place", ["model", "base"])
def test_malformed_file_is_refused(folder: Path, assert_refused: Refused, kind: str, place: str) -> None:
    table, data, length, words = FILES[kind]
    write_file(folder / "bad.safetensors", table, data, length)
    keys = {"base": "bad.safetensors"} if place == "base" else {"models": {"one": "a", "two": "bad.safetensors"}}
    label = "base" if place == "base" else "two"
    assert_refused(recipe_of(**keys), "bad.safetensors", f"model '{label}'", *words, cli=place == "model")


def test_file_of_no_bytes_is_refused(folder: Path, assert_refused: Refused) -> None:
    (folder / "b" / "model.safetensors").write_bytes(b"")
    assert_refused(recipe_of(), "b/model.safetensors", "model 'two'", "has 0 bytes")


@pytest.mark.parametrize("cut", [1, 60])
def test_truncated_shard_is_refused(folder: Path, assert_refused: Refused, cut: int) -> None:
    save_state_dict(folder / "shards", state(1), shard_bytes=70)
    shard = folder / "shards" / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-cut])
    assert_refused(recipe_of(models=["a", "shards"]), str(shard.name), "model 'm1'", "truncated")


@pytest.fixture
def shards(folder: Path) -> Callable[[Callable[[dict[str, Any]], None]], None]:
    """Return a function that makes the checkpoint `shards`, with its index changed by another function."""

    def make(change: Callable[[dict[str, Any]], None]) -> None:
        save_state_dict(folder / "shards", state(1), shard_bytes=70)
        path = folder / "shards" / "model.safetensors.index.json"
        index = json.loads(path.read_text())
        change(index)
        path.write_text(json.dumps(index))

    return make


INDEXES: dict[str, tuple[Callable[[dict[str, Any]], None], tuple[str, ...]]] = {
    "names a missing file": (
        lambda index: index["weight_map"].update({WEIGHT: "model-00009.safetensors"}),
        ("'model-00009.safetensors'", "missing from the folder"),
    ),
    "leads out of the folder": (
        lambda index: index["weight_map"].update({WEIGHT: "../a/model.safetensors"}),
        (WEIGHT, "'../a/model.safetensors'", "bare name", "Do not trust this checkpoint"),
    ),
    "leads anywhere": (
        lambda index: index["weight_map"].update({WEIGHT: "/etc/passwd.safetensors"}),
        (WEIGHT, "/etc/passwd.safetensors", "bare name"),
    ),
    "names a tensor that is in another file": (
        lambda index: index["weight_map"].update({WEIGHT: "model-00001-of-00003.safetensors"}),
        (WEIGHT, "but it is in model-00003-of-00003.safetensors", "Index and files do not belong together"),
    ),
    "names a tensor that is nowhere": (
        lambda index: index["weight_map"].update({"model.ghost": "model-00001-of-00003.safetensors"}),
        ("'model.ghost'", "no file of the checkpoint has it"),
    ),
    "leaves a tensor out": (
        lambda index: index["weight_map"].pop("model.norm.weight"),
        ("'model.norm.weight' is missing from model.safetensors.index.json",),
    ),
    "has no map": (lambda index: index.pop("weight_map"), ("'weight_map' is None",)),
    "has an empty map": (lambda index: index.update(weight_map={}), ("'weight_map' is {}",)),
    "has a map of numbers": (lambda index: index.update(weight_map={WEIGHT: 5}), (WEIGHT, "is said to be in 5")),
}


@pytest.mark.parametrize("kind", INDEXES)
def test_index_that_does_not_fit_is_refused(assert_refused: Refused, shards: Any, kind: str) -> None:
    change, words = INDEXES[kind]
    shards(change)
    assert_refused(recipe_of(models=["a", "shards"]), "shards", "model 'm1'", *words)


def test_packed_weights_are_refused(folder: Path, assert_refused: Refused) -> None:
    save_state_dict(folder / "packed", state(1, model__layers__0__mlp__qweight=torch.zeros(2, 2, dtype=torch.int32)))
    assert_refused(recipe_of(models={"one": "a", "two": "packed"}), "packed", "model 'two'", "mlp.qweight", "GPTQ")

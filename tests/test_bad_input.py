"""Bad input, end to end, from Python and from the command line.

Each kind gives an error that names file, tensor and cause; inputs keep their bytes; and nothing appears, neither under
the output's name nor beside it.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cuvee
from cuvee.cli import main
from cuvee.errors import CuveeError
from cuvee.methods.registry import find_method, methods
from cuvee.writers.save import save_state_dict

TENSORS = {
    "model.embed_tokens.weight": (4, 2),
    "model.layers.0.mlp.weight": (3, 5),
    "model.layers.1.mlp.weight": (3, 5),
    "model.norm.weight": (2,),
}
WEIGHT = "model.layers.1.mlp.weight"

Refused = Callable[..., None]
State = dict[str, torch.Tensor]


def state(seed: int, **changed: torch.Tensor) -> State:
    """A small model; double underscores in a name stand for dots."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in TENSORS.items()}
    return tensors | {name.replace("__", "."): tensor for name, tensor in changed.items()}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints base, a and b, to copy."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "a", "b")):
        save_state_dict(folder / name, state(seed))
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the checkpoints base, a and b."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe_of(method: str = "linear", **keys: Any) -> dict[str, Any]:
    """A recipe as plain values, with a base where the method needs one."""
    content: dict[str, Any] = {"cuvee": 1, "method": method, "models": {"one": "a", "two": "b"}}
    if find_method(method).operands == "deltas":
        content["base"] = "base"
    if find_method(method).models == (1, 1):
        content["models"] = {"one": "a"}
    return content | keys


def snapshot(folder: Path) -> dict[str, str]:
    """Every name below a folder, hidden ones too, with the hash of what it holds or where it points."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            content = "folder" if path.is_dir() else "something else"
        found[str(path.relative_to(folder))] = content
    return found


@pytest.fixture
def refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that merges, by Python and by the command line, and checks that both refuse alike."""

    def check(
        recipe: Mapping[str, Any],
        *words: str,
        out: str = "out",
        code: int = 1,
        overwrite: bool = False,
        cli: bool = True,
    ) -> None:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
        before = snapshot(folder)
        with pytest.raises(CuveeError) as caught:
            cuvee.merge(dict(recipe), out, overwrite=overwrite)
        assert snapshot(folder) == before
        assert caught.value.exit_code == code
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)
        if cli:
            check_command(str(caught.value), before, out, code, overwrite)

    def check_command(message: str, before: dict[str, str], out: str, code: int, overwrite: bool) -> None:
        arguments = ["cuvee", "merge", "recipe.yaml", "--out", out, *(["--overwrite"] if overwrite else [])]
        monkeypatch.setattr(sys, "argv", arguments)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert snapshot(folder) == before
        assert left.value.code == code
        assert printed.out == ""
        told, said = (re.sub(r"[0-9a-f]{8}\.partial", "", text) for text in (printed.err, f"{message}\n"))
        assert re.fullmatch(r"cuvee: (recipe\.yaml:\d+: )?" + re.escape(said), told), told

    return check


# Files that are not what they should be


def write_file(path: Path, table: object, data: bytes = b"", length: int | None = None) -> None:
    """A safetensors file with any header and data."""
    header = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes((len(header) if length is None else length).to_bytes(8, "little") + header + data)


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
def test_malformed_file_is_refused(folder: Path, refused: Refused, kind: str, place: str) -> None:
    table, data, length, words = FILES[kind]
    write_file(folder / "bad.safetensors", table, data, length)
    keys = {"base": "bad.safetensors"} if place == "base" else {"models": {"one": "a", "two": "bad.safetensors"}}
    label = "base" if place == "base" else "two"
    refused(recipe_of(**keys), "bad.safetensors", f"model '{label}'", *words, cli=place == "model")


def test_file_of_no_bytes_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "b" / "model.safetensors").write_bytes(b"")
    refused(recipe_of(), "b/model.safetensors", "model 'two'", "has 0 bytes")


@pytest.mark.parametrize("cut", [1, 60])
def test_truncated_shard_is_refused(folder: Path, refused: Refused, cut: int) -> None:
    save_state_dict(folder / "shards", state(1), shard_bytes=70)
    shard = folder / "shards" / "model-00002-of-00003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-cut])
    refused(recipe_of(models=["a", "shards"]), str(shard.name), "model 'm1'", "truncated")


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
def test_index_that_does_not_fit_is_refused(refused: Refused, shards: Any, kind: str) -> None:
    change, words = INDEXES[kind]
    shards(change)
    refused(recipe_of(models=["a", "shards"]), "shards", "model 'm1'", *words)


def test_link_out_of_the_folder_is_not_followed_by_the_output(folder: Path, refused: Refused) -> None:
    (folder / "b" / "model.safetensors").unlink()
    (folder / "b" / "model.safetensors").symlink_to(folder / "nowhere")
    refused(recipe_of(), "model 'two'")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_pickles_are_refused(folder: Path, refused: Refused, name: str) -> None:
    (folder / "pickled").mkdir()
    (folder / "pickled" / name).write_bytes(b"\x80\x02}.")
    refused(recipe_of(models=["a", "pickled"]), f"pickled/{name}", "model 'm1'", "run code when opened", "convert it")
    refused(recipe_of(models=["a", f"pickled/{name}"]), f"pickled/{name}", "run code when opened")


@pytest.mark.parametrize("path", ["nothing", "aa", "a/nothing.safetensors"])
def test_model_that_is_not_there_is_named(refused: Refused, path: str) -> None:
    refused(recipe_of(models={"one": "a", "two": path}), path, "model 'two'")


def test_link_to_nowhere_is_named_with_its_target(folder: Path, refused: Refused) -> None:
    (folder / "link").symlink_to("nowhere")
    (folder / "loop").symlink_to("loop")
    refused(recipe_of(models=["a", "link"]), "model 'm1'", "is a link to 'nowhere', which is not there")
    refused(recipe_of(models=["a", "loop"]), "model 'm1'", "is a link to 'loop', which is not there")


@pytest.mark.parametrize(
    "path", ["~nobody-of-this-name/model", "a\0b", "x" * 5000, "/dev/null", "a/model.safetensors/x"]
)
def test_path_that_can_be_no_model_is_refused(refused: Refused, path: str) -> None:
    refused(recipe_of(models=["a", path]), "model 'm1'", repr(path)[1:-1])


@pytest.mark.parametrize("path", ["~nobody-of-this-name/out", "x" * 5000, "/dev/null", "/dev/null/out"])
def test_path_that_can_be_no_output_is_refused(refused: Refused, path: str) -> None:
    refused(recipe_of(), path, out=path)


def test_folder_without_weights_is_named(folder: Path, refused: Refused) -> None:
    (folder / "void").mkdir()
    refused(recipe_of(models={"one": "a", "two": "void"}), "void", "model 'two'", "holds no .safetensors file")


def test_packed_weights_are_refused(folder: Path, refused: Refused) -> None:
    save_state_dict(folder / "packed", state(1, model__layers__0__mlp__qweight=torch.zeros(2, 2, dtype=torch.int32)))
    refused(recipe_of(models={"one": "a", "two": "packed"}), "packed", "model 'two'", "mlp.qweight", "GPTQ")


# Models that do not fit together


def test_different_shapes_are_refused(folder: Path, refused: Refused) -> None:
    save_state_dict(folder / "other", state(1, **{WEIGHT: torch.zeros(5, 3)}))
    words = (WEIGHT, "shapes differ: 'one' (3, 5), 'two' (5, 3)", "'one' is a", "'two' is other", "skip it")
    refused(recipe_of(models={"one": "a", "two": "other"}), *words, code=2)
    refused(recipe_of("ties", models={"one": "a"}, base="other"), WEIGHT, "'base' (5, 3)", "'base' is other", code=2)


@pytest.mark.parametrize(("models", "lacking"), [(["a", "less"], "m1"), (["less", "a"], "m0")])
def test_missing_tensors_are_named(folder: Path, refused: Refused, models: list[str], lacking: str) -> None:
    save_state_dict(folder / "less", {name: tensor for name, tensor in state(1).items() if name != WEIGHT})
    words = (f"'{lacking}' has no {WEIGHT}", f"'{lacking}' is less", "Give a rule for them")
    refused(recipe_of(models=models), *words, code=2)


def test_tensors_missing_from_the_base_are_named(folder: Path, refused: Refused) -> None:
    save_state_dict(folder / "less", {name: tensor for name, tensor in state(1).items() if name != WEIGHT})
    refused(recipe_of("ties", base="less"), f"'base' has no {WEIGHT}", "'base' is less", code=2)


def test_numbers_and_whole_numbers_under_one_name_are_refused(folder: Path, refused: Refused) -> None:
    save_state_dict(folder / "whole", state(1, **{"model.norm.weight": torch.tensor([1, 2])}))
    words = ("model.norm.weight: element types differ in kind: 'one' F32, 'two' I64", "Give a rule to copy or skip it")
    refused(recipe_of(models={"one": "a", "two": "whole"}), *words, code=2)


def test_no_models_are_refused(refused: Refused) -> None:
    refused(recipe_of(models=[]), "'models' is empty; name at least one model", code=2)
    refused(recipe_of(models={}), "'models' is empty; name at least one model", code=2)


@pytest.mark.parametrize("weight", [[1, -1], [0, 0], [1e-320, -1e-320], {"over_depth": [1, 0]}, 0])
def test_weights_that_add_up_to_zero_are_refused(refused: Refused, weight: Any) -> None:
    words = ("method 'linear': the weights [", "add up to zero and cannot be normalised; set normalize: false")
    refused(recipe_of(parameters={"weight": weight}), *words, code=2)


def test_weights_that_add_up_to_zero_are_fine_if_not_normalised(folder: Path) -> None:
    merged = merged_by(folder, recipe_of(parameters={"weight": [1, -1], "normalize": False}))
    torch.testing.assert_close(merged[WEIGHT], state(1)[WEIGHT] - state(2)[WEIGHT])


# NaN and infinity


WHERE = {"one": "a", "two": "b", "base": "base"}
# Settings under which a method has no use for the weights that are bad: it must look at them all the same.
HIDING = [
    ("linear", {"weight": {"one": 0, "two": 1}}, "one"),
    ("linear", {"weight": {"one": 0, "two": 0}, "normalize": False}, "two"),
    ("task_arithmetic", {"weight": 0}, "two"),
    ("task_arithmetic", {"scale": 0}, "base"),
    ("slerp", {"t": 0}, "two"),
    ("slerp", {"t": 1, "scope": "row"}, "one"),
    ("ties", {"density": 0}, "one"),
    ("ties", {"density": 0, "trim_scope": "tensor"}, "base"),
    ("ties", {"density": 1, "weight": 0}, "two"),
    ("ties", {"density": 0.05}, "one"),
    ("ties", {"density": 0.05, "rule": "reference"}, "two"),
    ("dare_linear", {"density": 0}, "one"),
    ("dare_linear", {"density": 0}, "base"),
    ("dare_linear", {"density": 0.01}, "two"),
    ("dare_linear", {"weight": 0}, "two"),
    ("dare_ties", {"density": 0}, "one"),
    ("dare_ties", {"density": 0}, "base"),
    ("dare_ties", {"density": 0.01, "trim_density": 0.1}, "two"),
    ("breadcrumbs", {"density": 0, "outliers": 0}, "one"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.5}, "two"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.9, "scope": "row"}, "base"),
    ("breadcrumbs", {"density": 0.1, "outliers": 0.5, "scope": "model"}, "one"),
]
VALUES = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def spoil(folder: Path, name: str, value: float, dtype: torch.dtype = torch.float32) -> None:
    """Put a value at flat index 7 of one weight of a checkpoint."""
    tensors = {key: tensor.to(dtype) for key, tensor in state(["base", "a", "b"].index(name)).items()}
    tensors[WEIGHT].reshape(-1)[7] = value
    shutil.rmtree(folder / name)
    save_state_dict(folder / name, tensors)


def merging_methods() -> Iterator[Any]:
    """Each method with each label it reads."""
    for name, method in methods().items():
        if not method.any_dtype:
            for label in ("one", "two", *(["base"] if method.operands == "deltas" else [])):
                yield pytest.param(name, label, id=f"{name} {label}")


@pytest.mark.parametrize(("method", "label"), [*merging_methods()])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weight_that_is_not_finite_is_refused(
    folder: Path, refused: Refused, method: str, label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    place = f"{WHERE[label]}/model.safetensors: tensor '{WEIGHT}' of model '{label}' is {value} at flat index 7"
    refused(recipe_of(method), place, "repair that model, or give a rule for this tensor", cli=False)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("label", WHERE)
def test_command_line_names_the_weight_that_is_not_finite(
    folder: Path, refused: Refused, label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    refused(recipe_of("ties"), f"tensor '{WEIGHT}' of model '{label}' is {value} at flat index 7")


@pytest.mark.parametrize(("method", "parameters", "label"), HIDING, ids=[f"{m} {p} {w}" for m, p, w in HIDING])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_mask_does_not_hide_a_weight_that_is_not_finite(
    folder: Path, refused: Refused, method: str, parameters: dict[str, Any], label: str, value: str
) -> None:
    spoil(folder, WHERE[label], VALUES[value])
    words = (WHERE[label], WEIGHT, f"of model '{label}' is {value} at flat index 7")
    refused(recipe_of(method, parameters=parameters), *words, cli=False)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_weight_that_is_not_finite_is_found_in_every_type(folder: Path, refused: Refused, dtype: torch.dtype) -> None:
    spoil(folder, "b", float("inf"), dtype)
    refused(recipe_of(), "b/model.safetensors", WEIGHT, "of model 'two' is inf at flat index 7")


def test_rule_gets_around_a_weight_that_is_not_finite(folder: Path) -> None:
    spoil(folder, "b", float("nan"))
    copied = merged_by(folder, recipe_of(tensors=[{"match": WEIGHT, "copy": "one"}]), "copied")
    assert torch.equal(copied[WEIGHT], state(1)[WEIGHT])
    assert WEIGHT not in merged_by(folder, recipe_of(tensors=[{"match": WEIGHT, "skip": True}]), "skipped")


def test_copy_moves_bytes_whatever_they_mean(folder: Path) -> None:
    spoil(folder, "a", float("nan"))
    merged_by(folder, recipe_of("copy"))
    merged, model = ((folder / name / "model.safetensors").read_bytes() for name in ("out", "a"))
    length = [int.from_bytes(raw[:8], "little") + 8 for raw in (merged, model)]
    assert merged[length[0] :] == model[length[1] :]


def test_first_of_several_workers_that_fails_stops_the_rest(folder: Path, refused: Refused) -> None:
    for name in ("base", "a", "b"):
        spoil(folder, name, float("nan"))
    refused(recipe_of("ties"), WEIGHT, "is nan at flat index 7")


# Results that do not fit


def test_result_too_large_for_the_output_type_is_refused(folder: Path, refused: Refused) -> None:
    spoil(folder, "b", 3e5)
    words = (
        f"{WEIGHT}: method 'linear' gives ",
        "at flat index 7, which does not fit into F16; choose a wider output dtype",
        "Models: one, two.",
    )
    refused(recipe_of(output={"dtype": "float16"}), *words)
    assert torch.isfinite(merged_by(folder, recipe_of(output={"dtype": "bfloat16"}))[WEIGHT]).all()


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"])
def test_result_too_large_for_eight_bits_is_refused(folder: Path, refused: Refused, dtype: str) -> None:
    spoil(folder, "b", 3e5)
    refused(recipe_of(output={"dtype": dtype}), WEIGHT, "does not fit into F8_", "choose a wider output dtype")


def test_result_too_large_for_any_type_is_refused(folder: Path, refused: Refused) -> None:
    spoil(folder, "b", 3e38)
    words = (f"{WEIGHT}: method 'linear' gives inf at flat index 7", "comes of finite inputs; lower the weights")
    refused(recipe_of(parameters={"weight": 10, "normalize": False}), *words)


def test_doubles_too_large_for_float32_arithmetic_are_refused(folder: Path, refused: Refused) -> None:
    spoil(folder, "b", 1e300, torch.float64)
    refused(recipe_of(), "b/model.safetensors", WEIGHT, "of model 'two'", "1e+300", "flat index 7")


# Odd, but right


def merged_by(folder: Path, recipe: Mapping[str, Any], out: str = "out") -> State:
    """Merge, check that the inputs are as before, and return the result."""
    before = snapshot(folder)
    cuvee.merge(dict(recipe), out)
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before
    source = cuvee.open_source(folder / out)
    merged = {}
    for name, spec in source.header.items():
        raw = bytearray(spec.nbytes)
        source.read_into(memoryview(raw), name)
        dtype = getattr(torch, spec.dtype.torch_name)
        merged[name] = (torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)).reshape(spec.shape)
    source.close()
    return merged


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("ties", {}),
        ("ties", {"rule": "reference", "trim_scope": "tensor"}),
        ("dare_linear", {}),
        ("dare_ties", {}),
        ("dare_ties", {"density": 1, "trim_density": 0}),
        ("breadcrumbs", {}),
        ("breadcrumbs", {"scope": "row"}),
    ],
    ids=str,
)
def test_density_0_leaves_the_base(folder: Path, method: str, parameters: dict[str, Any]) -> None:
    outliers = {"outliers": 0} if method == "breadcrumbs" else {}
    merged = merged_by(folder, recipe_of(method, parameters={"density": 0, **outliers, **parameters}))
    for name, tensor in state(0).items():
        if parameters.get("rule") == "reference":
            assert (merged[name] != tensor).sum() <= 2  # the authors' code keeps one entry more than asked for
        else:
            assert torch.equal(merged[name], tensor), name


@pytest.mark.parametrize("method", ["dare_linear", "breadcrumbs"])
def test_density_1_is_task_arithmetic(folder: Path, method: str) -> None:
    outliers = {"outliers": 0} if method == "breadcrumbs" else {}
    whole = merged_by(folder, recipe_of(method, parameters={"density": 1, **outliers}), "whole")
    expected = merged_by(folder, recipe_of("task_arithmetic"), "expected")
    for name, tensor in expected.items():
        assert torch.equal(whole[name], tensor), name


def test_density_1_is_the_same_ties_with_and_without_drawing(folder: Path) -> None:
    ties = merged_by(folder, recipe_of("ties", parameters={"density": 1}), "ties")
    drawn = merged_by(folder, recipe_of("dare_ties", parameters={"density": 1}), "drawn")
    for name, tensor in ties.items():
        assert torch.equal(drawn[name], tensor), name


@pytest.mark.parametrize("method", methods())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_small_and_empty_tensors_go_through_every_method(folder: Path, method: str, dtype: torch.dtype) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "scalar": (),
        "one": (1,),
        "one_of_each": (1, 1, 1),
        "empty": (0,),
        "no_rows": (0, 3),
        "no_columns": (3, 0),
        "column": (3, 1),
    }
    sources = {}
    for seed, name in enumerate(("base", "a", "b")):
        generator = torch.Generator().manual_seed(seed)
        sources[name] = {key: torch.randn(shape, generator=generator).to(dtype) for key, shape in shapes.items()}
        save_state_dict(folder / name, sources[name], overwrite=True)
    for scope in scopes(method):
        merged = merged_by(folder, recipe_of(method, parameters=scope), f"out {scope}")
        assert {key: tuple(tensor.shape) for key, tensor in merged.items()} == shapes
        assert all(torch.isfinite(tensor.float()).all() for tensor in merged.values())
        assert {tensor.dtype for tensor in merged.values()} == {dtype}


def scopes(method: str) -> list[dict[str, str]]:
    """Every scope a method's passes can have."""
    found = [p for p in find_method(method).parameters.values() if p.role == "scope"]
    return [{p.name: word} for p in found for word in p.choices] or [{}]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_output_may_have_a_name_that_is_no_text(folder: Path) -> None:
    name = os.fsdecode(b"out\xff")
    assert WEIGHT in merged_by(folder, recipe_of(), name)
    assert b"# out?\n" in (folder / name / "README.md").read_bytes()


def test_checkpoint_without_tensors_makes_one_without_tensors(folder: Path) -> None:
    for name in ("base", "a", "b"):
        write_file(folder / name / "model.safetensors", {})
    for method in methods():
        assert merged_by(folder, recipe_of(method), method) == {}


# Outputs that may not be


def test_output_that_is_an_input_is_refused(folder: Path, refused: Refused) -> None:
    for overwrite in (False, True):
        for out in ("a", "./b", "b/../a", str(folder / "base"), "a/", "base/model.safetensors"):
            refused(recipe_of("ties"), "would touch the input", out=out, overwrite=overwrite)


def test_output_that_is_an_input_by_another_name_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "link").symlink_to("a")
    (folder / "link to all").symlink_to(folder)
    (folder / "weights.safetensors").symlink_to("a/model.safetensors")
    os.link(folder / "b" / "model.safetensors", folder / "hard.safetensors")
    for overwrite in (False, True):
        for out in ("link", "link to all/a", "link to all/b", "weights.safetensors", "hard.safetensors"):
            refused(recipe_of(), "would touch the input", out=out, overwrite=overwrite)


def test_input_given_by_a_link_is_guarded_under_its_real_name(folder: Path, refused: Refused) -> None:
    (folder / "link").symlink_to("a")
    for out in ("link", "a", "a/inside"):
        refused(recipe_of(models=["link", "b"]), "would touch the input", out=out, overwrite=True)


def test_output_inside_or_around_an_input_is_refused(folder: Path, refused: Refused) -> None:
    refused(recipe_of(), "would touch the input a: it lies inside it", out="a/merged")
    refused(recipe_of(), "would touch the input a: it lies inside it", out="a/merged/deep.safetensors")
    (folder / "models").mkdir()
    (folder / "a").rename(folder / "models" / "a")
    models = {"models": ["models/a", "b"]}
    refused(recipe_of(**models), "would touch the input", "it contains it", out="models", overwrite=True)
    refused(recipe_of(**models), "would touch the input", "it contains it", out=".", overwrite=True)


def test_output_beside_the_input_in_its_folder_is_refused_for_folders_only(folder: Path, refused: Refused) -> None:
    """A file given by itself guards itself; its folder is not the input."""
    files = {"models": ["a/model.safetensors", "b/model.safetensors"]}
    refused(recipe_of(**files), "would touch the input", out="a/model.safetensors", overwrite=True)
    assert WEIGHT in merged_by(folder, recipe_of(**files), "a/merged.safetensors")


def test_existing_output_is_refused_without_overwrite(folder: Path, refused: Refused) -> None:
    merged_by(folder, recipe_of())
    refused(recipe_of(), str(folder / "out"), "exists already", "--overwrite", out="out")
    merged_by(folder, recipe_of(), "out.safetensors")
    refused(recipe_of(), str(folder / "out.safetensors"), "exists already", out="out.safetensors")


def test_existing_output_is_replaced_with_overwrite(folder: Path) -> None:
    merged_by(folder, recipe_of())
    before = snapshot(folder)
    cuvee.merge(recipe_of("slerp"), "out", overwrite=True)
    after = snapshot(folder)
    assert set(after) == set(before)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"out/model.safetensors", "out/README.md"}


def test_failed_merge_keeps_the_output_that_was_there(folder: Path, refused: Refused) -> None:
    merged_by(folder, recipe_of())
    spoil(folder, "b", float("nan"))
    refused(recipe_of(), WEIGHT, "is nan", out="out", overwrite=True)


@pytest.mark.parametrize("name", ["notes.txt", "train.py", "optimizer.pt"])
def test_work_that_is_no_checkpoint_is_never_overwritten(folder: Path, refused: Refused, name: str) -> None:
    merged_by(folder, recipe_of())
    (folder / "out" / name).write_text("mine")
    words = (f"will not be overwritten: it holds '{name}'", "Remove the folder yourself, or choose another place")
    refused(recipe_of(), *words, out="out", overwrite=True)


def test_recipe_is_an_input_that_overwriting_must_not_remove(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    merged_by(folder, recipe_of())
    models = {"models": ["../a", "../b"]}
    (folder / "out" / "recipe.yaml").write_text(yaml.safe_dump(recipe_of(**models)))
    before = snapshot(folder)
    with pytest.raises(CuveeError, match=r"would touch the input .*recipe\.yaml"):
        cuvee.merge(folder / "out" / "recipe.yaml", folder / "out", overwrite=True)
    monkeypatch.setattr(sys, "argv", ["cuvee", "merge", "out/recipe.yaml", "--out", "out", "--overwrite"])
    with pytest.raises(SystemExit):
        main()
    assert "would touch the input" in capsys.readouterr().err
    assert snapshot(folder) == before


def test_output_below_a_file_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "file").write_text("mine")
    refused(recipe_of(), str(folder / "file"), "is not a folder", out="file/out")
    refused(recipe_of(), str(folder / "file"), "is not a folder", out="file/deep/out.safetensors")
    refused(recipe_of(), str(folder / "file"), "exists and is not a folder", out="file", overwrite=True)


def test_folder_under_the_name_of_a_file_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "out.safetensors").mkdir()
    refused(recipe_of(), "out.safetensors", "exists and is not a file", out="out.safetensors", overwrite=True)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_output_where_nothing_can_be_written_is_refused(refused: Refused) -> None:
    refused(recipe_of(), "/proc/out cannot be written", out="/proc/out")
    refused(recipe_of(), "/proc/out.safetensors cannot be written", out="/proc/out.safetensors")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_in_a_folder_closed_to_writing_is_refused(folder: Path, refused: Refused) -> None:
    (folder / "closed").mkdir(mode=0o555)
    refused(recipe_of(), "closed", "Permission denied", out="closed/out")
    refused(recipe_of(), "closed", "Permission denied", out="closed/new/deep/out")


def test_failure_removes_the_parents_made_for_the_output(folder: Path, refused: Refused) -> None:
    spoil(folder, "b", float("nan"))
    refused(recipe_of(), WEIGHT, "is nan", out="new/deep/out")
    refused(recipe_of(), WEIGHT, "is nan", out="new/deep/out.safetensors")


def test_wrong_recipe_fails_before_a_model_is_opened(refused: Refused) -> None:
    refused(recipe_of(models=["nothing", "here"], parameters={"weigt": 1}), "Did you mean 'weight'?", code=2)


def test_wrong_variant_leaves_none_of_the_others(folder: Path) -> None:
    spoil(folder, "b", float("nan"))
    before = snapshot(folder)
    with pytest.raises(CuveeError, match="is nan at flat index 7"):
        cuvee.merge_variants({folder / "one": recipe_of(models=["a"]), folder / "two": recipe_of()})
    assert snapshot(folder) == before


def test_outputs_that_are_one_are_refused(folder: Path) -> None:
    before = snapshot(folder)
    for pair in (("out", "./out"), ("out", "out/inside"), ("out/x.safetensors", "out")):
        recipes = {folder / pair[0]: recipe_of(), str(folder) + "/" + pair[1]: recipe_of("slerp")}
        with pytest.raises(CuveeError):
            cuvee.merge_variants(recipes)
        assert snapshot(folder) == before

"""A merge tells what it was made of; what was changed since is found, and merging again gives the same bytes."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import xxhash
import yaml
from safetensors.torch import load_file, save_file

import cuvee
from cuvee import digest
from cuvee.errors import FormatError, SourceError
from cuvee.execute.verify import verify
from cuvee.methods.declare import Method
from cuvee.sources.checkpoint import Checkpoint
from cuvee.writers.save import save_state_dict
from end_to_end.recipes import each_method, recipe_for

NO_FILES = '{"format": 1, "output": {"tensors": {}, "digest": "0", "files": []}, "inputs": {}, "recipe": {}}'
OUTSIDE = '{"format": 1, "output": {"tensors": {}, "digest": "0", "files": {"../a": "0"}}, "inputs": {}, "recipe": {}}'
NO_DIGEST = '{"format": 1, "output": {"tensors": {}, "digest": 1}, "inputs": {}, "recipe": {}}'
NOT_TEXT = '{"format": 1, "output": {"tensors": {"w": [1]}, "digest": "0"}, "inputs": {}, "recipe": {}}'
NO_INPUT = '{"format": 1, "output": {"tensors": {}, "digest": "0"}, "inputs": {"a": 1}, "recipe": {}}'
CARD = "---\nlicense: {}\nlanguage: en\n---\n\n# A model\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a base and three models, with configurations and cards."""
    generator = torch.Generator().manual_seed(2)
    for number in range(4):
        model = {f"layers.{i}.weight": torch.randn(40, 30, generator=generator) for i in range(3)}
        files = {"config.json": b'{"model_type": "made-up"}', "README.md": CARD.format("apache-2.0").encode()}
        save_state_dict(tmp_path / f"m{number}", model | {"only": torch.ones(2)} if number == 3 else model, files=files)
    return tmp_path


def models(folder: Path) -> tuple[list[str], str]:
    return [str(folder / "m1"), str(folder / "m2")], str(folder / "m0")


def merged(folder: Path, **changes: Any) -> Path:
    """Merge two models by TIES."""
    merges, base = models(folder)
    cuvee.merge({"cuvee": 1, "method": "ties", "models": merges, "base": base, **changes}, folder / "out")
    return folder / "out"


def states(out: Path, **options: Any) -> dict[str, str]:
    return {finding.part: finding.state for finding in verify(out, **options)}


@each_method
def test_every_merge_verifies_and_replays(method: Method, folder: Path) -> None:
    merges, base = models(folder)
    cuvee.merge(recipe_for(method, merges, base), folder / "out", limits=cuvee.Limits(workers=1))
    before = {path: path.read_bytes() for path in (folder / "out").iterdir()}
    found = states(folder / "out", replay=True, limits=cuvee.Limits(workers=3, block_bytes=1000))
    assert set(found.values()) == {"same"}
    assert {"output", "m0", "replay"} <= set(found)
    assert {path: path.read_bytes() for path in (folder / "out").iterdir()} == before


def test_digests_are_those_of_the_definition(folder: Path) -> None:
    record = json.loads((merged(folder) / "cuvee.json").read_text())
    for name, tensor in load_file(folder / "out" / "model.safetensors").items():
        chunk = xxhash.xxh3_128_digest(tensor.numpy().tobytes())
        assert record["output"]["tensors"][name] == xxhash.xxh3_128_hexdigest(chunk)
    lines = [[n, "F32", [40, 30], record["output"]["tensors"][n]] for n in sorted(record["output"]["tensors"])]
    assert record["output"]["digest"] == xxhash.xxh3_128_hexdigest(json.dumps(lines).encode())


def test_a_merge_of_long_ago_is_still_what_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were made once: see the README beside them."""
    monkeypatch.chdir(Path(__file__).parents[1] / "golden" / "verify")
    assert states(Path("merged.safetensors"), replay=True) == {
        "output": "same", "one": "same", "two": "same", "replay": "same",
    }  # fmt: skip


def change_last_bytes(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:-4] + bytes(x ^ 1 for x in data[-4:]))


def test_a_changed_input_is_found(folder: Path) -> None:
    out = merged(folder)
    change_last_bytes(folder / "m2" / "model.safetensors")
    assert states(out, replay=True) == {
        "output": "same", "m0": "same", "m1": "changed", "base": "same", "replay": "changed",
    }  # fmt: skip


def test_a_damaged_output_is_found_and_its_tensor_named(folder: Path) -> None:
    out = merged(folder)
    change_last_bytes(out / "model.safetensors")
    finding = verify(out)[0]
    assert finding.state == "changed"
    assert "other bytes in layers.2.weight" in finding.text


@pytest.mark.parametrize(
    ("stated", "changed"),
    [
        (b'"dtype":"F32","shape":[2]', b'"dtype":"I32","shape":[2]'),
        (b'"dtype":"F32","shape":[40,30]', b'"dtype":"F32","shape":[30,40]'),
    ],
)
def test_other_types_and_shapes_of_the_same_bytes_are_found(folder: Path, stated: bytes, changed: bytes) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(40, 30)}, folder / "one.safetensors")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [str(folder / "one.safetensors")]}, folder / "out")
    assert set(states(folder / "out", replay=True).values()) == {"same"}
    weights = folder / "out" / "model.safetensors"
    assert stated in weights.read_bytes()
    weights.write_bytes(weights.read_bytes().replace(stated, changed))
    found = {finding.part: finding for finding in verify(folder / "out", replay=True)}
    assert {part: finding.state for part, finding in found.items()} == {
        "output": "changed", "m0": "same", "replay": "same",
    }  # fmt: skip
    assert "other types or shapes" in found["output"].text


def test_a_replay_that_gives_another_type_is_found(folder: Path) -> None:
    """A tensor of zeros has the same bytes in either type."""
    for type_, out in ((torch.int32, "whole"), (torch.float32, "out")):
        save_file({"w": torch.zeros(4, dtype=type_)}, folder / "zeros.safetensors")
        cuvee.merge({"cuvee": 1, "method": "linear", "models": [str(folder / "zeros.safetensors")]}, folder / out)
    save_file({"w": torch.zeros(4, dtype=torch.int32)}, folder / "zeros.safetensors")
    assert states(folder / "out", replay=True) == {"output": "same", "m0": "changed", "replay": "changed"}


def test_files_beside_the_weights_that_are_not_as_they_were_are_named(folder: Path) -> None:
    for name in ("tokenizer.json", "generation_config.json", "vocab.json"):
        (folder / "m0" / name).write_text(f'{{"name": "{name}"}}')
    out = merged(folder)
    record = json.loads((out / "cuvee.json").read_text())
    files = {"config.json", "tokenizer.json", "generation_config.json", "vocab.json"}
    assert set(record["output"]["files"]) == files
    config = (out / "config.json").read_bytes()
    digest_of_config = xxhash.xxh3_128_hexdigest(xxhash.xxh3_128_digest(config))
    assert record["output"]["files"]["config.json"] == digest_of_config
    (out / "README.md").write_text("what people add to the card is theirs")
    assert set(states(out).values()) == {"same"}
    (out / "config.json").write_bytes(config.replace(b"made-up", b"made-op"))
    (out / "generation_config.json").unlink()
    (out / "vocab.json").unlink()
    (out / "vocab.json").mkdir()
    found = states(out)
    assert {part: state for part, state in found.items() if state != "same"} == {
        "config.json": "changed", "generation_config.json": "missing", "vocab.json": "missing",
    }  # fmt: skip
    assert {"output", "m0", "m1", "base"} <= found.keys()


def test_a_large_file_beside_the_weights_has_the_digest_of_its_chunks(folder: Path) -> None:
    (folder / "m0" / "tokenizer.json").write_bytes(bytes(range(256)) * 1500)
    record = json.loads((merged(folder) / "cuvee.json").read_text())
    data = bytes(range(256)) * 1500
    chunks = [xxhash.xxh3_128_digest(data[: 256 << 10]), xxhash.xxh3_128_digest(data[256 << 10 :])]
    assert record["output"]["files"]["tokenizer.json"] == xxhash.xxh3_128_hexdigest(b"".join(chunks))


def test_a_record_without_files_is_still_compared(folder: Path) -> None:
    out = merged(folder)
    record = json.loads((out / "cuvee.json").read_text())
    del record["output"]["files"]
    (out / "cuvee.json").write_text(json.dumps(record))
    (out / "config.json").unlink()
    assert set(states(out).values()) == {"same"}


def test_tensors_that_are_lost_or_added_are_named(folder: Path) -> None:
    out = merged(folder)
    tensors = load_file(out / "model.safetensors")
    tensors["more"] = tensors.pop("layers.0.weight")
    save_file(tensors, out / "model.safetensors")
    assert verify(out)[0].text.endswith("lacks layers.0.weight; has more: more.")


def test_an_input_that_is_gone_is_told(folder: Path) -> None:
    out = merged(folder)
    shutil.rmtree(folder / "m1")
    found = {finding.part: finding for finding in verify(out, replay=True)}
    assert (found["m0"].state, found["replay"].state) == ("missing", "missing")
    assert str(folder / "m1") in found["m0"].text


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ({"method": "gone", "models": ["{m1}"]}, "gone"),
        ({"method": "linear", "models": ["{m1}", "{other}"]}, "not in every model"),
        ("s3://nobody/x", "s3fs"),
        ("{m1}", ""),
    ],
)
def test_an_input_that_cannot_be_opened_does_not_hide_the_others(
    folder: Path, monkeypatch: pytest.MonkeyPatch, location: Any, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as if it were not installed
    out = merged(folder)
    save_state_dict(folder / "other", {"v": torch.ones(1)})
    written = json.dumps(location).replace("{m1}", str(folder / "m1")).replace("{other}", str(folder / "other"))
    record = json.loads((out / "cuvee.json").read_text())
    record["inputs"]["m0"]["location"] = json.loads(written)
    (out / "cuvee.json").write_text(json.dumps(record))
    found = {finding.part: finding for finding in verify(out)}
    assert (found["output"].state, found["m1"].state, found["base"].state) == ("same", "same", "same")
    assert found["m0"].state == ("missing" if said else "same")
    assert said in found["m0"].text


def test_what_was_compared_is_closed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    merge = {"method": "linear", "models": [str(folder / "m1"), str(folder / "m2")]}
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [merge, str(folder / "m0")]}, folder / "out")
    opened, closed = [], []
    open_one, close_one = Checkpoint.__init__, Checkpoint.close
    monkeypatch.setattr(Checkpoint, "__init__", lambda it, *a, **k: (opened.append(it), open_one(it, *a, **k))[1])
    monkeypatch.setattr(Checkpoint, "close", lambda it: (closed.append(it), close_one(it))[1])
    verify(folder / "out")
    assert len(opened) == 4
    assert {id(one) for one in opened} == {id(one) for one in closed}


def test_a_replay_needs_nothing_of_what_it_has_let_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block ends with a row, not with a chunk; where outputs are stored, parts of chunks are let go and read back."""
    generator = torch.Generator().manual_seed(5)
    for label in ("large", "larger"):
        save_state_dict(folder / label, {"w": torch.randn(900, 1999, generator=generator).bfloat16()})
    recipe = {"models": {"m0": str(folder / "large")}, "base": str(folder / "larger"), "parameters": {"scope": "row"}}
    cuvee.merge({"cuvee": 1, "method": "breadcrumbs", **recipe}, folder / "out")
    monkeypatch.setattr(digest, "MOST_LOOSE", 0)
    limits = cuvee.Limits(workers=1, block_bytes=1)
    assert set(states(folder / "out", replay=True, limits=limits).values()) == {"same"}


def test_what_was_in_memory_cannot_be_compared(folder: Path) -> None:
    merges, _ = models(folder)
    state = load_file(Path(merges[0]) / "model.safetensors")
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [state, merges[1]]}, folder / "out")
    assert states(folder / "out", replay=True) == {
        "output": "same", "m0": "unknown", "m1": "same", "replay": "unknown",
    }  # fmt: skip


def test_inputs_that_moved_with_their_files_still_have_their_digest(folder: Path) -> None:
    """The digest is of tensors: another division into files has the same."""
    out = merged(folder)
    record = json.loads((out / "cuvee.json").read_text())
    tensors = load_file(folder / "m1" / "model.safetensors")
    save_state_dict(folder / "m1", tensors, shard_bytes=4800, overwrite=True)
    assert len(list((folder / "m1").glob("*.safetensors"))) > 1
    assert states(out)["m0"] == "same"
    assert record["inputs"]["m0"]["unused"] == []


def test_tensors_that_are_not_read_are_named(folder: Path) -> None:
    models = {"a": str(folder / "m1"), "b": str(folder / "m3")}
    rules = [{"match": "only", "skip": True}, {"match": "layers.1.*", "copy": "a"}]
    cuvee.merge({"cuvee": 1, "method": "linear", "models": models, "tensors": rules}, folder / "out")
    record = json.loads((folder / "out" / "cuvee.json").read_text())
    assert record["inputs"]["b"]["unused"] == ["layers.1.weight", "only"]
    card = (folder / "out" / "README.md").read_text()
    assert re.search(r"- `b`: .*; 2 of its tensors are not used\)", card)
    assert set(states(folder / "out", replay=True).values()) == {"same"}


def test_relative_paths_are_found_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "recipe.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [m1, ./m2]\n")
    cuvee.merge(folder / "recipe.yaml", folder / "out")
    monkeypatch.chdir("/")
    assert set(states(folder / "out", replay=True).values()) == {"same"}


@pytest.mark.parametrize(
    ("spoil", "kind", "said"),
    [
        (lambda path: path.unlink(), SourceError, "has no record"),
        (lambda path: path.write_text("{"), FormatError, r"cuvee.json is .* damaged: it is no JSON object \(.* line 1"),
        (lambda path: path.write_text("[]"), FormatError, "damaged: it is no JSON object. Copy it again"),
        (lambda path: path.write_text('{"format": 99}'), FormatError, "has format 99; this version reads format 1"),
        (lambda path: path.write_text('{"format": "1"}'), FormatError, "damaged: 'format' is '1'. Copy it again"),
        (lambda path: path.write_text(NO_FILES), FormatError, r"'output.files' is \[\]"),
        (lambda path: path.write_text(OUTSIDE), FormatError, r"'output.files' is {'../a': '0'}"),
        (lambda path: path.write_text(NO_INPUT), FormatError, "'inputs.a' is 1"),
        (lambda path: path.write_text(NO_DIGEST), FormatError, "'output.digest' is 1"),
        (lambda path: path.write_text(NOT_TEXT), FormatError, "'output.tensors' is {"),
    ],
)  # fmt: skip
def test_records_that_are_none_are_refused(
    spoil: Callable[[Path], object], kind: type[Exception], said: str, folder: Path
) -> None:
    spoil(merged(folder) / "cuvee.json")
    with pytest.raises(kind, match=said):
        verify(folder / "out")


def test_the_record_stands_for_what_it_is_beside(folder: Path) -> None:
    out = merged(folder)
    assert verify(out / "cuvee.json") == verify(out)
    merges, _ = models(folder)
    cuvee.merge({"cuvee": 1, "method": "linear", "models": merges}, folder / "one.safetensors")
    assert states(folder / "one.cuvee.json") == {"output": "same", "m0": "same", "m1": "same"}
    (folder / "one.safetensors").unlink()
    assert states(folder / "one.cuvee.json")["output"] == "missing"


@pytest.mark.parametrize("spoil", [lambda data: data[:-4], lambda data: data[:40], lambda _: b"", lambda _: b"weights"])
def test_weights_that_can_no_longer_be_read_have_changed(spoil: Callable[[bytes], bytes], folder: Path) -> None:
    out = merged(folder)
    for spoilt in (out, folder / "m1"):
        weights = spoilt / "model.safetensors"
        weights.write_bytes(spoil(weights.read_bytes()))
    assert states(out) == {"output": "changed", "m0": "changed", "m1": "same", "base": "same"}


def test_a_folder_of_several_merges_names_them(folder: Path) -> None:
    merges, _ = models(folder)
    single = {"method": "linear", "models": merges}
    recipes = {"first": single, "second": {**single, "models": merges[:1]}}
    cuvee.merge_variants({folder / "my merges" / name: {"cuvee": 1, **recipe} for name, recipe in recipes.items()})
    cuvee.merge({"cuvee": 1, **single}, folder / "my merges" / "third.safetensors")
    said = f"holds the merges first, second, third.safetensors. .*: cuvee verify '{folder}/my merges/first'"
    with pytest.raises(SourceError, match=said):
        verify(folder / "my merges")
    assert set(states(folder / "my merges" / "first").values()) == {"same"}


def test_the_card_says_what_was_merged_and_what_it_took(folder: Path) -> None:
    out = merged(folder)
    record = json.loads((out / "cuvee.json").read_text())
    front, body = (out / "README.md").read_text().removeprefix("---\n").split("\n---\n", 1)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    for stated in record["inputs"].values():
        assert f"`{stated['digest']}`" in body
    assert record["output"]["digest"] in body
    assert f"torch {torch.__version__}" in body
    assert f"{record['costs']['bytes_read']:,} bytes read" in body
    assert record["versions"]["cuvee"] == cuvee.__version__
    assert record["costs"]["seconds"] > 0


@pytest.mark.parametrize(
    ("licences", "warns"),
    [
        (["apache-2.0", "mit", "cc-by-4.0"], False),
        (["apache-2.0", "llama3.1", "apache-2.0"], True),
        (["cc-by-nc-4.0", "cc-by-nc-4.0", "cc-by-nc-4.0"], False),
        (["gpl-3.0", None, "mit"], True),
        (["gpl-3.0", None, None], False),
    ],
)
def test_licences_that_differ_are_told(licences: list[str | None], warns: bool, folder: Path) -> None:
    for number, licence in enumerate(licences):
        card = folder / f"m{number}" / "README.md"
        card.write_text(CARD.format(licence)) if licence else card.unlink()
    merges, base = models(folder)
    report = cuvee.merge({"cuvee": 1, "method": "ties", "models": merges, "base": base}, folder / "out")
    told = [note for note in report.notes if note.startswith("The models' licences differ")]
    assert bool(told) == warns
    card = (folder / "out" / "README.md").read_text()
    assert all(note in card for note in told)
    record = json.loads((folder / "out" / "cuvee.json").read_text())
    assert [stated["licence"] for stated in record["inputs"].values()] == [licences[1], licences[2], licences[0]]
    assert told == [note for note in record["notes"] if note in told]


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: MIT\n---\n", "mit"),
        ("---\r\nlicense: mit\r\n---\r\ntext", "mit"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "apache-2.0 and mit"),
        ("---\nlicense: other\n---\n", "other"),
        ("no front matter\n---\nlicense: mit\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("---\n{broken\n---\n", None),
        ("---\nlicense: !!python/object/apply:os.system [ls]\n---\n", None),
        ("---\nlicense: mit", None),
        ("", None),
    ],
)
def test_licences_are_read_from_cards(card: str, licence: str | None, folder: Path) -> None:
    (folder / "m1" / "README.md").write_bytes(card.encode())
    record = json.loads((merged(folder) / "cuvee.json").read_text())
    assert record["inputs"]["m0"]["licence"] == licence

"""Where models come from and go to: folders, single files, state dicts in memory, and all of them together."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

import cuvee
from cuvee.errors import OutputError, RecipeError
from cuvee.sources.checkpoint import Checkpoint
from end_to_end.uneven import assert_same_bytes
from models import FAMILIES, SHARDS, build, load

Open = Callable[[Path], Any]

WAYS: dict[str, Open] = {
    "folder": lambda folder: folder,
    "text": str,
    "file": lambda folder: folder / "model.safetensors",
    "state dict": lambda folder: load_file(folder / "model.safetensors"),
    "open source": cuvee.open_source,
}
"""Ways to name one and the same model."""


@pytest.fixture
def folders(checkpoint: Any) -> list[Path]:
    """Return a base and two experts, each a folder of one file."""
    return [checkpoint("llama", tied=False, expert=i) for i in range(3)]


def ties(folders: list[Any], *ways: str) -> dict[str, Any]:
    """Write a recipe whose models are named in the given ways; the base last."""
    base, *experts = [WAYS[way](folder) for way, folder in zip(reversed(ways), folders, strict=True)]
    return {"cuvee": 1, "method": "ties", "models": experts, "base": base, "parameters": {"density": 0.4}}


@pytest.mark.parametrize(
    "ways",
    [
        ("text", "text", "text"),
        ("file", "file", "file"),
        ("state dict", "state dict", "state dict"),
        ("open source", "open source", "open source"),
        ("folder", "file", "state dict"),
        ("state dict", "open source", "folder"),
        ("file", "state dict", "text"),
    ],
    ids=" ".join,
)
def test_merge_has_the_same_weights_however_the_models_are_named(
    ways: tuple[str, ...], folders: list[Path], tmp_path: Path
) -> None:
    cuvee.merge(ties(folders, "folder", "folder", "folder"), tmp_path / "expected.safetensors")
    cuvee.merge(ties(folders, *ways), tmp_path / "out.safetensors")
    assert (tmp_path / "out.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def test_open_source_stays_open_and_a_state_dict_stays_as_it_was(folders: list[Path], tmp_path: Path) -> None:
    source = cuvee.open_source(folders[0])
    state = load_file(folders[1] / "model.safetensors")
    before = {name: tensor.clone() for name, tensor in state.items()}
    recipe = {"cuvee": 1, "method": "linear", "models": [source, state]}
    for name in ("one", "two"):
        cuvee.merge(recipe, tmp_path / name)
    assert_same_bytes(state, before)
    source.close()


def test_inputs_on_disk_are_not_touched(folders: list[Path], tmp_path: Path) -> None:
    def look() -> dict[Path, tuple[bytes, int]]:
        files = [file for folder in folders for file in sorted(folder.iterdir())]
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}

    before = look()
    cuvee.merge(ties(folders, "folder", "folder", "folder"), tmp_path / "out")
    assert look() == before


def test_sharded_and_single_inputs_mix(checkpoint: Any, tmp_path: Path) -> None:
    whole = [checkpoint("llama", tied=True, expert=i) for i in range(2)]
    sharded = checkpoint("llama", tied=True, expert=1, max_shard_size=SHARDS)
    assert len(list(sharded.glob("*.safetensors"))) > 1
    for name, second in (("one", whole[1]), ("other", sharded)):
        cuvee.merge({"cuvee": 1, "method": "slerp", "models": [whole[0], second]}, tmp_path / f"{name}.safetensors")
    one, other = (load_file(tmp_path / f"{name}.safetensors") for name in ("one", "other"))
    assert_same_bytes(one, other)


def test_single_file_output_has_the_weights_of_the_folder_and_its_record(folders: list[Path], tmp_path: Path) -> None:
    recipe = ties(folders, "folder", "folder", "folder")
    cuvee.merge(recipe, tmp_path / "folder")
    cuvee.merge({**recipe, "output": {"shard_size": 1000}}, tmp_path / "file" / "x.safetensors")
    assert sorted(path.name for path in (tmp_path / "file").iterdir()) == ["x.cuvee.json", "x.safetensors"]
    one, other = load_file(tmp_path / "folder" / "model.safetensors"), load_file(tmp_path / "file" / "x.safetensors")
    assert_same_bytes(other, one)


def test_single_file_output_can_be_a_source_again(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders[:2]}, tmp_path / "half.safetensors")
    recipe = {"cuvee": 1, "method": "linear", "models": [tmp_path / "half.safetensors", folders[2]]}
    cuvee.merge({**recipe, "parameters": {"weight": [2, 1]}}, tmp_path / "third.safetensors")
    result = load_file(tmp_path / "third.safetensors")
    states = [load_file(folder / "model.safetensors") for folder in folders]
    for name, tensor in result.items():
        torch.testing.assert_close(tensor, (sum(s[name].double() for s in states) / 3).float(), rtol=1e-5, atol=1e-7)


def test_merge_of_a_merge_loads(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders[:2]}, tmp_path / "first")
    cuvee.merge({"cuvee": 1, "method": "slerp", "models": [tmp_path / "first", folders[2]]}, tmp_path / "second")
    load("llama", tmp_path / "second")


def test_missing_parents_of_the_output_are_made(folders: list[Path], tmp_path: Path) -> None:
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders}, tmp_path / "a" / "b" / "out")
    load("llama", tmp_path / "a" / "b" / "out")


def test_existing_output_is_refused_and_stays_unless_overwritten(folders: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    cuvee.merge({"cuvee": 1, "method": "linear", "models": folders}, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    other = {"cuvee": 1, "method": "copy", "models": folders[:1], "output": {"shard_size": 5000}}
    with pytest.raises(OutputError, match="exists already"):
        cuvee.merge(other, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    cuvee.merge(other, out, overwrite=True)
    assert not (out / "model.safetensors").exists()  # nothing of the old one is left among the shards
    assert load("llama", out).state_dict().keys() == load("llama", folders[0]).state_dict().keys()


@pytest.mark.parametrize("where", ["the folder", "a file in it", "a folder in it", "around it"])
def test_output_that_would_touch_an_input_is_refused(where: str, folders: list[Path], tmp_path: Path) -> None:
    model = tmp_path / "models" / "m0"
    (tmp_path / "models").mkdir()
    build("llama", tied=False).save_pretrained(model)
    out = {
        "the folder": model,
        "a file in it": model / "model.safetensors",
        "a folder in it": model / "merged",
        "around it": tmp_path / "models",
    }[where]
    before = sorted(model.iterdir())
    with pytest.raises(OutputError, match="would touch the input"):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": [model, folders[1]]}, out, overwrite=True)
    assert sorted(model.iterdir()) == before


def test_models_that_do_not_fit_leave_nothing_behind(checkpoint: Any, tmp_path: Path) -> None:
    models = [checkpoint(family, tied=True) for family in ("llama", "gpt2")]
    with pytest.raises(RecipeError):
        cuvee.merge({"cuvee": 1, "method": "linear", "models": models}, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_recipe_file_is_merged_by_the_command_line_as_by_python(folders: list[Path], tmp_path: Path) -> None:
    relative = [os.path.relpath(folder, tmp_path) for folder in folders]
    recipe = {"cuvee": 1, "method": "dare_ties", "models": relative[1:], "base": relative[0], "seed": 3}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    cuvee.merge(tmp_path / "recipe.yaml", tmp_path / "python")
    command = [sys.executable, "-m", "cuvee", "merge", str(tmp_path / "recipe.yaml"), "--out", str(tmp_path / "out")]
    run = subprocess.run([*command, "--workers", "3"], capture_output=True, text=True, cwd="/")
    assert run.returncode == 0, run.stderr
    one, other = (tmp_path / name / "model.safetensors" for name in ("python", "out"))
    assert one.read_bytes() == other.read_bytes()
    load("llama", tmp_path / "out")


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_rules_copy_skip_and_merge_otherwise_on_a_real_checkpoint(family: str, checkpoint: Any, tmp_path: Path) -> None:
    base, *experts = (checkpoint(family, tied=True, expert=i) for i in range(3))
    states = [load_file(folder / "model.safetensors") for folder in (base, *experts)]
    embedding = FAMILIES[family].embedding
    norm = next(name for name in states[0] if "norm" in name.lower())
    rules = [
        {"match": embedding, "copy": "base"},
        {"match": norm, "copy": "m1"},
        {"match": "*bias*", "method": "linear"},
        {"match": "*.1.*", "skip": True},
    ]
    recipe = {"cuvee": 1, "method": "ties", "models": experts, "base": base, "tensors": rules}
    cuvee.merge(recipe, tmp_path / "out")
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert merged[embedding].equal(states[0][embedding])
    assert merged[norm].equal(states[2][norm])
    for name in (name for name in merged if "bias" in name and name != norm):
        torch.testing.assert_close(merged[name], (states[1][name] + states[2][name]) / 2)
    skipped = {name for name in states[0] if ".1." in name and "bias" not in name and name != norm}
    assert merged.keys() == states[0].keys() - skipped
    assert skipped


def test_values_over_depth_differ_from_layer_to_layer(checkpoint: Any, tmp_path: Path) -> None:
    base, expert = (checkpoint("llama", tied=False, expert=i) for i in range(2))
    recipe = {"cuvee": 1, "method": "task_arithmetic", "models": [expert], "base": base}
    cuvee.merge({**recipe, "parameters": {"scale": {"over_depth": [0.0, 1.0]}}}, tmp_path / "out")
    merged, first, last = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", base, expert))
    for name in merged:
        starts = "embed" in name or ".layers.0." in name  # the two layers lie at depths 0 and 1
        torch.testing.assert_close(merged[name], (first if starts else last)[name], rtol=1e-6, atol=1e-7)


def test_report_counts_what_was_moved(folders: list[Path], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    recipe = {"cuvee": 1, "method": "linear", "models": folders}
    report = cuvee.merge(recipe, tmp_path / "out", progress=lambda moved, total: seen.append((moved, total)))
    nbytes = sum(tensor.nbytes for tensor in load_file(folders[0] / "model.safetensors").values())
    assert (report.bytes_read, report.bytes_written) == (3 * nbytes, nbytes)
    assert sum(moved for moved, _ in seen) == 4 * nbytes
    assert {total for _, total in seen} == {4 * nbytes}
    plan = cuvee.plan(recipe)
    assert (plan.bytes_read, plan.bytes_written) == (3 * nbytes, nbytes)


def test_plan_reads_no_weight(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a weight was read")

    monkeypatch.setattr(Checkpoint, "read_into", refuse)
    recipe = ties(folders, "folder", "file", "text")
    assert cuvee.plan(recipe).bytes_written == sum(t.nbytes for t in load_file(WAYS["file"](folders[0])).values())


def test_merge_leaves_the_threads_of_torch_as_they_were(folders: list[Path], tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        cuvee.merge({"cuvee": 1, "method": "linear", "models": folders}, tmp_path / "out")
        assert torch.get_num_threads() == 3
        with pytest.raises(RecipeError):
            cuvee.merge({"cuvee": 1, "method": "ties", "models": folders}, tmp_path / "other")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)

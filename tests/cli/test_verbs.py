"""What each verb does, prints and leaves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cuvee as package
from cuvee.methods.registry import methods
from cuvee.plan.describe import describe
from cuvee.plan.limits import Limits
from cuvee.plan.planner import plan
from cuvee.writers.card import model_card
from cuvee.writers.save import save_state_dict


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_merge_writes_a_checkpoint_and_says_what_it_cost(cuvee: Any, models: Path) -> None:
    answer = cuvee("merge", "recipe.yaml", "--out", "out")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("Wrote out: ")
    for words in (" read, ", " written in ", "peak memory "):
        assert words in answer.err
    assert set(digests(models / "out")) == {"model.safetensors", "config.json", "README.md"}


def test_merge_to_a_file_writes_the_weights_alone(cuvee: Any, models: Path) -> None:
    assert cuvee("merge", "recipe.yaml", "--out", "out").code == 0
    assert cuvee("merge", "recipe.yaml", "--out", "alone.safetensors").code == 0
    assert (models / "alone.safetensors").read_bytes() == (models / "out" / "model.safetensors").read_bytes()


def test_quiet_merge_prints_nothing(cuvee: Any, models: Path) -> None:
    answer = cuvee("merge", "recipe.yaml", "--out", "out", "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    assert (models / "out" / "model.safetensors").exists()


def test_quiet_merge_prints_errors(cuvee: Any, models: Path) -> None:
    answer = cuvee("merge", "recipe.yaml", "--out", "a", "--quiet")
    assert answer.code == 1
    assert answer.err.startswith("cuvee: The output ")


def test_existing_output_stays_unless_overwrite_is_given(cuvee: Any, models: Path) -> None:
    assert cuvee("merge", "recipe.yaml", "--out", "out").code == 0
    before = digests(models / "out")
    (models / "other.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\n")
    refused = cuvee("merge", "other.yaml", "--out", "out")
    assert refused.code == 1
    assert "out exists already. Choose another place, or overwrite it (--overwrite" in refused.err
    assert digests(models / "out") == before
    assert cuvee("merge", "other.yaml", "--out", "out", "--overwrite").code == 0
    assert digests(models / "out") != before


def test_workers_and_block_size_do_not_change_the_bytes(cuvee: Any, models: Path) -> None:
    assert cuvee("merge", "recipe.yaml", "--out", "one.safetensors", "--workers", 1, "--block-size", 1).code == 0
    assert cuvee("merge", "recipe.yaml", "--out", "two.safetensors", "--workers", 3, "--block-size", 1 << 20).code == 0
    assert (models / "one.safetensors").read_bytes() == (models / "two.safetensors").read_bytes()


def test_notes_of_the_plan_and_the_run_are_printed(cuvee: Any, models: Path) -> None:
    (models / "recipe.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\nbase: base\n")
    note = (
        "method 'linear' does not use the base; it lends configuration, tokenizer, "
        "and what is copied (whole numbers, buffers)."
    )
    assert f"Note: {note}" in " ".join(cuvee("merge", "recipe.yaml", "--out", "out").err.split())
    assert f"Note: {note}" in " ".join(cuvee("plan", "recipe.yaml").out.split())
    assert cuvee("plan", "recipe.yaml", "--json").json["warnings"] == [note]
    assert note in (models / "out" / "README.md").read_text()


def test_recipe_in_another_folder_finds_its_models(cuvee: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (models / "elsewhere").mkdir()
    monkeypatch.chdir(models / "elsewhere")
    assert cuvee("merge", "../recipe.yaml", "--out", "out").code == 0
    assert (models / "elsewhere" / "out" / "model.safetensors").exists()


def test_plan_shows_what_json_says(cuvee: Any, models: Path) -> None:
    shown, answer = cuvee("plan", "recipe.yaml"), cuvee("plan", "recipe.yaml", "--json")
    assert (shown.code, shown.err, answer.code, answer.err) == (0, "", 0, "")
    assert answer.json == json.loads(json.dumps(describe(plan(models / "recipe.yaml"), Limits())))
    assert "5 rows. At most " in shown.out
    assert "about " in shown.out
    assert "model.layers.*.mlp.weight" in shown.out


def test_plan_lists_every_row_when_asked(cuvee: Any, models: Path) -> None:
    grouped, listed = cuvee("plan", "recipe.yaml").out, cuvee("plan", "recipe.yaml", "--rows").out
    assert "model.layers.1.mlp.weight" in listed
    assert "model.layers.1.mlp.weight" not in grouped


def test_plan_is_for_as_many_workers_as_asked(cuvee: Any, models: Path) -> None:
    one, eight = (cuvee("plan", "recipe.yaml", "--json", "--workers", count).json for count in (1, 8))
    assert (one["workers"], eight["workers"]) == (1, 8)
    assert one["peak_memory"] < eight["peak_memory"]
    assert "with 8 workers" in " ".join(cuvee("plan", "recipe.yaml", "--workers", 8).out.split())


def test_plan_writes_nothing(cuvee: Any, models: Path) -> None:
    before = sorted(models.rglob("*"))
    assert cuvee("plan", "recipe.yaml").code == 0
    assert sorted(models.rglob("*")) == before


@pytest.mark.parametrize("arguments", [("inspect", "a"), ("diff", "a", "b"), ("plan", "recipe.yaml"), ("methods",)])
@pytest.mark.usefixtures("models")
def test_json_is_json_and_nothing_else(cuvee: Any, arguments: tuple[str, ...]) -> None:
    answer = cuvee(*arguments, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert answer.json
    text = cuvee(*arguments)
    assert (text.code, text.err) == (0, "")
    with pytest.raises(json.JSONDecodeError):
        text.json  # noqa: B018  that it cannot be parsed is what is tested


@pytest.mark.parametrize("arguments", [("inspect", "a"), ("diff", "a", "b")])
@pytest.mark.usefixtures("models")
def test_tensors_are_listed_when_asked(cuvee: Any, arguments: tuple[str, ...]) -> None:
    short, long = cuvee(*arguments).out, cuvee(*arguments, "--tensors").out
    assert "model.layers.1.mlp.weight" in long
    assert "model.layers.1.mlp.weight" not in short


@pytest.mark.usefixtures("models")
def test_inspect_counts_parameters(cuvee: Any) -> None:
    described = cuvee("inspect", "a", "--json").json
    assert described["parameters"] == 4 * 2 + 3 * 4 + 2
    assert described["bytes"] == 4 * described["parameters"]


@pytest.mark.usefixtures("models")
def test_merged_checkpoint_can_be_inspected_compared_and_merged_again(cuvee: Any, models: Path) -> None:
    assert cuvee("merge", "recipe.yaml", "--out", "out").code == 0
    assert cuvee("inspect", "out", "--json").code == 0
    assert cuvee("diff", "out", "a", "--json").code == 0
    (models / "again.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [out, a]\n")
    assert cuvee("merge", "again.yaml", "--out", "again").code == 0


@pytest.fixture
def unlike(models: Path) -> Path:
    """Beside the others: a checkpoint with more layers, another shape and names full of brackets; a recipe of two."""
    tensors = {
        "model.embed_tokens.weight": torch.ones(4, 3),
        **{f"model.layers.{i}.mlp.weight": torch.ones(2, 2) for i in range(5)},
        "model.norm.weight": torch.ones(2),
        "model.[bold]blocks[0].:star:.a_name_that_is_much_longer_than_narrow_terminals": torch.ones(2),
    }
    save_state_dict(models / "unlike", tensors)
    (models / "long.yaml").write_text("cuvee: 1\nmethod: ties\nmodels: [unlike, unlike]\nbase: unlike\n")
    return models


@pytest.mark.parametrize(
    ("arguments", "labels"),
    [
        (("plan", "recipe.yaml"), ["model.layers.*.mlp.weight", "model.norm.weight"]),
        (
            ("plan", "long.yaml", "--rows"),
            ["model.layers.4.mlp.weight", "model.[bold]blocks[0].:star:.a_name_that_is_"],
        ),
        (("diff", "a", "b"), ["layer", "before the layers", "model.layers.1", "total"]),
        (("diff", "a", "b", "--tensors"), ["tensor", "model.layers.1.mlp.weight", "model.norm.weight", "total"]),
        (("inspect", "unlike"), ["matrix", "embedding"]),
        (("inspect", "unlike", "--tensors"), ["tensor", "model.[bold]blocks[0].:star:.a_name_that_is_much_longer_"]),
        (("methods",), ["method", *methods()]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
@pytest.mark.usefixtures("unlike")
def test_tables_are_the_same_in_narrow_terminals_and_begin_with_the_label(
    cuvee: Any, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], labels: list[str]
) -> None:
    shown = {}
    for columns in (20, 60, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        lines = [line.rstrip() for line in cuvee(*arguments).out.splitlines()]
        shown[columns] = [line for line in lines if any(line.startswith(label) for label in labels) and "  " in line]
        assert [label for label in labels if not any(line.startswith(label) for line in shown[columns])] == []
    if arguments != ("methods",):  # its summaries are text, which is wrapped
        assert shown[20] == shown[60] == shown[80] == shown[200]


def test_notes_are_one_line_each(cuvee: Any, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    (models / "recipe.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\nbase: base\n")
    (note,) = cuvee("plan", "recipe.yaml", "--json").json["warnings"]
    assert len(note) > 60
    assert f"Note: {note}" in cuvee("plan", "recipe.yaml").out.splitlines()
    assert f"Note: {note}" in cuvee("merge", "recipe.yaml", "--out", "out").err.splitlines()


@pytest.mark.usefixtures("unlike")
def test_diff_groups_what_cannot_be_compared(cuvee: Any) -> None:
    long_name = "model.[bold]blocks[0].:star:.a_name_that_is_much_longer_than_narrow_terminals"
    shape = "model.embed_tokens.weight: shapes differ: "
    lines = cuvee("diff", "a", "unlike").out.splitlines()
    assert lines[-3:] == [
        shape + "F32 (4, 2), F32 (4, 3)",
        "model.layers.*.mlp.weight (2 tensors): only in the second: F32 (2, 2)",
        f"{long_name}: only in the second: F32 (2,)",
    ]
    lines = cuvee("diff", "unlike", "a").out.splitlines()
    assert "model.layers.*.mlp.weight (2 tensors): only in the first: F32 (2, 2)" in lines
    lines = cuvee("diff", "a", "unlike", "--tensors").out.splitlines()
    assert lines[-4:-1] == [
        shape + "F32 (4, 2), F32 (4, 3)",
        "model.layers.3.mlp.weight: only in the second: F32 (2, 2)",
        "model.layers.4.mlp.weight: only in the second: F32 (2, 2)",
    ]
    statuses = {one["name"]: one["status"] for one in cuvee("diff", "a", "unlike", "--json").json["tensors"]}
    assert [name for name, status in statuses.items() if status == "only_b"] == [
        "model.layers.3.mlp.weight",
        "model.layers.4.mlp.weight",
        long_name,
    ]


def test_diff_names_the_layer_of_a_tensor_that_stands_alone(cuvee: Any, models: Path) -> None:
    save_state_dict(models / "one_more", {"model.layers.3.mlp.weight": torch.ones(2, 2)})
    said = "model.layers.3.mlp.weight: only in the second: F32 (2, 2)"
    assert said in cuvee("diff", "a", "one_more").out.splitlines()


def test_model_card_says_the_version_it_was_made_with(cuvee: Any, models: Path) -> None:
    assert cuvee("merge", "recipe.yaml", "--out", "out").code == 0
    card = (models / "out" / "README.md").read_text()
    assert f"Merged with cuvee {package.__version__}, by the method `ties`." in card
    assert "base_model" not in card


def test_model_card_lists_base_models_that_look_like_ids_of_a_hub(models: Path) -> None:
    (models / "org").mkdir()
    (models / "org" / "here").mkdir()
    named = {
        "base": "org/name-1.5",
        "a": "org/here",
        "b": "/data/b",
        "c": "other/Name",
        "d": "org/name-1.5",
        "e": "./e",
    }
    card = model_card("title", "linear", named, "cuvee: 1\n", [], version="1").decode()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["base_model"] == ["org/name-1.5", "other/Name"]
    assert front["tags"] == ["merge", "cuvee"]

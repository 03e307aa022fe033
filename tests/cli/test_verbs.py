"""What each verb does, prints and leaves."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from cuvee.plan.describe import describe
from cuvee.plan.limits import Limits
from cuvee.plan.planner import plan


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

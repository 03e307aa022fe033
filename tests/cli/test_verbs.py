"""What each verb does, prints and leaves."""

import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import cuvee as package
from cuvee.cli.units import size
from cuvee.execute import describe, forecast
from cuvee.execute.describe import predict
from cuvee.execute.forecast import Forecast
from cuvee.methods.registry import methods
from cuvee.writers.save import save_state_dict


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_merge_writes_a_checkpoint_and_says_what_it_cost(cuvee: Any, models: Path) -> None:
    answer = cuvee("merge", "recipe.yaml", "--out", "out")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith("Wrote out: ")
    for words in (
        " read, ",
        " written in ",
        " s of processor), peak memory ",
        ". Expected: ",
        " read in ",
        ", at most ",
    ):
        assert words in answer.err
    assert answer.err.count("\n") == 1
    assert set(digests(models / "out")) == {"model.safetensors", "config.json", "README.md", "cuvee.json"}


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
    assert cuvee("merge", "recipe.yaml", "--out", "three.safetensors", "--memory", "1 GB").code == 0
    assert cuvee("merge", "recipe.yaml", "--out", "four.safetensors", "--block-size", "3MiB", "--sync").code == 0
    for other in ("two", "three", "four"):
        assert (models / f"{other}.safetensors").read_bytes() == (models / "one.safetensors").read_bytes()


@pytest.mark.parametrize("synced", [True, False])
def test_a_merge_waits_for_the_disk_when_asked_to(
    cuvee: Any, models: Path, monkeypatch: pytest.MonkeyPatch, synced: bool
) -> None:
    calls: list[int] = []
    monkeypatch.setattr("os.fsync", calls.append)
    assert cuvee("merge", "recipe.yaml", "--out", "out", *(["--sync"] if synced else [])).code == 0
    assert bool(calls) == synced


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


MEASURED = {"seconds", "compute_seconds", "read_rate", "write_rate"}  # and so never twice the same


@pytest.mark.usefixtures("models")
def test_plan_prints_as_json_what_python_predicts(cuvee: Any) -> None:
    answer = cuvee("plan", "recipe.yaml", "--json")
    assert (answer.code, answer.err) == (0, "")
    predicted = json.loads(json.dumps(predict("recipe.yaml")))
    assert set(answer.json) == set(predicted) > MEASURED
    for key in set(predicted) - MEASURED:
        assert answer.json[key] == predicted[key], key
    assert all(answer.json[key] > 0 for key in MEASURED)


@pytest.mark.usefixtures("models")
def test_plan_shows_what_json_says(cuvee: Any) -> None:
    shown, answer = cuvee("plan", "recipe.yaml"), cuvee("plan", "recipe.yaml", "--json")
    assert (shown.code, shown.err) == (0, "")
    assert "model.layers.*.mlp.weight" in shown.out
    said = " ".join(shown.out.split())
    found = re.search(
        r"(\d+) rows\. (.*) to read \(at most (.*)\) and (.*) to write; about (.*), and at most (.*) of memory with "
        r"(\d+) workers?\.",
        said,
    )
    assert found is not None, said
    rows, usual, most, written, seconds, memory, workers = found.groups()
    assert (int(rows), int(workers)) == (len(answer.json["rows"]), answer.json["workers"]) == (5, 1)
    assert usual == size(answer.json["bytes_read"]) != most
    assert most == size(answer.json["bytes_read_at_most"])
    assert written == size(answer.json["bytes_written"])
    assert memory == size(answer.json["peak_memory"])
    assert re.fullmatch(r"\d+\.\d s", seconds)


def test_plan_says_nothing_of_most_bytes_where_there_is_nothing_to_guess(cuvee: Any, models: Path) -> None:
    (models / "recipe.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\n")
    said = " ".join(cuvee("plan", "recipe.yaml").out.split())
    assert "5 rows. 176 B to read and 88 B to write; about " in said


def test_plan_lists_every_row_when_asked(cuvee: Any, models: Path) -> None:
    grouped, listed = cuvee("plan", "recipe.yaml").out, cuvee("plan", "recipe.yaml", "--rows").out
    assert "model.layers.1.mlp.weight" in listed
    assert "model.layers.1.mlp.weight" not in grouped


def test_plan_is_for_as_many_workers_as_asked_and_of_use(cuvee: Any, models: Path) -> None:
    save_state_dict(models / "large", {"w": torch.zeros(3 << 19)})
    (models / "recipe.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [large, large]\n")
    one, two, many = (cuvee("plan", "recipe.yaml", "--json", "--workers", count).json for count in (1, 2, 100_000))
    assert (one["workers"], two["workers"], many["workers"]) == (1, 2, 3)
    assert one["peak_memory"] < two["peak_memory"] < many["peak_memory"]
    assert "with 2 workers" in " ".join(cuvee("plan", "recipe.yaml", "--workers", 2).out.split())


@pytest.mark.usefixtures("models")
def test_plan_is_within_the_memory_and_for_the_blocks_asked(cuvee: Any) -> None:
    limits = ("--memory", "200 MB", "--block-size", "2MiB", "--workers", 2)
    planned = cuvee("plan", "recipe.yaml", "--json", *limits).json
    assert planned["peak_memory"] <= 200_000_000
    assert (planned["workers"], planned["block_bytes"]) == (1, 2 << 20)
    said = " ".join(cuvee("plan", "recipe.yaml", *limits).out.split())
    assert f"and at most {size(planned['peak_memory'])} of memory with 1 worker." in said


@pytest.mark.parametrize("verb", [("plan",), ("merge", "--out", "out")])
@pytest.mark.usefixtures("models")
def test_memory_that_is_said_to_suffice_suffices(cuvee: Any, verb: tuple[str, ...]) -> None:
    refused = cuvee(*verb, "recipe.yaml", "--memory", "10MB")
    assert refused.code == 2
    (enough,) = re.findall(r"the limit is 10 MB\. Allow (\d+) MB or more\.\n$", refused.err)
    assert cuvee(*verb, "recipe.yaml", "--memory", f"{int(enough) - 1}MB").code == 2
    assert cuvee(*verb, "recipe.yaml", "--memory", f"{enough}MB").code == 0


@pytest.mark.parametrize("options", [(), ("--out", "new/out"), ("--out", "a"), ("--out", "new.safetensors")])
def test_plan_writes_nothing(cuvee: Any, models: Path, options: tuple[str, ...]) -> None:
    before = sorted(models.rglob("*"))
    assert cuvee("plan", "recipe.yaml", *options).code == 0
    assert sorted(models.rglob("*")) == before


def test_plan_measures_the_disk_that_the_output_would_go_to(
    cuvee: Any, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def watched(plan: Any, limits: Any, folder: Path | None = None) -> Forecast:
        asked.append(folder)
        return forecast.forecast(plan, limits, folder)

    monkeypatch.setattr(describe, "forecast", watched)
    cuvee("plan", "recipe.yaml")
    cuvee("plan", "recipe.yaml", "--out", "new/out")
    assert asked == [None, Path("new/out")]


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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("plan", "recipe.yaml"), True),
        (("merge", "recipe.yaml", "--out", "out", "--overwrite"), True),
        (("merge", "recipe.yaml", "--out", "out", "--overwrite", "--quiet"), False),
    ],
)
def test_the_first_use_on_a_machine_says_that_it_compiles(models: Path, arguments: tuple[str, ...], told: bool) -> None:
    environment = {**os.environ, "CUVEE_CACHE": str(models / "cache")}
    for expected in (told, False):
        command = [sys.executable, "-m", "cuvee", *arguments]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert run.stderr.startswith("Compiling for this machine; ") == expected

"""Models and scores in, a table out: several models, recipes, costs, what is said before weights are read."""

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import cuvee
import models
import scored
from cuvee.errors import CuveeError, MissingLibraryError, PlanError, RecipeError, ScoreError, SourceError
from cuvee.evaluate import subject as room
from cuvee.writers.save import save_state_dict


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the current one, with the models a, b and c, a text, and recipes."""
    monkeypatch.chdir(tmp_path)
    for expert, name in enumerate("abc", 1):
        scored.language_model(tmp_path / name, expert=expert)
    scored.text(tmp_path / "t.txt", 100)
    (tmp_path / "r.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\n")
    (tmp_path / "several.yaml").write_text(
        "cuvee: 1\nrecipes:\n  one: {method: linear, models: [a, b]}\n  two: {method: linear, models: [a, c]}\n"
    )
    (tmp_path / "kit.yml").write_text("merge_method: linear\nmodels:\n- model: a\n  parameters: {weight: 1}\n"
                                      "- model: b\n  parameters: {weight: 1}\n")  # fmt: skip
    return tmp_path


SCORE = "perplexity:text=t.txt"


@pytest.mark.usefixtures("here")
def test_one_table_of_models_recipes_and_scores() -> None:
    recipe = cuvee.Recipe(method="linear", models=["a", "b"])
    given = ["a", Path("r.yaml"), "several.yaml", "kit.yml", recipe, recipe.to_mapping(), "a"]
    found = cuvee.evaluate(given, [SCORE, "bits_per_byte:text=t.txt"])
    labels = ["a", "r.yaml", "several.yaml:one", "several.yaml:two", "kit.yml", "recipe", "recipe (2)", "a (2)"]
    assert [model.label for model in found.models] == labels
    assert [(r.model, r.score) for r in found.results] == [
        (label, name) for label in labels for name in ("perplexity", "bits_per_byte")
    ]
    values = {label: found.value(label, "perplexity") for label in labels}
    assert len({values[label] for label in ("r.yaml", "several.yaml:one", "kit.yml", "recipe", "recipe (2)")}) == 1
    assert len({values[label] for label in ("a", "r.yaml", "several.yaml:two")}) == 3
    assert values["a"] == values["a (2)"]
    with pytest.raises(KeyError):
        found.value("a", "accuracy")


@pytest.mark.usefixtures("here")
def test_a_recipe_scores_as_the_folder_that_it_makes_and_writes_nothing(here: Path) -> None:
    before = sorted(here.rglob("*"))
    merged = cuvee.evaluate("r.yaml", SCORE)
    assert sorted(here.rglob("*")) == before
    cuvee.merge("r.yaml", "out")
    stored = cuvee.evaluate("out", SCORE)
    assert merged.results[0].measure == stored.results[0].measure
    assert merged.models[0].digest == stored.models[0].digest
    assert merged.models[0].files == stored.models[0].files


@pytest.mark.usefixtures("here")
def test_results_are_plain_values_with_all_that_they_come_from() -> None:
    found = json.loads(json.dumps(cuvee.evaluate(["a", "r.yaml"], SCORE, limit=3, dtype="float64").to_mapping()))
    assert found["format"] == 1
    assert found["limit"] == 3
    assert {"cuvee", "python", "torch", "transformers"} <= set(found["versions"])
    plain, merge = found["models"]
    assert plain["recipe"] is None
    assert merge["recipe"]["method"] == "linear"
    assert {label: Path(each["location"]).name for label, each in merge["inputs"].items()} == {"m0": "a", "m1": "b"}
    assert [each["digest"] for each in plain["inputs"].values()] == [plain["digest"]]
    assert merge["inputs"]["m0"]["digest"] == plain["digest"]
    assert (plain["dtype"], plain["device"], plain["architecture"]) == ("float64", "cpu", "LlamaForCausalLM")
    row = found["results"][0]
    assert row["settings"] == {"text": "t.txt", "window": 32, "stride": 16, "batch": 1}  # what the model was made for
    assert len(row["data"]["text"]) == 32
    assert row["peak_memory"] > 50e6
    assert row["peak_device_memory"] == 0
    assert row["cpu_seconds"] >= 0
    assert row["asked"] == SCORE


@pytest.mark.usefixtures("here")
def test_adapters_lie_on_models_as_in_any_other_verb() -> None:
    name, a, b = "layers.0.self_attn.q_proj", torch.randn(2, 16), torch.randn(16, 2)
    factors = {f"base_model.model.model.{name}.lora_{side}.weight": t for side, t in (("A", a), ("B", b))}
    Path("adapter").mkdir()
    safetensors.torch.save_file(factors, "adapter/adapter_model.safetensors")
    Path("adapter/adapter_config.json").write_text('{"peft_type": "LORA", "r": 2, "lora_alpha": 4}')
    model = models.load("llama", Path("a"))
    with torch.no_grad():
        model.get_submodule(f"model.{name}").weight += 2 * b @ a
    scored.save(model, Path("added"))
    found = cuvee.evaluate(["a", "a+adapter", "added"], SCORE)
    plain, on_it, added = (each.measure.value for each in found.results)
    assert on_it == pytest.approx(added, rel=1e-5)
    assert on_it != pytest.approx(plain, rel=1e-3)


@pytest.mark.usefixtures("here")
def test_everything_wrong_is_said_before_a_weight_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "execute", None)
    wrong: list[tuple[Any, Any, type[CuveeError], str]] = [
        ("a", [], ScoreError, "there is no score"),
        ("a", [SCORE, "perplexity:text=no.txt"], ScoreError, "no.txt, which a score needs, cannot be read"),
        (["a", "no"], SCORE, SourceError, "'no'"),
        (["a", "no.yaml"], SCORE, RecipeError, "no.yaml"),
        ({"model.w": torch.ones(2)}, SCORE, ScoreError, "a dict is no model"),
        (5, SCORE, ScoreError, "a int is no model"),
        ("a", "similarity:data=t.txt", ScoreError, "no table that is read here"),
        ("a", "classification:data=d.jsonl,text=text", ScoreError, "text classifier or image classifier.*a LlamaFor"),
    ]
    scored.lines(Path("d.jsonl"), [{"text": "w5", "label": "good"}])
    for given, scores, kind, said in wrong:
        with pytest.raises(kind, match=said):
            cuvee.evaluate(given, scores)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"limit": 0}, "at least one example"),
        ({"device": "gpu"}, "'gpu' is not known; it can be auto, cpu, cuda"),
        ({"dtype": "bfloat"}, "Did you mean 'bfloat16'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ScoreError, match=said):
        cuvee.evaluate("a", SCORE, **options)


@pytest.mark.usefixtures("here")
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    with pytest.raises(ScoreError, match="torch finds no GPU"):
        cuvee.evaluate("a", SCORE, device="cuda")


@pytest.mark.usefixtures("here")
def test_models_that_are_not_whole_are_explained(here: Path) -> None:
    config = json.loads((here / "a" / "config.json").read_text())
    save_state_dict(here / "bare", {"w": torch.ones(2)})
    with pytest.raises(ScoreError, match=r"has no config.json"):
        cuvee.evaluate("bare", SCORE)
    for name, change, said in [
        ("unnamed", {"architectures": None, "model_type": "nothing"}, "'architectures' is missing"),
        ("unknown", {"architectures": ["NothingForCausalLM"]}, "which transformers .* does not have"),
        ("odd", {"num_attention_heads": "many"}, "cannot"),
    ]:
        (here / name).mkdir()
        for file in (here / "a").iterdir():
            (here / name / file.name).write_bytes(file.read_bytes())
        (here / name / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ScoreError, match=said):
            cuvee.evaluate(name, SCORE)
    (here / "unnamed" / "config.json").write_text(json.dumps(config | {"architectures": None}))
    assert cuvee.evaluate("unnamed", SCORE).models[0].architecture == "LlamaForCausalLM"
    (here / "b" / "tokenizer.json").unlink()
    (here / "b" / "tokenizer_config.json").unlink()
    with pytest.raises(ScoreError, match="has no tokenizer"):
        cuvee.evaluate("b", SCORE)
    (here / "c" / "tokenizer.json").write_text("{}")
    with pytest.raises(ScoreError, match="cannot read its tokenizer"):
        cuvee.evaluate("c", SCORE)


@pytest.mark.usefixtures("here")
def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'cuvee\[hf\]'"):
        cuvee.evaluate("a", SCORE)


@pytest.mark.usefixtures("here")
def test_merges_that_are_no_model_are_refused(here: Path) -> None:
    (here / "adapter.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, b]\nbase: c\noutput: {adapter: true}\n")
    with pytest.raises(ScoreError, match="makes an adapter"):
        cuvee.evaluate("adapter.yaml", SCORE)
    save_state_dict(here / "small", {"w": torch.ones(2)})
    (here / "apart.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [a, small]\n")
    with pytest.raises(PlanError):
        cuvee.evaluate("apart.yaml", SCORE)


@pytest.mark.usefixtures("here")
def test_progress_tells_of_every_step() -> None:
    told: list[tuple[str, int, int]] = []
    cuvee.evaluate(["a", "b"], [SCORE, SCORE], progress=lambda *step: told.append(step))
    assert told == [(label, step, 3) for label in "ab" for step in range(4)]


@pytest.mark.gpu
@pytest.mark.usefixtures("here")
def test_a_gpu_says_what_the_cpu_says() -> None:
    on_cpu, on_gpu = (cuvee.evaluate("a", SCORE, device=device) for device in ("cpu", "cuda"))
    assert on_gpu.results[0].measure.value == pytest.approx(on_cpu.results[0].measure.value, rel=1e-4)
    assert on_gpu.results[0].peak_device_memory > 0


@pytest.mark.usefixtures("here")
def test_a_model_that_overflows_has_no_perplexity_and_still_makes_json(here: Path) -> None:
    model = models.load("llama", here / "a")
    with torch.no_grad():
        model.model.norm.weight.fill_(3e38)
    scored.save(model, here / "broken")
    found = cuvee.evaluate("broken", SCORE)
    (row,) = found.to_mapping()["results"]  # type: ignore[misc, union-attr]
    assert row["value"] is None
    assert row["low"] is None
    assert "NaN" not in json.dumps(found.to_mapping(), allow_nan=False)


@pytest.mark.usefixtures("here")
def test_a_perplexity_beyond_all_numbers_is_infinite(here: Path) -> None:
    model = models.load("llama", here / "a")
    with torch.no_grad():
        model.model.norm.weight.fill_(1e6)
    scored.save(model, here / "sure")
    (row,) = cuvee.evaluate("sure", SCORE).results
    assert row.measure.value == float("inf")
    assert row.measure.doubt == "none"


def test_errors_name_a_checkpoint_as_its_user_did(tmp_path: Path) -> None:
    text = scored.text(tmp_path / "text.txt", 9)
    for name, label in (("some/model+adapter", "model_adapter"), ("base", "model_base"), ("a b", "a_b")):
        with pytest.raises(cuvee.CuveeError, match=f"model '{label}': "):
            cuvee.evaluate(tmp_path / name, f"perplexity:text={text}")

"""Where a configuration of mergekit is wrong, in lines of its file; and what its names mean on the disk."""

from pathlib import Path

import pytest
import yaml

from cuvee.errors import RecipeError
from cuvee.recipe.several import recipes_of

TWO = "models: [{model: a}, {model: b}]\n"
WEIGHED = f"merge_method: linear\n{TWO}parameters: {{weight: 1}}\n"
ONE = "name: one\nmerge_method: passthrough\nmodels: [{model: a}]\n---\n"


def refusal(text: str, folder: Path) -> str:
    (folder / "config.yml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipes_of(folder / "config.yml")
    return str(caught.value)


def test_what_lies_on_the_disk_has_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "lora"):
        (tmp_path / name).mkdir()
    two = "models: [{model: a@main+lora@v2}, {model: org/b@main}]\n"
    (made,) = recipes_of(yaml.safe_load(f"merge_method: linear\nparameters: {{weight: 1}}\n{two}")).values()
    assert [*made.models.values()] == ["a+lora", "org/b@main"]
    assert [note.split(" is a ")[0] for note in made.notes] == ["'a'", "'lora'"]
    assert "'@main' is ignored" in made.notes[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (f"{WEIGHED}chat_template: chatlm\n", 4),
        (f"{WEIGHED}tokenizer_source: c\n", 4),
        (f"{WEIGHED}tokenizer:\n  source: c\n", 5),
        ("merge_method: linear\nmodels:\n- model: a\n  parameters:\n    weight: .nan\n- model: b\n"
         "  parameters: {weight: 1}\n", 5),
        ("merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 2]}\n"
         "- sources:\n  - {model: a, layer_range: [2, 4]}\n  parameters:\n    weight: .nan\n"
         "parameters: {weight: 1}\n", 8),
        (f"{ONE}{WEIGHED}chat_template: chatlm\n", 8),
    ],
)  # fmt: skip
def test_an_error_in_the_recipe_names_the_line_of_the_configuration(text: str, line: int, tmp_path: Path) -> None:
    assert refusal(text, tmp_path).startswith(f"{tmp_path / 'config.yml'}:{line}: ")


def test_models_and_layers_of_a_recipe_have_the_lines_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(
        "merge_method: task_arithmetic\nparameters: {weight: 1}\nbase_model: base\nslices:\n"
        "- sources:\n  - {model: base, layer_range: [0, 2]}\n  - {model: a, layer_range: [0, 2]}\n"
        "- sources:\n  - {model: base, layer_range: [0, 2]}\n  - model: b\n    layer_range: [0, 2]\n"
    )
    (made,) = recipes_of(tmp_path / "config.yml").values()
    assert made.origin is not None
    places = {("models", "b"): 10, ("base",): 3, ("layers", 1, "take", "b"): 11, ("layers", 1): 8, ("seed",): 1}
    assert {place: made.origin.line(place) for place in places} == places


def test_a_tokenizer_comes_from_models_that_the_document_lists_itself(tmp_path: Path) -> None:
    two = "name: two\nmerge_method: passthrough\nmodels: [{model: one}]\n---\n"
    last = "merge_method: passthrough\nmodels: [{model: two}]\n"
    said = refusal(f"{ONE}{two}{last}tokenizer_source: one\n", tmp_path)
    assert said == (
        f"{tmp_path / 'config.yml'}:11: 'one' is no model of this merge. Tokenizers and rows of tokens come from "
        "models that it lists itself: two."
    )
    assert "Did you mean 'union'?" in refusal(f"{last}tokenizer_source: unoin\n", tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("merge_method: linear\nmodels:\n- model: a\n  weight: 1\n", 4, "stands there without 'parameters:'"),
        (f"merge_method: slerp\nbase_model: a\n{TWO}t: 0.5\n", 4, "stands there without 'parameters:'"),
        (f"merge_method: ties\nbase_modle: c\n{TWO}", 2, "Did you mean 'base_model'?"),
        ("merge_method: ties\nmodel: [{model: a}]\n", 1, "'model' is no key. Did you mean 'models'?"),
        ("base_model: a\ngate_mode: random\nexperts: []\n", 3, "a configuration of mergekit-moe"),
        ("genome: {merge_method: ties}\n", 1, "a configuration of mergekit-evolve"),
        ("merge_method: linear\nslices: [{sources: [{model: a, layer_range: [-2, 8]}]}]\n", 2, "counted from 0"),
        ("merge_method: passthrough\nmodels: [{model: a}, {model: b}]\n", 2, "takes 1 model, the base"),
        (
            f"{WEIGHED}chat_template: '{{% for m in messages %}}{{{{ m.content '\n",
            4,
            "expected 'end of print statement'.",
        ),
    ],
)
def test_what_was_probably_meant_is_said_and_where(text: str, line: int, said: str, tmp_path: Path) -> None:
    message = refusal(text, tmp_path)
    assert message.startswith(f"{tmp_path / 'config.yml'}:{line}: ")
    assert said in message
    assert not message.endswith("..")


def test_notes_of_keys_are_sentences() -> None:
    (made,) = recipes_of(yaml.safe_load(f"{WEIGHED}merge_methd: x\nfoo: 1\n")).values()
    assert made.notes == (
        "mergekit, and so cuvee, ignores the key 'merge_methd'. Did you mean 'merge_method'?",
        "mergekit, and so cuvee, ignores the key 'foo'.",
    )

"""Numbers that YAML 1.1 writes in other ways than people do: they are what mergekit reads."""

from pathlib import Path

import pytest

from cuvee.errors import RecipeError
from cuvee.recipe.several import recipes_of

# As PyYAML's safe_load, which mergekit uses, reads them.
READ = {"010": 8.0, "-010": -8.0, "0x2": 2.0, "0b11": 3.0, "1:30": 90.0, "08": 8.0, "'010'": 10.0, "1_0": 10.0}


def weight(path: Path, number: str, document: int = 0) -> object:
    text = f"merge_method: linear\nmodels:\n- {{model: a, parameters: {{weight: {number}}}}}\n- model: b\n"
    before = "name: one\nmerge_method: linear\nparameters: {weight: 1}\nmodels: [{model: x}]\n---\n" * document
    path.write_text(before + text.replace("- model: b", "- {model: one, parameters: {weight: 1}}"))
    return recipes_of(path)[""].parameters["weight"]["a"]


@pytest.mark.parametrize(("number", "value"), READ.items())
def test_a_number_is_what_mergekit_reads(tmp_path: Path, number: str, value: float) -> None:
    assert weight(tmp_path / "config.yml", number) == value


def test_in_later_documents_too(tmp_path: Path) -> None:
    assert weight(tmp_path / "config.yml", "010", document=1) == 8.0


def test_layers_are_those_that_mergekit_takes(tmp_path: Path) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 010]}]\n"
        "- sources: [{model: b, layer_range: [010, 9]}]\n"
    )
    slices = recipes_of(path)[""].layers[""]
    assert [[*each.take.values()] for each in slices] == [[(0, 8)], [(8, 9)]]


def test_a_recipe_of_ours_takes_no_such_number(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("cuvee: 1\nmethod: linear\nmodels: {a: 010, b: x}\nparameters: {weight: {a: 010, b: 1}}\n")
    with pytest.raises(RecipeError, match="'010'"):
        recipes_of(path)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("merge_methd: ties\nbase_model: b\nmodels: [{model: a}]\n", 1, "this has 'merge_methd'. Did you mean that?"),
        ("base_model: b\nmodels: [{model: a}]\n", 1, "this has none. Say which one: merge_method: ties."),
        ("models: [{model: a}]\n", 1, "this has none"),
    ],
)
def test_a_configuration_without_its_method_is_told_so(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipes_of(path)
    assert str(caught.value).startswith(f"{path}:{line}: this looks like a configuration of mergekit")
    assert said in str(caught.value)


@pytest.mark.parametrize(("key", "hint"), [("revision", "{model: {path: NAME, revision: ...}}"), ("modl", "'model'")])
def test_a_wrong_key_of_a_name_says_where_it_belongs(tmp_path: Path, key: str, hint: str) -> None:
    path = tmp_path / "config.yml"
    path.write_text(
        f"merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: {{model: a, {key}: main}}}}]\n"
    )
    with pytest.raises(RecipeError, match=f"has no key '{key}'") as caught:
        recipes_of(path)
    assert hint in str(caught.value)

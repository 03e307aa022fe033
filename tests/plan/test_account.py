"""What the user is told of models that do not quite go together."""

import json
from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.errors import FormatError, PlanError, SourceError
from cuvee.writers.save import save_state_dict

CONFIG = {"model_type": "llama", "num_hidden_layers": 2, "rope_theta": 10000.0, "dtype": "float32"}


def save(folder: Path, layers: int = 2, width: int = 3, tokenizer: str = "{}", **config: object) -> str:
    tensors = {f"model.layers.{i}.mlp.up_proj.weight": torch.ones(2, 2) for i in range(layers)}
    tensors["model.embed_tokens.weight"] = torch.ones(width, 2)
    files = {"config.json": json.dumps({**CONFIG, **config}).encode(), "tokenizer.json": tokenizer.encode()}
    save_state_dict(folder, tensors, files=files)
    return str(folder)


def warnings_of(models: list[str], *rules: cuvee.Rule) -> list[str]:
    return list(cuvee.plan(cuvee.Recipe(method="linear", models=models, tensors=rules)).warnings)


def test_settings_that_differ_are_told_with_their_values(tmp_path: Path) -> None:
    models = [save(tmp_path / "a"), save(tmp_path / "b", rope_theta=5e5, dtype="bfloat16", _name_or_path="x")]
    assert warnings_of(models) == [
        "'m1' is configured otherwise than 'm0', which the merge follows: rope_theta (500000.0, not 10000.0)."
    ]


def test_another_tokenizer_is_told(tmp_path: Path) -> None:
    models = [save(tmp_path / "a"), save(tmp_path / "b", tokenizer='{"a": 1}'), save(tmp_path / "c")]
    assert warnings_of(models) == ["'m1' has another tokenizer than 'm0', whose goes with the merge: tokenizer.json."]


def test_a_model_named_twice_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a")
    assert warnings_of([path, path]) == [f"'m0' and 'm1' are one model ({path})."]
    recipe = cuvee.Recipe(method="ties", models=[path], base=path)
    assert list(cuvee.plan(recipe).warnings) == [f"'m0' is the base: its task vector is zero ({path})."]


def test_a_model_named_many_times_is_told_once(tmp_path: Path) -> None:
    path = save(tmp_path / "a")
    listed = "'m0', 'm1', 'm2', 'm3', 'm4' and 35 more"
    assert warnings_of([path] * 40) == [f"{listed} are one model ({path})."]
    recipe = cuvee.Recipe(method="ties", models=[path] * 2, base=path)
    what = "'m0' and 'm1' are one model, which is the base: their task vectors are zero"
    assert list(cuvee.plan(recipe).warnings) == [f"{what} ({path})."]


def test_nothing_is_said_of_a_base_that_is_merged_as_a_model(tmp_path: Path) -> None:
    one, two = save(tmp_path / "a"), save(tmp_path / "b")
    assert not cuvee.plan(cuvee.Recipe(method="linear", models=[one, two], base=two)).warnings
    recipe = cuvee.Recipe(method="linear", models=[one, two, two], base=two)
    assert list(cuvee.plan(recipe).warnings) == [f"'m1' and 'm2' are one model ({two})."]


@pytest.mark.parametrize(("rows", "is_used"), [(4, True), (3, False)])
def test_a_base_that_gives_rows_of_the_vocabulary_is_used(tmp_path: Path, rows: int, is_used: bool) -> None:
    models, base = [save(tmp_path / "a"), save(tmp_path / "b")], save(tmp_path / "c", width=rows)
    warnings = cuvee.plan(cuvee.Recipe(method="linear", models=models, base=base)).warnings
    assert any("does not use the base" in note for note in warnings) != is_used


@pytest.mark.parametrize("role", ["the first model", "the base"])
def test_a_model_that_should_lend_a_configuration_and_has_none_is_told(tmp_path: Path, role: str) -> None:
    whole, file = save(tmp_path / "a"), str(tmp_path / "b" / "model.safetensors")
    save(tmp_path / "b")
    recipe = (
        cuvee.Recipe(method="linear", models=[file, whole])
        if role == "the first model"
        else cuvee.Recipe(method="ties", models={"m1": whole}, base=file)
    )
    lender = "m0" if role == "the first model" else "base"
    told = (
        f"'{lender}' ({file}) lends configuration and tokenizer, as {role}, and has none: a folder that is written so "
        "lacks config.json. Name a checkpoint's folder there; or, to follow 'm1', give it as 'base'."
    )
    assert list(cuvee.plan(recipe).warnings) == [told]
    report = cuvee.merge(recipe, tmp_path / "out")
    assert told in report.notes
    assert not (tmp_path / "out" / "config.json").exists()
    assert "library_name" not in (tmp_path / "out" / "README.md").read_text()
    cuvee.merge(cuvee.Recipe(method="linear", models=[whole, file]), tmp_path / "other")
    assert "library_name: transformers" in (tmp_path / "other" / "README.md").read_text()


@pytest.mark.parametrize(
    ("other", "rule", "what"),
    [
        (
            {"layers": 3},
            {"match": ("*.layers.2.*",), "copy": "m1"},
            "which it lacks: model.layers.2.mlp.up_proj.weight",
        ),
        ({}, {"match": ("*.layers.1.*",), "skip": True}, "which is left out: model.layers.1.mlp.up_proj.weight"),
        ({"width": 4}, {"match": ("*embed*",), "copy": "m1"}, "in another shape: model.embed_tokens.weight"),
    ],
)
def test_an_output_that_the_configuration_does_not_describe_is_told(
    tmp_path: Path, other: dict[str, int], rule: dict[str, object], what: str
) -> None:
    models = [save(tmp_path / "a"), save(tmp_path / "b", **other)]  # type: ignore[arg-type]
    told = warnings_of(models, cuvee.Rule(**rule))  # type: ignore[arg-type]
    assert told[-1] == (
        f"The configuration comes from 'm0', but the merge differs from it by 1 tensor, {what}. Check config.json "
        "before you load the merge."
    )


def test_an_output_without_tensors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="the rules leave out every tensor"):
        warnings_of([save(tmp_path / "a")], cuvee.Rule(match=("*",), skip=True))


def test_all_shapes_that_differ_are_told_at_once_with_the_kinds_of_model(tmp_path: Path) -> None:
    for name, size in (("a", 2), ("b", 3)):
        tensors = {f"t{i}": torch.ones(size) for i in range(12)}
        save_state_dict(tmp_path / name, tensors, files={"config.json": json.dumps({"model_type": name * 3}).encode()})
    with pytest.raises(PlanError) as caught:
        warnings_of([str(tmp_path / "a"), str(tmp_path / "b")])
    message = str(caught.value)
    assert message.startswith("t0: shapes differ: 'm0' (2,), 'm1' (3,). So do those of t1, ")
    assert "and 3 more" in message
    assert "'m0' is aaa " in message
    assert "'m1' is bbb " in message


def test_a_wrong_path_names_the_line_of_the_recipe(tmp_path: Path) -> None:
    save(tmp_path / "a")
    for models, line in (("[a, nowhere]", 3), ("\n  x: a\n  y: nowhere", 5), ("\n- a\n- nowhere", 5)):
        (tmp_path / "r.yaml").write_text(f"cuvee: 1\nmethod: linear\nmodels: {models}\n")
        with pytest.raises(SourceError, match=rf"r\.yaml:{line}: model '(y|m1)': .*nowhere"):
            cuvee.plan(tmp_path / "r.yaml")


def test_files_that_are_not_weights_are_told_apart(tmp_path: Path) -> None:
    folder = save(tmp_path / "a")
    with pytest.raises(SourceError, match="Name its folder"):
        cuvee.open_source(f"{folder}/config.json")
    (tmp_path / "p.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(FormatError, match="git lfs pull"):
        cuvee.open_source(tmp_path / "p.safetensors")

"""A configuration of mergekit, and the recipe that it is. What recipes are expected follows from the specification."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from cuvee.errors import RecipeError
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.several import recipes_of, written

TWO = "models: [{model: a}, {model: b}]\n"
LINEAR = f"merge_method: linear\n{TWO}"
WEIGHED = f"{LINEAR}parameters: {{weight: 1}}\n"


def recipe(text: str) -> dict[str, Any]:
    """Return the recipe of a configuration as plain values."""
    (made,) = recipes_of(yaml.safe_load(text)).values()
    return made.to_mapping()


def refusal(text: str, folder: Path) -> str:
    (folder / "config.yml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipes_of(folder / "config.yml")
    return str(caught.value)


def test_conditions_of_all_scopes_are_asked_from_the_inside_out() -> None:
    made = recipe(
        "merge_method: linear\n"
        "models:\n"
        "- {model: a, parameters: {weight: [{filter: mlp, value: 0.1}, {filter: attn, value: [0, 1]}]}}\n"
        "- {model: b, parameters: {weight: 2}}\n"
        "parameters: {weight: [{filter: mlp, value: 9}, {filter: '*', value: 0.3}, {filter: x, value: 7}]}\n"
    )
    gradient = {"over_depth": [0.0, 1.0], "outside": "first"}
    assert made["parameters"] == {
        "weight": {"a": {"by_name": {"*mlp*": 0.1, "*attn*": gradient, "*": 0.3}}, "b": 2.0},
        "normalize": True,
    }
    assert made["models"] == {"a": "a", "b": "b"}
    assert made["input"] == {"missing": "present", "experts": "packed"}


def test_signs_of_patterns_in_a_filter_stand_for_themselves() -> None:
    made = recipe(f"{LINEAR}parameters: {{weight: [{{filter: 'a[0]*?', value: 1}}, {{value: 2}}]}}\n")
    assert made["parameters"]["weight"] == {"by_name": {"*a[[]0][*][?]*": 1.0, "*": 2.0}}


def test_a_default_holds_where_no_condition_does() -> None:
    made = recipe(f"merge_method: slerp\nbase_model: a\n{TWO}parameters: {{t: [{{filter: mlp, value: 0.3}}]}}\n")
    assert made["parameters"]["t"] == {"by_name": {"*mlp*": 0.3}}  # it has none: the plan names what is not matched
    made = recipe(
        f"merge_method: task_arithmetic\nbase_model: c\n{TWO}"
        "parameters: {weight: 1, lambda: [{filter: mlp, value: 0.3}]}\n"
    )
    assert made["parameters"]["scale"] == {"by_name": {"*mlp*": 0.3, "*": 1.0}}


@pytest.mark.parametrize(
    ("method", "base", "models", "native_base"),
    [
        ("linear", "c", ["a", "b", "c"], "c"),  # a model like the others, and the donor
        ("linear", "a", ["a", "b"], None),  # the donor is the first model anyway
        ("slerp", "b", ["b", "a"], None),  # from the base to the other
        ("task_arithmetic", "c", ["a", "b"], "c"),
        ("task_arithmetic", "b", ["a"], "b"),
        ("nuslerp", "c", ["a", "b"], "c"),
    ],
)
def test_the_base_is_what_the_method_makes_of_it(
    method: str, base: str, models: list[str], native_base: str | None
) -> None:
    made = recipe(f"merge_method: {method}\nbase_model: {base}\n{TWO}parameters: {{weight: 1, t: 0.5}}\n")
    assert list(made["models"]) == models
    assert made.get("base") == native_base


def test_slices_are_layers_and_parameters_beside_a_source_are_of_its_model() -> None:
    made = recipe(
        "merge_method: task_arithmetic\n"
        "base_model: c\n"
        "slices:\n"
        "- sources:\n"
        "  - {model: a, layer_range: [0, 2], parameters: {weight: 0.5}}\n"
        "  - {model: c, layer_range: [0, 2]}\n"
        "- sources:\n"
        "  - {model: b, layer_range: [1, 4]}\n"
        "  - {model: c, layer_range: [2, 5]}\n"
        "  parameters: {weight: [0, 1]}\n"
        "parameters: {weight: 3}\n"
    )
    assert made["layers"] == [
        {"take": {"a": [0, 2], "base": [0, 2]}, "parameters": {"weight": 0.5, "scale": 1.0, "normalize": False}},
        {
            "take": {"b": [1, 4], "base": [2, 5]},
            "parameters": {
                "weight": {"over_depth": [0.0, 1.0], "outside": "first"},
                "scale": 1.0,
                "normalize": False,
            },
        },
    ]


def test_a_model_that_is_the_base_of_one_slice_only_is_among_the_models() -> None:
    made = recipe(
        "merge_method: ties\nbase_model: base\nparameters: {weight: 1, density: 0.5}\nslices:\n"
        "- sources: [{model: a, layer_range: [0, 2]}, {model: base, layer_range: [0, 2]}]\n"
        "- sources: [{model: b, layer_range: [2, 4]}, {model: c, layer_range: [2, 4]}]\n  base_model: c\n"
    )
    assert made["models"] == {"a": "a", "b": "b", "c": "c"}
    assert made["base"] == "base"
    assert (made["layers"][1]["take"], made["layers"][1]["base"]) == ({"b": [2, 4], "c": [2, 4]}, "c")


@pytest.mark.parametrize("layers", ['["1", "3"]', '["1", 3]', "[1.0, 3]", '[" 1", "+3.0"]'])
def test_numbers_of_layers_may_be_in_quotes(layers: str) -> None:
    made = recipe(f"merge_method: passthrough\nslices: [{{sources: [{{model: a, layer_range: {layers}}}]}}]\n")
    assert (
        made["layers"]
        == recipe("merge_method: passthrough\nslices: [{sources: [{model: a, layer_range: [1, 3]}]}]\n")["layers"]
    )


def test_what_multislerp_makes_of_one_model_after_the_layers_is_that_model() -> None:
    made = recipe(
        "merge_method: multislerp\nparameters: {weight: 1.4, normalize_weights: false}\nslices:\n"
        "- sources: [{model: a, layer_range: [0, 2]}]\n"
        "- sources: [{model: b, layer_range: [2, 4]}, {model: c, layer_range: [2, 4]}]\n"
    )
    one, two, end = made["layers"]
    assert (one["parameters"]["weight"], two["parameters"]["weight"], end["parameters"]["weight"]) == (1.0, 1.4, 1.0)
    assert end["take"] == {"b": [0, 0]}
    assert end["parameters"]["normalize"] is True


def test_passthrough_copies_unless_it_scales() -> None:
    assert recipe("merge_method: passthrough\nmodels: [{model: a}]\n")["method"] == "copy"
    scaled = recipe("merge_method: passthrough\nmodels: [{model: a, parameters: {scale: 0.5}}]\n")
    assert (scaled["method"], scaled["parameters"]) == ("linear", {"normalize": False, "weight": 0.5})


@pytest.mark.parametrize(
    ("said", "scope"),
    [
        ("{}", "tensor"),
        ("{nuslerp_row_wise: true}", "tensor"),
        ("{nuslerp_flatten: false}", "row"),
        ("{nuslerp_flatten: false, nuslerp_row_wise: true}", "column"),
        ("{nuslerp_flatten: [true, false]}", {"over_depth": ["tensor", "row"], "outside": "first"}),
        (
            "{nuslerp_flatten: false, nuslerp_row_wise: [{filter: mlp, value: true}, {value: false}]}",
            {"by_name": {"*mlp*": "column", "*": "row"}},
        ),
        (
            "{nuslerp_flatten: [{filter: mlp, value: false}, {value: true}], nuslerp_row_wise: [true, false]}",
            {"by_name": {"*mlp*": {"over_depth": ["column", "row"], "outside": "first"}, "*": "tensor"}},
        ),
        (
            "{nuslerp_flatten: [true, false], nuslerp_row_wise: [{filter: mlp, value: true}, {value: false}]}",
            {
                "by_name": {
                    "*mlp*": {"over_depth": ["tensor", "column"], "outside": "first"},
                    "*": {"over_depth": ["tensor", "row"], "outside": "first"},
                }
            },
        ),
        (  # at depths 0, 1/6, 1/3, ..., 1: true true true false ..., and true true false false true true true
            "{nuslerp_flatten: [true, false, false], nuslerp_row_wise: [true, false, true, true]}",
            {"over_depth": ["tensor", "tensor", "tensor", "row", "column", "column", "column"], "outside": "first"},
        ),
    ],
)
def test_two_switches_of_nuslerp_are_one_word(said: str, scope: object) -> None:
    parameters = yaml.safe_load(said) | {"weight": 1}
    content = {"merge_method": "nuslerp", "models": [{"model": "a"}, {"model": "b"}], "parameters": parameters}
    (made,) = recipes_of(content).values()
    assert made.to_mapping()["parameters"]["scope"] == scope


def test_types_numbers_as_text_and_names_of_models() -> None:
    made = recipe(
        "merge_method: linear\ndtype: torch.bfloat16\nout_dtype: float32\n"
        "models:\n"
        "- {model: org/a@main+org/lora@v2, parameters: {weight: '1e-3'}}\n"
        "- {model: {model: {path: /x+y/a, revision: r}}, parameters: {weight: 1}}\n"
    )
    assert made["input"]["dtype"] == "bfloat16"
    assert made["output"] == {"dtype": "float32"}
    assert made["models"] == {"a-lora": "org/a@main+org/lora@v2", "a": "/x+y/a@r"}
    assert made["parameters"]["weight"] == {"a-lora": 0.001, "a": 1.0}


def test_models_do_not_go_by_words_of_the_recipe() -> None:
    models = ", ".join(f"{{model: tk/{name}}}" for name in ("a", "base", "union", "zero", "by_name"))
    text = f"merge_method: linear\nmodels: [{models}, {{model: other/zero}}]\nparameters: {{weight: 1}}\n"
    made = recipe(f"{text}tokenizer: {{source: tk/union, tokens: {{d: {{source: tk/zero}}}}}}\n")
    assert made["models"] == {
        "a": "tk/a",
        "base-model": "tk/base",
        "union-model": "tk/union",
        "zero-model": "tk/zero",
        "by_name-model": "tk/by_name",
        "zero-model-2": "other/zero",
    }
    assert made["tokenizer"] == {"source": "union-model", "tokens": {"d": {"source": "zero-model"}}}


def test_what_means_nothing_is_named() -> None:
    (made,) = recipes_of(
        yaml.safe_load(
            "merge_method: ties\nbase_model: c\nresidual_weight: 1\nmodells: 3\n"
            "models: [{model: a, layer_range: [0, 1]}]\nparameters: {weight: 1, densty: 0.5, int8_mask: true}\n"
        )
    ).values()
    said = " ".join(made.notes)
    for words in ("key 'residual_weight'", "'modells'. Did you mean 'models'", "models[0].layer_range", "'densty'"):
        assert words in said
    assert "int8_mask" not in said


IDLE = "mergekit, and so cuvee, ignores it."


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        (
            "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1, normalize: false}}\n"
            "- {model: b, parameters: {weight: 1, normalize: false}}\n",
            [f"models[0].parameters.normalize: 'normalize' is said for all models together, not beside one; {IDLE}"],
        ),
        (
            "merge_method: ties\nbase_model: c\nmodels:\n"
            "- {model: c, parameters: {weight: 1, density: 0.5, int8_mask: true}}\n"
            "- {model: a, parameters: {weight: 1, density: 0.5, lambda: 0.7, desnity: 0.4}}\n",
            [
                f"models[1].parameters.desnity: 'ties' has no parameter 'desnity'; {IDLE} Did you mean 'density'?",
                *(
                    f"models[0].parameters.{name}: '{name}' means nothing beside the base model, which the others "
                    f"differ from; {IDLE}"
                    for name in ("weight", "density")
                ),
                f"models[1].parameters.lambda: 'lambda' is said for all models together, not beside one; {IDLE}",
            ],
        ),
        (
            "merge_method: nuslerp\nbase_model: c\nslices:\n- sources:\n"
            "  - {model: a, layer_range: [0, 1], parameters: {weight: 1}}\n"
            "  - {model: b, layer_range: [0, 1], parameters: {weight: 1}}\n"
            "  - {model: c, layer_range: [0, 1], parameters: {weight: 1}}\n",
            [
                "slices[0].sources[2].parameters.weight: 'weight' means nothing beside the base model, which the "
                f"others differ from; {IDLE}"
            ],
        ),
        (  # what published configurations do
            "merge_method: ties\nbase_model: c\nmodels:\n- {model: c}\n- {model: a, parameters: {weight: 1}}\n"
            "parameters: {density: 0.5, normalize: true, int8_mask: true}\n",
            [],
        ),
        (
            "merge_method: linear\nbase_model: a\nmodels:\n- {model: a, parameters: {weight: 1}}\n"
            "- {model: b, parameters: {weight: 2}}\n",
            [],
        ),
        (
            "merge_method: dare_ties\nbase_model: c\nslices:\n- sources:\n"
            "  - {model: c, layer_range: [0, 1]}\n"
            "  - {model: a, layer_range: [0, 1], parameters: {weight: 1, density: 0.4}}\n"
            "  parameters: {lambda: 0.9, weight: 0.3}\n",
            [],
        ),
    ],
)
def test_a_parameter_is_named_with_its_place_where_it_means_nothing(text: str, notes: list[str]) -> None:
    (made,) = recipes_of(yaml.safe_load(text)).values()
    assert list(made.notes) == notes


def test_what_means_nothing_of_the_tokenizer_is_named_at_every_level() -> None:
    (made,) = recipes_of(
        yaml.safe_load(
            f"{WEIGHED}tokenizer: {{soruce: base, pad_to_multple_of: 64, tokens: {{<a>: {{forced: true, "
            "source: {kind: model_token, model: a, token_id: 3, tokn: q}}}}\n"
        )
    ).values()
    said = [note.removeprefix("mergekit, and so cuvee, ignores the key ") for note in made.notes]
    assert said[:4] == [
        "'tokenizer.soruce'. Did you mean 'source'?",
        "'tokenizer.pad_to_multple_of'. Did you mean 'pad_to_multiple_of'?",
        "'tokenizer.tokens.<a>.forced'. Did you mean 'force'?",
        "'tokenizer.tokens.<a>.source.tokn'. Did you mean 'token'?",
    ]


@pytest.mark.parametrize(("said", "force"), [("'false'", {}), ("'no'", {}), ("0", {}), ("'Yes'", {"force": True})])
def test_words_say_whether_a_row_is_forced(said: str, force: dict[str, bool]) -> None:
    made = recipe(f"{WEIGHED}tokenizer: {{tokens: {{x: {{source: a, force: {said}}}}}}}\n")
    assert made["tokenizer"]["tokens"] == {"x": {"source": "a", **force}}


def test_documents_that_use_each_other_become_recipes_in_recipes(tmp_path: Path) -> None:
    text = (
        "name: first\nmerge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n---\n"
        "merge_method: slerp\nbase_model: c\nmodels: [{model: first}, {model: c}]\nparameters: {t: 0.5}\n"
    )
    (tmp_path / "c.yml").write_text(text)
    ((name, made),) = recipes_of(tmp_path / "c.yml").items()
    assert name == ""
    inner = made.models["first"]
    assert isinstance(inner, Recipe)
    assert (inner.method, list(inner.models.values())) == ("linear", ["a", "b"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"merge_method: tis\n{TWO}", "config.yml:1: 'merge_method' is 'tis'.* Did you mean 'ties'"),
        (
            f"{LINEAR}dtype: bfloat17\n",
            "config.yml:3: 'dtype' is 'bfloat17'. Did you mean 'bfloat16'",
        ),
        (f"{LINEAR}dtype: int64\n", r"config.yml:3: 'dtype' is 'int64'\. It can be: bfloat16"),
        (f"{LINEAR}slices: [{{sources: []}}]\n", "expected one of models, slices, modules; it has"),
        ("merge_method: linear\n", "expected one of models, slices, modules; it has none of them"),
        (f"{LINEAR}", "needs the parameter 'weight' for the model 'a'"),
        (f"merge_method: ties\n{TWO}parameters: {{weight: 1}}\n", "'ties' needs a 'base_model'"),
        (f"merge_method: slerp\nbase_model: c\n{TWO}parameters: {{t: 1}}\n", "takes 2 models, the base model counted"),
        (f"{LINEAR}parameters: {{weight: heavy}}\n", "'weight' is 'heavy'; it must be a number"),
        (f"{LINEAR}parameters: {{weight: null}}\n", "'weight' is None; expected a number"),
        (
            "merge_method: linear\nmodels: [{model: a}, {model: a}]\nparameters: {weight: 1}\n",
            "the model 'a' is listed twice",
        ),
        *(
            (
                f"merge_method: linear\nslices:\n- sources: [{{model: a, layer_range: {wrong}}}]\n",
                "config.yml:3: 'layer_range' is .*; expected .first, end.",
            )
            for wrong in ("[0, 2.5]", "[0, two]", "[0, .inf]", "[0, null]", "[0, true]", "[0, 1, 2]", "'[0, 1]'")
        ),
        (
            "merge_method: linear\nslices:\n- sources: [{model: a, layer_range: [3, 3]}]\n",
            "config.yml:3: 'layer_range' is .3, 3.: there is no layer in it",
        ),
        (
            "merge_method: linear\nslices:\n"
            "- sources: [{model: a, layer_range: [0, 3]}, {model: b, layer_range: [0, 2]}]\n",
            "are of one length; here they have 2, 3 layers",
        ),
        ("merge_method: linear\nmodels: [{model: a@b@c}]\n", "is not PATH@REVISION"),
        ("merge_method: linear\nmodels: [{model: a+b+c}]\n", "is not PATH.LORA"),
        (
            f"{WEIGHED}tokenizer_source: union\ntokenizer: {{source: base}}\n",
            "give 'tokenizer' or 'tokenizer_source', not both",
        ),
        (
            f"{WEIGHED}tokenizer_source: d\n",
            "'d' is no model of this merge",
        ),
        *(
            (
                f"merge_method: {method}\nbase_model: c\nparameters: {{weight: 1, t: 0.5}}\nslices:\n"
                "- sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]\n",
                f"config.yml:5: '{method}' needs layers of the base model 'c', too",
            )
            for method in ("ties", "slerp", "nuslerp", "multislerp")
        ),
        (f"{WEIGHED}tokenizer: {{tokens: {{x: {{force: maybe}}}}}}\n", "'force' is 'maybe'; it must be true or false"),
        (f"{WEIGHED}chat_template: x\n", "chat_template|template"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_opened(text: str, said: str, tmp_path: Path) -> None:
    assert re.search(said, refusal(text, tmp_path))


def test_the_recipe_reads_back_to_itself(tmp_path: Path) -> None:
    text = (
        "merge_method: dare_ties\nbase_model: c\n"
        "models:\n- {model: a, parameters: {weight: [0.2, 0.8], density: 0.5}}\n- {model: b, parameters: {weight: 1}}\n"
        "parameters: {normalize: true}\ntokenizer: {source: union, tokens: {x: {source: a, force: true}}}\n"
    )
    (tmp_path / "config.yml").write_text(text)
    made = recipes_of(tmp_path / "config.yml")
    (tmp_path / "recipe.yaml").write_text(written(made))
    (again,) = recipes_of(tmp_path / "recipe.yaml").values()
    assert again.canonical() == made[""].canonical()

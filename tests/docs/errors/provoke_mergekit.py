"""Errors of configurations of mergekit."""

from typing import Any

from cuvee.recipe.several import recipes_of
from docs.errors.scenarios import Place, provokes

DOCUMENT = "merge_method: linear\nmodels:\n- model: a\n- model: b\nparameters: {weight: 1}\n"


def entry(model: str) -> dict[str, Any]:
    """An entry of `models`."""
    return {"model": model}


def source(model: str, first: int = 0, end: int = 1) -> dict[str, Any]:
    """A source of a slice."""
    return {"model": model, "layer_range": [first, end]}


def models_of(**keys: Any) -> None:
    """Read a configuration of whole models that is right but for what is given."""
    recipes_of(
        {
            "merge_method": "linear",
            "models": [entry("a"), entry("b")],
            "parameters": {"weight": 1},
            **keys,
        }
    )


def slices_of(*sources: dict[str, Any], **keys: Any) -> None:
    """Read a configuration of one slice."""
    recipes_of({"merge_method": "linear", "slices": [{"sources": list(sources)}], "parameters": {"weight": 1}, **keys})


def of_file(place: Place, *documents: str) -> None:
    """Write a file of several documents and plan it."""
    (place.folder / "mergekit.yml").write_text("---\n".join(documents))
    place.command("plan", "mergekit.yml")


@provokes("this looks like a configuration of mergekit, which has a 'merge_method' at the top; this has {what}")
def configuration_without_its_method(_: Place) -> None:
    recipes_of({"merge_methd": "linear", "base_model": "a", "models": [entry("a"), entry("b")]})


@provokes("'merge_method' is {value}, which mergekit does not have.…")
def method_that_mergekit_lacks(_: Place) -> None:
    models_of(merge_method="tise")


@provokes("expected one of {forms}; {found}")
def models_and_slices(_: Place) -> None:
    models_of(slices=[{"sources": []}])


@provokes("this is a configuration of {program}, which is not read. …")
def configuration_of_a_mixture(_: Place) -> None:
    recipes_of({"base_model": "a", "gate_mode": "random", "experts": [{"source_model": "a"}]})


@provokes("expected a mapping (key: value) here, not {found}.")
def model_without_its_key(_: Place) -> None:
    models_of(models=["a", "b"])


@provokes("'{key}' is {value}; expected text.")
def name_is_a_number(_: Place) -> None:
    models_of(name=7)


@provokes("'{key}' is {value} It can be: bfloat16, float16, float32, float64.")
def configuration_of_another_type(_: Place) -> None:
    models_of(dtype="bf16")


@provokes("{file}:{line}: a mergekit configuration is a mapping (key: value), not {found}.")
def document_that_is_a_list(place: Place) -> None:
    of_file(place, DOCUMENT, "- a\n- b\n")


@provokes("{file}:{line}: {what}; the result of one may have none, and all others have different ones.")
def documents_without_names(place: Place) -> None:
    of_file(place, DOCUMENT, DOCUMENT)


@provokes("{file}:{line}: results cannot be made of themselves: {circle}.")
def documents_in_a_circle(place: Place) -> None:
    one, other = DOCUMENT.replace("model: a", "model: y"), DOCUMENT.replace("model: a", "model: x")
    of_file(place, f"name: x\n{one}", f"name: y\n{other}")


@provokes("an entry of 'models' has no 'model'.")
def entry_without_a_model(_: Place) -> None:
    models_of(models=[{"parameters": {"weight": 1}}])


@provokes("{value} is not the name of a model: a path, or a name on the hub.")
def model_is_a_digit(_: Place) -> None:
    models_of(models=[{"model": 7}])


@provokes("the name of a model is text, or {form}; it has no 'model'.")
def adapter_without_a_model(_: Place) -> None:
    models_of(models=[{"model": {"lora": "l"}}])


@provokes("{value} is not a path; write text, or {form}.")
def path_is_a_number(_: Place) -> None:
    models_of(models=[{"model": {"model": 7}}])


@provokes("{value} is not PATH+LORA; write a path that holds a '+' as {form}.")
def model_of_two_adapters(_: Place) -> None:
    models_of(models=[{"model": "a+b+c"}])


@provokes("{value} is not PATH@REVISION; write a path that holds an '@' as {form}.")
def model_of_two_revisions(_: Place) -> None:
    models_of(models=[{"model": "a@b@c"}])


@provokes("the model '{model}' is listed twice.")
def model_listed_twice(_: Place) -> None:
    models_of(models=[entry("a"), entry("a")])


@provokes("'{method}' needs a 'base_model'.…")
def configuration_without_base(_: Place) -> None:
    models_of(merge_method="ties")


@provokes("'{method}' needs layers of the base model '{model}', too.")
def slice_without_layers_of_the_base(_: Place) -> None:
    slices_of(source("a"), merge_method="ties", base_model="base")


@provokes("'{method}' takes {number} {models}; here are {count}.")
def slerp_of_three_entries(_: Place) -> None:
    models_of(merge_method="slerp", base_model="a", models=[*map(entry, "abc")])


@provokes("a slice has no 'sources'.")
def slice_without_sources(_: Place) -> None:
    slices_of()


@provokes("a source of a slice has no '{key}'.")
def source_without_layers(_: Place) -> None:
    slices_of({"model": "a"})


@provokes("'layer_range' is {value}; expected [first, end].")
def layers_as_text(_: Place) -> None:
    slices_of({"model": "a", "layer_range": "0-16"})


@provokes("'layer_range' is {range}: {wrong}. The first layer is 0, and the second number is the layer after the last.")
def layers_of_none(_: Place) -> None:
    slices_of(source("a", 4, 4))


@provokes("the 'layer_range' of all sources of a slice are of one length; here they have {lengths} layers.")
def layers_of_two_lengths(_: Place) -> None:
    slices_of(source("a", 0, 2), source("b", 0, 1))


@provokes(
    "tensors after the layers are made of the first {count} sources of the last slice, as many as the first slice "
    "has; the base model is not among them. …"
)
def base_that_is_last_of_the_last(_: Place) -> None:
    recipes_of(
        {
            "merge_method": "task_arithmetic",
            "base_model": "base",
            "parameters": {"weight": 1},
            "slices": [
                {"sources": [source("base"), source("a")]},
                {"sources": [source("a"), source("b"), source("base")]},
            ],
        }
    )


@provokes("the module '{module}' is not known.…")
def module_that_is_unknown(_: Place) -> None:
    recipes_of({"merge_method": "passthrough", "modules": {"audio": {"models": [entry("a")]}}})


@provokes("'parameters' is {value}; expected NAME: VALUE for each.")
def parameters_of_a_configuration_are_a_list(_: Place) -> None:
    models_of(parameters=["normalize"])


@provokes("'{parameter}' is {value}; expected a number, true or false, or a list of numbers.")
def weight_of_a_configuration_is_empty(_: Place) -> None:
    models_of(parameters={"weight": None})


@provokes("'{parameter}': {value} stands among conditions; write {form} for all other tensors.")
def number_among_conditions(_: Place) -> None:
    models_of(parameters={"weight": [{"filter": "mlp", "value": 0.5}, 1]})


@provokes("'{parameter}': a condition has no key '{key}'.…")
def condition_with_a_misspelt_key(_: Place) -> None:
    models_of(parameters={"weight": [{"fliter": "mlp", "value": 0.5}]})


@provokes("'{parameter}': a condition has no 'value'.")
def condition_without_a_value(_: Place) -> None:
    models_of(parameters={"weight": [{"filter": "mlp"}]})


@provokes("'{parameter}': 'filter' is {value}; expected a part of tensors' names.")
def filter_is_a_number(_: Place) -> None:
    models_of(parameters={"weight": [{"filter": 7, "value": 0.5}]})


@provokes("'{method}' needs the parameter '{parameter}'.…")
def slerp_without_t(_: Place) -> None:
    models_of(merge_method="slerp", base_model="a", parameters={})


@provokes("'{method}' needs the parameter '{parameter}' for the model '{model}': {where}.")
def model_without_a_weight(_: Place) -> None:
    models_of(parameters={})


@provokes("give 'tokenizer' or 'tokenizer_source', not both.")
def tokenizer_in_two_ways(_: Place) -> None:
    models_of(tokenizer={"source": "union"}, tokenizer_source="base")


@provokes("'tokens' is {value}; expected TOKEN: {form}.")
def tokens_are_a_list(_: Place) -> None:
    models_of(tokenizer={"tokens": ["<pad>"]})


@provokes("token '{token}' is {value}; expected {form}.")
def token_with_a_path(_: Place) -> None:
    models_of(tokenizer={"tokens": {"<pad>": "a"}})


@provokes("'kind' is {value} It can be: model_token, zero.")
def token_of_another_kind(_: Place) -> None:
    models_of(tokenizer={"tokens": {"<pad>": {"source": {"kind": "ones"}}}})


@provokes("'force' is {value}; it must be true or false.")
def token_forced_perhaps(_: Place) -> None:
    models_of(tokenizer={"tokens": {"<pad>": {"source": "a", "force": "maybe"}}})


@provokes("'{model}' is no model of this merge.…")
def token_of_a_model_elsewhere(_: Place) -> None:
    models_of(tokenizer={"source": "c"})


@provokes("'{key}' must be a list, not {found}.")
def models_of_a_configuration_are_text(_: Place) -> None:
    models_of(models="a")


@provokes("'{parameter}' is {value}; it must be {kind}.…")
def weight_of_a_configuration_is_a_word(_: Place) -> None:
    models_of(parameters={"weight": "heavy"})


@provokes("{what} has no key '{key}'.…")
def name_of_a_model_with_a_misspelt_key(_: Place) -> None:
    models_of(models=[{"model": {"model": "a", "lorra": "l"}}])


@provokes("{file}: the recipe cannot be written: {reason}.")
def recipe_converted_to_a_file_that_is_there(place: Place) -> None:
    (place.folder / "mergekit.yml").write_text(DOCUMENT)
    place.command("convert", "mergekit.yml", "--out", "mergekit.yml")

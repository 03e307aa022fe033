"""Errors in recipes as Python gives them: keys, models, parameters, rules, output."""

from typing import Any

import torch

import cuvee
from docs.errors.made import models, planned
from docs.errors.scenarios import Place, provokes


def recipe(**keys: Any) -> cuvee.Recipe:
    """Make a recipe that is right but for what is given."""
    return cuvee.Recipe.from_mapping({"cuvee": 1, "method": "linear", "models": {"a": "a", "b": "b"}, **keys})


def given(**parameters: Any) -> cuvee.Recipe:
    """Make a recipe of TIES with these parameters."""
    return recipe(method="ties", base="base", parameters=parameters)


@provokes("a recipe begins with 'cuvee: 1', the version of its format; {found}.")
def recipe_without_version(_: Place) -> None:
    cuvee.plan({"method": "linear", "models": ["a", "b"]})


@provokes("this is a mergekit configuration, not a recipe. …")
def recipe_of_mergekit(_: Place) -> None:
    cuvee.Recipe.of({"merge_method": "ties", "models": [{"model": "a"}, {"model": "b"}], "dtype": "bfloat16"})


@provokes("the recipe has no '{key}'; give it {what}.")
def recipe_without_models(_: Place) -> None:
    cuvee.plan({"cuvee": 1, "method": "linear"})


@provokes("{what} has no key '{key}'.…")
def recipe_with_misspelt_key(_: Place) -> None:
    recipe(parametres={"weight": 1})


@provokes("{what} must be a mapping (key: value), not {found}.")
def parameters_are_a_list(_: Place) -> None:
    recipe(parameters=["weight"])


@provokes("'{key}' must be a list, not {found}.")
def tensors_is_no_list(_: Place) -> None:
    recipe(tensors={"match": "*", "skip": True})


@provokes("'seed' is {value}; it must be a whole number.")
def seed_is_text(_: Place) -> None:
    recipe(seed="x")


@provokes("'method' is {value}; it must be the name of a method.")
def method_is_a_list(_: Place) -> None:
    recipe(method=["linear"])


@provokes("method '{name}' is not known.…")
def method_is_misspelt(_: Place) -> None:
    recipe(method="tise")


@provokes("method '{method}' takes {number}; the recipe has {count}.")
def slerp_of_three(_: Place) -> None:
    recipe(method="slerp", models=["a", "b", "c"])


@provokes("'models' must be a list of paths, or label: path for each model.")
def models_is_text(_: Place) -> None:
    recipe(models="a")


@provokes("'models' is empty; name at least one model: a list of paths, or label: path.")
def models_is_empty(_: Place) -> None:
    recipe(models=[])


@provokes("a model with adapters has no 'adapters'; list their paths.")
def model_with_no_adapters(_: Place) -> None:
    recipe(models=[{"model": "a", "adapters": []}, "b"])


@provokes("{value} is not the path of an adapter.")
def adapter_is_a_number(_: Place) -> None:
    recipe(models=[{"model": "a", "adapters": [7]}, "b"])


@provokes("'{label}' is not a label for a model: use letters, digits, '_', '-' and '.'; {words} have another meaning.")
def label_with_a_blank(_: Place) -> None:
    recipe(models={"my model": "a", "b": "b"})


@provokes("model '{label}': {value} is not a path to a model (nor, in Python, a state dict or a source).…")
def model_is_a_number(_: Place) -> None:
    recipe(models=["a", 7])


@provokes("a recipe that stands for a model writes no files; its 'output' can have a 'dtype' and nothing else.")
def nested_recipe_with_shards(_: Place) -> None:
    recipe(models=["a", {"method": "linear", "models": ["b", "c"], "output": {"shard_size": "1GB"}}])


@provokes("model '{label}' is held in memory; only recipes whose models are paths can be saved.")
def saved_recipe_of_state_dicts(place: Place) -> None:
    recipe(models=["a", {"w": torch.ones(2)}]).save("recipe.yaml")


@provokes("{file}: the recipe cannot be written: {reason}.")
def recipe_saved_to_a_folder(place: Place) -> None:
    recipe().save(place.folder)


@provokes("method '{method}' has no parameter '{name}'.…")
def parameter_is_misspelt(_: Place) -> None:
    given(densty=0.3)


@provokes("'{parameter}' names the model '{label}', which the recipe does not have.…")
def value_for_a_model_that_is_not_there(_: Place) -> None:
    given(weight={"a": 1, "c": 1})


@provokes("'{parameter}' has no value for the model '{label}'; give one for every model, or one value for all.")
def value_for_one_model_only(_: Place) -> None:
    given(weight={"a": 1})


@provokes(
    "'{parameter}' has {count} values for {number} models ({labels}); give one for each, or one value for all. "
    "Values over depth are written {over_depth: [...]}."
)
def three_values_for_two_models(_: Place) -> None:
    given(weight=[1, 2, 3])


@provokes("'{parameter}' is a mapping; expected {form} or {other}; it has no value for each model.")
def switch_is_a_mapping(_: Place) -> None:
    given(scale={"a": 1, "b": 2})


@provokes("'{parameter}': 'over_depth' is {value}; expected [first, ..., last], one value at least.")
def over_depth_is_empty(_: Place) -> None:
    given(scale={"over_depth": []})


@provokes(
    "'{parameter}': 'outside' is {value}; it can be 'ends' (those before the layers take the first value, those "
    "after them the last) or 'first'."
)
def outside_is_last(_: Place) -> None:
    given(scale={"over_depth": [0, 1], "outside": "last"})


@provokes("'{parameter}' has the key '{key}' beside '{form}'.…")
def values_by_name_and_over_depth(_: Place) -> None:
    given(scale={"by_name": {"*": 1}, "over_depth": [0, 1]})


@provokes("'{parameter}': 'by_name' must be pattern: value, for each, and one at least.")
def values_by_name_are_a_list(_: Place) -> None:
    given(scale={"by_name": [0, 1]})


@provokes("'{parameter}': the value for '{pattern}' is a mapping; expected a value, or one that varies.")
def values_by_model_within_values_by_name(_: Place) -> None:
    given(weight={"by_name": {"*.mlp.*": {"a": 1, "b": 2}, "*": 0.5}})


@provokes(
    "'{parameter}' has no value for the tensor '{tensor}': no pattern of its 'by_name' matches; add {line} at the "
    "end for all others (in a mergekit configuration, {condition})."
)
def name_that_no_pattern_matches(place: Place) -> None:
    models(place)
    planned(parameters={"weight": {"by_name": {"*.mlp.*": 0.5}}})


@provokes("'{parameter}' holds for the whole merge and cannot vary.")
def space_over_depth(_: Place) -> None:
    recipe(method="slerp", parameters={"vectors": {"over_depth": ["task", "whole"]}})


@provokes("'{parameter}' is {value}; it can be: {words}")
def word_that_is_none(_: Place) -> None:
    given(trim_scope="layer")


@provokes("'{parameter}' is {value}; it can be: {words}")
def missing_tensors_are_ignored(_: Place) -> None:
    recipe(input={"missing": "ignore"})


@provokes("'{parameter}' is {value}; it must be {kind}.…")
def number_is_text(_: Place) -> None:
    given(density="half")


@provokes("'{parameter}' is {value}; it must lie between {low} and {high}.")
def density_in_percent(_: Place) -> None:
    given(density=20)


@provokes("'{parameter}' is {value}; it must be a finite number.")
def weight_is_infinite(_: Place) -> None:
    given(weight=float("inf"))


@provokes("a rule needs 'match': a pattern of tensor names, or a list of them.")
def rule_without_match(_: Place) -> None:
    recipe(tensors=[{"skip": True}])


@provokes("'{key}' is {value}; it must be a name.")
def rule_copies_from_a_number(_: Place) -> None:
    recipe(tensors=[{"match": "*.bias", "copy": 1}])


@provokes("'{key}' is {value}; it must be a name.")
def method_of_a_slice_is_a_list(_: Place) -> None:
    recipe(layers=[{"take": {"a": [0, 1], "b": [0, 1]}, "method": ["linear"]}])


@provokes("'skip' is {value}; it must be true or false.")
def rule_skips_yes(_: Place) -> None:
    recipe(tensors=[{"match": "*.bias", "skip": "yes"}])


@provokes("a rule says one of: copy, skip, or another method and parameters.")
def rule_copies_and_skips(_: Place) -> None:
    recipe(tensors=[{"match": "*.bias", "copy": "a", "skip": True}])


@provokes("'parts' is {value}; it must be a whole number from 1.")
def rule_of_no_parts(_: Place) -> None:
    recipe(tensors=[{"match": "*.qkv_proj.weight", "parts": 0}])


@provokes("a rule copies from '{label}', which the recipe does not have.…")
def rule_copies_from_nowhere(_: Place) -> None:
    recipe(tensors=[{"match": "lm_head.weight", "copy": "base"}])


@provokes("a rule is of the model '{label}', which the recipe does not have.…")
def rule_of_a_model_that_is_not_there(_: Place) -> None:
    recipe(tensors=[{"match": "encoder.*", "models": ["a", "c"]}])


@provokes("'models' is {value}; it must be a list of models' labels.")
def rule_of_a_model_without_brackets(_: Place) -> None:
    recipe(tensors=[{"match": "encoder.*", "models": "a"}])


@provokes("a rule that copies or skips has no 'models'.")
def rule_that_skips_models(_: Place) -> None:
    recipe(tensors=[{"match": "encoder.*", "models": ["a"], "skip": True}])


@provokes("output dtype {value} is not known.…")
def output_type_is_unknown(_: Place) -> None:
    recipe(output={"dtype": "bf16"})


@provokes("shard_size is {value}; write it as 5GB, 500MB or a number of bytes.")
def shard_size_in_other_units(_: Place) -> None:
    recipe(output={"shard_size": "5 gigabytes"})


@provokes("shard_size is {value}; it must be a positive number of bytes.")
def shard_size_is_zero(_: Place) -> None:
    recipe(output={"shard_size": 0})


@provokes("{switch} is {value}; it must be true or false.")
def custom_code_is_text(_: Place) -> None:
    recipe(output={"custom_code": "yes"})


@provokes("rank is {value}; it must be a whole number from 1.")
def rank_is_zero(_: Place) -> None:
    recipe(output={"adapter": True, "rank": 0})


@provokes("error is {value}; it must be a number from 0, and below 1.")
def error_in_percent(_: Place) -> None:
    recipe(output={"adapter": True, "error": 5})


@provokes("'rank' and 'error' are of an adapter; say adapter: true, too.")
def rank_without_adapter(_: Place) -> None:
    recipe(output={"rank": 8})


@provokes("an adapter has a 'rank' or an 'error', not both; leave one out.")
def rank_and_error(_: Place) -> None:
    recipe(output={"adapter": True, "rank": 8, "error": 0.1})


@provokes("an adapter is written as float32; leave out 'dtype'.")
def adapter_of_another_type(_: Place) -> None:
    recipe(output={"adapter": True, "dtype": "bfloat16"})


@provokes("'{parameter}' is {value}; it can be: {words}")
def way_to_read_experts_that_is_none(_: Place) -> None:
    recipe(input={"experts": "unpacked"})

"""Errors of recipes and models that do not fit together, and of limits that do not suffice."""

import json
from typing import Any

import torch

import cuvee
from bad_input.checkpoints import WEIGHT, state
from docs.errors.made import CONFIG, merge, models, planned
from docs.errors.scenarios import Place, provokes


@provokes("{tensor}: shapes differ: {shapes}. …")
def models_of_two_sizes(place: Place) -> None:
    models(place, b=state(2, **{WEIGHT: torch.ones(5, 3)}))
    planned()


@provokes("{tensor}: shapes differ: {shapes}. …")
def models_of_two_sizes_within_a_recipe(place: Place) -> None:
    models(place, b=state(2, **{WEIGHT: torch.ones(5, 3)}))
    planned(models={"pair": {"method": "linear", "models": ["a", "b"]}, "a": "a"})


@provokes(
    "{number} not in every model: '{label}' has no {tensors}. Give a rule for them: copy from a model that has "
    "them, or skip. …"
)
def model_without_a_tensor(place: Place) -> None:
    models(place, b={name: tensor for name, tensor in state(2).items() if name != WEIGHT})
    planned()


@provokes("{tensor}: element types differ in kind: {types}. Give a rule to copy or skip it.")
def whole_numbers_in_one_model(place: Place) -> None:
    models(place, b=state(2, **{"model.norm.weight": torch.tensor([1, 2])}))
    planned()


@provokes(
    "{tensor}: a rule treats it as {parts} tensors along its first axis, but its shape is {shape}; 'parts' must "
    "divide the first number."
)
def tensor_that_cannot_be_cut_into_parts(place: Place) -> None:
    models(place)
    planned(tensors=[{"match": "*.mlp.weight", "parts": 2}])


@provokes("the rules leave out every tensor; nothing would be written.")
def rules_that_skip_everything(place: Place) -> None:
    models(place)
    planned(tensors=[{"match": "*", "skip": True}])


@provokes(
    "method '{method}' works on task vectors: what each model differs from a common base by; give the recipe a 'base'."
)
def ties_without_a_base(place: Place) -> None:
    models(place)
    planned("ties")


@provokes(
    "method '{method}': the weights {weights} add up to zero and cannot be normalised; set normalize: false, or "
    "change them."
)
def weights_that_add_up_to_zero(place: Place) -> None:
    models(place)
    planned(parameters={"weight": [1, -1]})


@provokes(
    "method '{method}': t is {t}; with norm: lerp it must lie between 0 and 1, as the norm would not stay positive."
)
def slerp_to_a_length_beyond_both(place: Place) -> None:
    models(place)
    planned("slerp", parameters={"t": 1.5, "norm": "lerp"})


@provokes("method '{method}': density {density} and outliers {outliers} add up to more than 1; lower one of them.")
def breadcrumbs_of_more_than_all(place: Place) -> None:
    models(place)
    planned("breadcrumbs", base="base", parameters={"density": 0.9, "outliers": 0.2})


@provokes(
    "{model}: {tensor}: this is an adapter, not a model: its factors only have a meaning together; averaged one "
    "by one they give noise. …"
)
def adapter_taken_for_a_model(place: Place) -> None:
    models(place, b=state(2, **{"model.layers.0.attention.lora_A.weight": torch.ones(2, 5)}))
    planned()


@provokes("{model}: {tensor}: the weights are packed or scaled ({by}), here {dtype} {shape}. …")
def model_of_gptq(place: Place) -> None:
    models(place, b=state(2, **{"model.layers.0.mlp.qweight": torch.ones(2, 5, dtype=torch.int32)}))
    planned()


@provokes("{model}: config.json has '{key}' ({how}): the weights are quantised, though no tensor's name shows it. …")
def model_whose_configuration_is_of_a_quantised_one(place: Place) -> None:
    models(place)
    config = CONFIG | {"quantization_config": {"quant_method": "fp8"}}
    (place.folder / "b" / "config.json").write_text(json.dumps(config))
    planned()


@provokes(
    "{tensor}: this tensor needs {number} MB of memory in all, with one worker and the smallest {blocks}; the "
    "limit is {limit} MB. Allow {number} MB or more."
)
def memory_that_does_not_suffice(place: Place) -> None:
    models(place)
    merge(limits=cuvee.Limits(memory=1_000_000))


@provokes("the {limit} must be a whole number, not {value}.")
def half_a_worker(_: Place) -> None:
    half: Any = 0.5
    cuvee.Limits(workers=half)


@provokes("the {limit} must be at least 1, not {value}.")
def no_workers(place: Place) -> None:
    place.command("plan", "recipe.yaml", "--workers", "0")


@provokes("{option}: '{text}' is no number of bytes; write for example 500MB, 2GB or 1.5GiB.")
def memory_in_words(place: Place) -> None:
    place.command("plan", "recipe.yaml", "--memory", "lots")


@provokes("there is no recipe to merge; give at least one output with its recipe.")
def merge_of_no_variants(_: Place) -> None:
    cuvee.merge_variants({})


@provokes("a tensor of {type} is copied, not averaged; convert the tensors, or use the method 'copy'.")
def tensors_of_whole_numbers(_: Place) -> None:
    cuvee.merge_tensors("linear", [torch.tensor([1, 2]), torch.tensor([3, 4])])

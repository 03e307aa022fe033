"""Errors in the layers of a recipe, alone and with the models that they are taken from."""

from typing import Any

import torch

import cuvee
from bad_input.checkpoints import state
from docs.errors.made import models, planned
from docs.errors.scenarios import Place, provokes


def layered(layers: Any, **keys: Any) -> cuvee.Recipe:
    """Make a recipe of these layers."""
    return cuvee.Recipe.from_mapping(
        {"cuvee": 1, "method": "linear", "models": {"a": "a", "b": "b"}, "layers": layers, **keys}
    )


@provokes("'{label}' and '{other}' are of different architectures: of {number} names of tensors they share {count}. …")
def models_of_two_architectures(place: Place) -> None:
    models(place, b={"transformer.wte.weight": torch.ones(3, 5), "transformer.ln_f.weight": torch.ones(5)})
    planned(input={"missing": "present"})


@provokes("'{parameter}' has a value for the tensors '{pattern}', and no name matches. Did you mean '{word}'?")
def pattern_that_is_misspelt(place: Place) -> None:
    models(place)
    planned(parameters={"weight": {"by_name": {"*embed_tokns*": 0.5, "*": 1.0}}})


@provokes("'{parameter}' comes to {value} for the tensor '{tensor}'; it must be a whole number. …")
def whole_number_between_layers(place: Place) -> None:
    deep = {name: state(seed, model__layers__2__mlp__weight=torch.ones(3, 5)) for seed, name in enumerate(("a", "b"))}
    models(place, **deep)
    planned("karcher", parameters={"max_iter": {"over_depth": [7, 8]}})


@provokes("'layers' is a list of slices, or STACK: list of slices.")
def stack_is_a_number(_: Place) -> None:
    layered({0: [{"take": {"a": [0, 1]}}]})


@provokes("a slice needs 'take': LABEL: [first, end] for each model.")
def slice_of_nothing(_: Place) -> None:
    layered([{"method": "linear"}])


@provokes("'{label}' is {value}; expected [first, end]: the first layer, from 0, and the one after the last.")
def range_as_text(_: Place) -> None:
    layered([{"take": {"a": "0-15"}}])


@provokes("'{label}' is {value}; expected 0 <= first <= end.")
def range_backwards(_: Place) -> None:
    layered([{"take": {"a": [4, 2]}}])


@provokes("the ranges of a slice are of one length; these have layers: {lengths}.")
def ranges_of_two_lengths(_: Place) -> None:
    layered([{"take": {"a": [0, 2], "b": [0, 1]}}])


@provokes("'base' is {value}, which the slice does not take from.…")
def slice_without_its_base(_: Place) -> None:
    layered([{"take": {"a": [0, 2]}, "base": "b"}])


@provokes("'base' cannot be merged as a model; give it a label among the 'models', too.")
def base_taken_as_a_model(_: Place) -> None:
    layered([{"take": {"a": [0, 2], "base": [0, 2]}, "base": "a"}], base="base")


@provokes("a slice takes from '{label}', which the recipe does not have.…")
def slice_of_a_model_that_is_not_there(_: Place) -> None:
    layered([{"take": {"a": [0, 2], "c": [0, 2]}}])


@provokes("there is no layer in it; leave 'layers' out to keep them as they are.")
def slices_without_layers(_: Place) -> None:
    layered([{"take": {"a": [0, 0], "b": [0, 0]}}])


@provokes("the models have no layers: no tensor's name has a number between dots.")
def layers_of_models_without_any(place: Place) -> None:
    models(place, a={"w": torch.ones(2)}, b={"w": torch.ones(2)})
    planned(layers=[{"take": {"a": [0, 1], "b": [0, 1]}}])


@provokes("no model has a stack of layers called '{stack}'.…")
def stack_that_is_misspelt(place: Place) -> None:
    models(place)
    planned(layers={"model.layer": [{"take": {"a": [0, 1], "b": [0, 1]}}]})


@provokes("the models have several stacks of layers: {stacks}. …")
def layers_of_an_encoder_or_a_decoder(place: Place) -> None:
    both = {"encoder.block.0.weight": torch.ones(2), "decoder.block.0.weight": torch.ones(2)}
    models(place, a=both, b=both)
    planned(layers=[{"take": {"a": [0, 1], "b": [0, 1]}}])


@provokes("layers {range} of '{label}' are asked for; it has {found} in '{stack}'. …")
def layers_beyond_the_last(place: Place) -> None:
    models(place)
    planned(layers=[{"take": {"a": [0, 3], "b": [0, 3]}}])


@provokes("'{label}' has {count} layers in '{stack}', and '{other}' {number}. …")
def models_of_two_depths(place: Place) -> None:
    models(place, b=state(2, model__layers__2__mlp__weight=torch.ones(3, 5)))
    planned(input={"missing": "present"})


@provokes(
    "{tensor}: method '{method}' takes {number} at most, and here are {models}: no slice of 'layers' and no rule "
    "chooses from them. …"
)
def tensor_outside_the_layers_for_a_method_of_one_model(place: Place) -> None:
    models(place, a=state(1, projector__weight=torch.ones(2, 2)), b=state(2, projector__weight=torch.ones(2, 2)))
    slices = [{"take": {"a": [0, 1]}}, {"take": {"b": [0, 1]}}]
    planned("copy", layers={"model.layers": slices})

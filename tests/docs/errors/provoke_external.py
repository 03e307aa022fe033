"""Errors of declared suites."""

from typing import Any

import yaml

from cuvee.studies.external.adapters.opening import open_adapter
from cuvee.studies.external.reading import load
from docs.errors.scenarios import Place, provokes
from studies.external.declarations import TINY, written


def declared(place: Place, **changes: object) -> None:
    """Read a declaration with something wrong at its top."""
    load(written(place.folder, **changes))


def within(key: str, **changes: object) -> dict[str, Any]:
    """Return a part of a right declaration with something wrong in it."""
    content: dict[str, Any] = yaml.safe_load(TINY)
    return {key: {**content[key], **changes}}


@provokes("there is no declared suite '{name}'; there are {suites}.…")
def misspelt_declared_suite(place: Place) -> None:
    place.command("study", "scale", "--suite", "open-lader", "--plan")


@provokes("{suite}: the suite can be planned (--plan) and not be run.…")
def suite_without_an_adapter(place: Place) -> None:
    open_adapter(load(written(place.folder)))


@provokes("the declaration of a suite cannot be read: {cause}")
def declaration_that_is_not_there(place: Place) -> None:
    place.command("study", "scale", "--suite", "nothing.yaml", "--plan")


@provokes("{place}: {value} stands where keys and values are expected (key: value).")
def text_for_a_part(place: Place) -> None:
    declared(place, networks="bert")


@provokes("{place}: there is no key '{key}' here.…")
def misspelt_key_of_a_suite(place: Place) -> None:
    declared(place, nmae="tiny")


@provokes("{place}: the key '{key}' is missing; expected {what}.")
def missing_key_of_a_suite(place: Place) -> None:
    declared(place, paper=None)


@provokes("{place}: '{key}' is {value}; expected {what}.")
def number_without_a_mark(place: Place) -> None:
    declared(place, memory=1000)


@provokes("{place}: this release reads declarations of format {number} ('suite: {number}').")
def declaration_of_the_future(place: Place) -> None:
    declared(place, suite=2)


@provokes("{place}: a suite has two axes, such as [task, language]; found {number}.")
def suite_of_one_axis(place: Place) -> None:
    declared(place, axes=["task"])


@provokes("{place}: there is no cell [{cell}] among the cells.")
def held_in_cell_that_is_not_there(place: Place) -> None:
    declared(place, **within("cells", held_in=[["x", "4"]]))


@provokes("{place}: there is no cell [{cell}] among the cells.")
def expert_of_a_cell_that_is_not_there(place: Place) -> None:
    declared(place, experts=[{"cell": ["x", "4"], "hub": "some/expert"}])


@provokes("{place}: a cell is named twice.")
def cell_named_twice(place: Place) -> None:
    declared(place, **within("cells", held_in=[["x", "1"], ["x", "1"]]))


@provokes("{place}: the key 'networks' is missing; name one at least, from small to large.")
def suite_without_a_network(place: Place) -> None:
    declared(place, networks=None)


@provokes("{place}: a network has a base 'weak', 'strong', or both; found {names}.")
def network_without_a_base(place: Place) -> None:
    network = yaml.safe_load(TINY)["networks"]["net"]
    declared(place, networks={"net": {**network, "bases": {"middle": {"hub": "some/net"}}}})


@provokes("{place}: there is no 'training', and not every held-in cell has its published expert in 'experts'.")
def suite_without_training(place: Place) -> None:
    declared(place, training=None)


@provokes("{place}: ways of training are {known}; found {names}.")
def unknown_tuning_of_a_suite(place: Place) -> None:
    declared(place, **within("training", tunings=["half"]))


@provokes("{place}: the key 'studies' is missing; say for which study the suite is, and what it varies.")
def suite_for_no_study(place: Place) -> None:
    declared(place, studies=None)


@provokes("{place}: sets have 1 to {number} of the held-in cells; found {counts}.")
def sets_larger_than_the_suite(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    declared(place, studies={"compositional": {**factors, "counts": [4]}})


@provokes("{place}: there is no '{name}' among {known}.")
def weak_base_that_is_not_declared(place: Place) -> None:
    factors = yaml.safe_load(TINY)["studies"]["compositional"]
    declared(place, studies={"compositional": {**factors, "bases": ["weak"]}})

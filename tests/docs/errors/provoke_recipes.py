"""Errors in recipes."""

import cuvee
from docs.errors.scenarios import Place, provokes


@provokes("'seed' is {value}; it must be a whole number.")
def seed_is_text(place: Place) -> None:
    cuvee.merge({"cuvee": 1, "method": "linear", "models": ["a", "b"], "seed": "x"}, "out")


@provokes("'models' is empty; name at least one model: a list of paths, or label: path.")
def models_is_empty(place: Place) -> None:
    cuvee.merge({"cuvee": 1, "method": "linear", "models": []}, "out")

"""Settings worth trying for every method: one table by parameter, so that a new method needs no entry here."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method, methods
from cuvee.studies.study import Arm, Preset, Trial

__all__ = ["settings_of", "trial_of", "trials_for", "trials_of"]

SCALES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
MEAN_SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""For methods whose merged task vector is a mean, not a sum."""
GRIDS: Mapping[str, Sequence[Any]] = {"scale": SCALES, "density": (0.2, 0.5, 0.8), "t": (0.25, 0.5, 0.75)}
SPECIAL: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "nearswap": {"t": (1e-4, 1e-3, 1e-2)},  # a distance between weights, not a share of the way
    "arcee_fusion": {"fence": (0.0, 1.5, 3.0)},
    "ramplus": {"boost": (0.0, 0.1, 0.3)},
    "mlerp": {"vectors": ("parameters", "task")},
    "karcher": {"vectors": ("parameters", "task")},
    "nuslerp": {"vectors": ("parameters", "task")},
    "multislerp": {"vectors": ("parameters", "task")},
}
"""Parameters that mean something of their own, and geometry that can be taken in either space."""
AVERAGE = "linear"
NO_MERGE = ("copy",)
"""Methods that do not merge."""


def trials_of(arm: Arm, preset: Preset) -> Sequence[Trial]:
    """Return what is tried in an arm of a preset; the plain average always, for it is a baseline."""
    if arm.trials is not None:
        return arm.trials
    names = arm.methods or preset.methods
    return trials_for(names if names is None or AVERAGE in names else (AVERAGE, *names))


def trials_for(names: Sequence[str] | None) -> Sequence[Trial]:
    """Return trials of methods by name, of all that merge where None is given.

    Raises:
        RecipeError: there is no such method.
    """
    known = [name for name in methods() if name not in NO_MERGE] if names is None else names
    return [trial_of(find_method(name)) for name in known]


def trial_of(method: Method) -> Trial:
    """Return what to try of a method."""
    grids = {**GRIDS, **({"scale": MEAN_SCALES} if _is_mean(method) else {}), **SPECIAL.get(method.name, {})}
    grid = {name: tuple(grids[name]) for name in method.parameters if name in grids}
    return Trial(name=method.name, method=method.name, grid=grid, needs=method.models)


def _is_mean(method: Method) -> bool:
    """Say whether a method averages the task vectors that are left at an entry, as its parameter says."""
    merge = method.parameters.get("merge")
    return merge is not None and merge.default == "mean"


def settings_of(trial: Trial) -> Sequence[Mapping[str, Any]]:
    """Return every combination of a trial's settings, those that all have among them."""
    return [
        {**trial.fixed, **dict(zip(trial.grid, values, strict=True))}
        for values in itertools.product(*trial.grid.values())
    ]

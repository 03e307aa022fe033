"""What the demo merges, and how it chooses a setting. Every merge goes through the functions a user calls."""

import itertools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.execute.merge import merge, merge_variants
from cuvee.recipe.recipe import Recipe

__all__ = ["TRIALS", "Chosen", "Trial", "choose"]

SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
MEAN_SCALES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)  # for methods whose task vector is a mean, not a sum


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A method and the settings to try.

    Attributes:
        name: of the folder and the row.
        method: which method.
        grid: values to try per parameter, in combination; the first of equally good combinations is chosen.
        num_models: how many experts to merge, from the first; None merges all.
        needs_base: the method works on task vectors.
    """

    name: str
    method: str
    grid: Mapping[str, Sequence[float]] = field(default_factory=dict)
    num_models: int | None = None
    needs_base: bool = True

    def settings(self) -> list[dict[str, float]]:
        """Return every combination of values."""
        return [dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values())]


TRIALS = (
    Trial(name="linear", method="linear", needs_base=False),
    Trial(name="mlerp", method="mlerp", needs_base=False),
    Trial(name="slerp-of-two", method="slerp", num_models=2, needs_base=False),
    Trial(name="task-arithmetic", method="task_arithmetic", grid={"scale": SCALES}),
    Trial(name="ties", method="ties", grid={"density": (0.2, 0.5, 0.8), "scale": MEAN_SCALES}),
    Trial(name="dare", method="dare_linear", grid={"density": (0.5,), "scale": SCALES}),
    Trial(name="breadcrumbs", method="breadcrumbs", grid={"density": (0.2, 0.5), "outliers": (0.01,), "scale": SCALES}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The merge that a trial ended with.

    Attributes:
        name: the trial's.
        method: which method.
        setting: values that were chosen from several.
        num_tried: number of combinations it was chosen from.
        recipe: the recipe's file.
        folder: the merged checkpoint.
    """

    name: str
    method: str
    setting: Mapping[str, float]
    num_tried: int
    recipe: Path
    folder: Path


def choose(
    trial: Trial, out: Path, base: Path, experts: Mapping[str, Path], seed: int, validate: Callable[[Path], float]
) -> Chosen:
    """Merge with every setting of a trial, keep the best, and make it again from its recipe as a user would.

    Args:
        trial: what to try.
        out: folder for the recipe and the merged checkpoint.
        base: checkpoint of the base.
        experts: checkpoint per label, in order.
        seed: of random methods.
        validate: quality of a checkpoint, higher is better; must not look at test images.
    """
    models = dict(list(experts.items())[: trial.num_models])
    recipes = [_recipe(trial, setting, out, base, models, seed) for setting in trial.settings()]
    best = recipes[0]
    if len(recipes) > 1:
        with tempfile.TemporaryDirectory(prefix=f".{trial.name}-", dir=out) as candidates:
            folders = [Path(candidates, str(i)) for i in range(len(recipes))]
            merge_variants(dict(zip(folders, recipes, strict=True)))
            values = [validate(folder) for folder in folders]
        best = recipes[values.index(max(values))]
    recipe, folder = out / f"{trial.name}.yaml", out / trial.name
    best.save(recipe)
    merge(recipe, folder)
    setting = {name: value for name, value in best.parameters.items() if len(trial.grid[name]) > 1}
    return Chosen(
        name=trial.name, method=trial.method, setting=setting, num_tried=len(recipes), recipe=recipe, folder=folder
    )


def _recipe(
    trial: Trial, setting: Mapping[str, float], out: Path, base: Path, models: Mapping[str, Path], seed: int
) -> Recipe:
    """State a merge, with paths relative to `out`, so that the demo's folder can be moved."""
    return Recipe(
        method=trial.method,
        models={label: os.path.relpath(folder, out) for label, folder in models.items()},
        base=os.path.relpath(base, out) if trial.needs_base else None,
        parameters=setting,
        seed=seed,
        folder=out,
    )

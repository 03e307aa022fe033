"""The demonstration: a base, four experts, merges by several methods, scored: a study whose models are left behind.

Same suite, same runner as the studies. Whatever it reports was measured in this run, and every merge can be made again
by hand from its recipe.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuvee.errors import OutputError
from cuvee.execute.merge import merge
from cuvee.methods.registry import find_method
from cuvee.recipe.recipe import Recipe
from cuvee.studies.choice import Pick, picks_of
from cuvee.studies.conduct import conduct
from cuvee.studies.expand import Unit, base_of, expert_of, units_of
from cuvee.studies.provenance import provenance
from cuvee.studies.results import FILE, Results
from cuvee.studies.rows import Row
from cuvee.studies.runner.statements import Merge
from cuvee.studies.runner.store import Store
from cuvee.studies.runner.weights import trained
from cuvee.studies.runner.work import Progress
from cuvee.studies.study import Arm, Preset
from cuvee.studies.trials import trials_for
from cuvee.writers.save import save_state_dict

__all__ = ["MERGES", "MODELS", "demo"]

MARK = ".cuvee-demo"  # a folder with this file in it is the demo's, and may be made again
MODELS, MERGES, STORE = "models", "merges", ".store"
METHODS = ("linear", "mlerp", "task_arithmetic", "ties", "dare_linear", "breadcrumbs")
ARM = Arm(suite="glyphs", architecture="mlp-m", base="strong", counts=(4,), draws=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstrated:
    """What the demonstration found and left.

    Attributes:
        rows: results.
        recipes: of the merges, by method.
        cpu_seconds: of all its work.
    """

    rows: Sequence[Row]
    recipes: Sequence[Path]
    cpu_seconds: float


def demo(
    out: Path,
    seed: int,
    processes: int,
    command: str,
    progress: Progress,
    *,
    effort: float = 1.0,
    methods: Sequence[str] = METHODS,
) -> Demonstrated:
    """Train a base and four experts on images of glyphs, merge them by several methods, score all.

    Same seed, same models and same numbers. Settings are chosen on validation images of the experts' cells; test images
    are read once, at the end.

    Args:
        out: folder for checkpoints, recipes and ``results.json``; one that an earlier demo made is made again.
        seed: decides everything random about the trainings.
        processes: jobs at a time; 0 does all in this process.
        command: what the user said.
        progress: told after each job.
        effort: factor on the number of training steps.
        methods: what to merge with.

    Raises:
        OutputError: `out` holds something that is not the demo's.
    """
    _prepare(out)
    arm = replace(ARM, effort=effort)
    preset = Preset(what="the demonstration", arms=(arm,), seeds=(seed,), methods=tuple(methods))
    store = Store(out / STORE)
    found = conduct(preset, store, processes, progress)
    (unit,) = units_of(arm, seed, trials_for(methods))
    _leave_models(unit, store, out / MODELS)
    picks = [picks_of(unit, trial, store)[0] for trial in unit.trials]
    recipes = [_leave_merge(pick, out) for pick in picks]
    shutil.rmtree(out / STORE)
    Results(
        study="demo",
        preset="demo",
        rows=found.rows,
        findings=(),
        sheets=(),
        provenance=provenance(command),
        cpu_seconds=found.spent.cpu_seconds,
        wall_seconds=found.wall_seconds,
        total_cpu_seconds=found.spent.cpu_seconds,
    ).save(out / FILE)
    return Demonstrated(rows=found.rows, recipes=recipes, cpu_seconds=found.spent.cpu_seconds)


def _prepare(out: Path) -> None:
    """Make the folder, or empty it of what an earlier demo left; nothing else in it is touched."""
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).exists():
        raise OutputError(f"{out}: the folder holds something that no earlier demo made; name a new one with --out.")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; the demo needs a folder. Name another one with --out.")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / MARK).touch()
    except OSError as error:
        raise OutputError(f"{out}: the demo's folder cannot be made: {error.strerror}.") from error
    (out / FILE).unlink(missing_ok=True)
    for name in (MODELS, MERGES, STORE):
        if (out / name).exists():
            shutil.rmtree(out / name)
    (out / MERGES).mkdir()


def _leave_models(unit: Unit, store: Store, folder: Path) -> None:
    """Write base and experts under names that say what they are."""
    arm, seed = unit.arm, unit.seed
    named = {"base": base_of(arm, seed), **{cell.name: expert_of(arm, seed, cell) for cell in unit.models}}
    for name, training in named.items():
        config = (store.model(arm.suite, training) / "config.json").read_bytes()
        save_state_dict(folder / name, trained(store, arm.suite, training), files={"config.json": config})


def _leave_merge(pick: Pick, out: Path) -> Path:
    """Write a recipe and merge it as a user would; paths are relative, so that the folder can be moved."""
    recipe, path = _recipe(pick.unit, pick.merge, out), out / MERGES / f"{pick.trial.name}.yaml"
    recipe.save(path)
    merge(path, out / MERGES / pick.trial.name)
    return path


def _recipe(unit: Unit, chosen: Merge, out: Path) -> Recipe:
    method, beside = find_method(chosen.method), out / MERGES
    parameters = {**method.defaults(len(chosen.models)), **chosen.settings}
    needs_base = method.space(parameters) == "deltas"
    return Recipe(
        method=chosen.method,
        models={cell.name: os.path.relpath(out / MODELS / cell.name, beside) for cell in unit.models},
        base=os.path.relpath(out / MODELS / "base", beside) if needs_base else None,
        parameters=dict(chosen.settings),
        seed=chosen.seed,
        folder=beside,
    )

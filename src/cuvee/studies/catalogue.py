"""Studies by name: the modules of `declared`, so that adding a study is adding a file."""

import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module

import cuvee.studies.declared
from cuvee.errors import StudyError, nearest
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.studies.external.shipped import suites_for
from cuvee.studies.study import Preset, Study

__all__ = ["PAPER", "checked_seeds", "find_study", "preset_of", "studies"]

MOST_SEEDS = 1000
PAPER = "paper"
"""The preset of declared suites."""


@cache
def studies() -> Mapping[str, Study]:
    """Return the built-in studies by name."""
    modules = [import_module(f"cuvee.studies.declared.{found.name}") for found in
               pkgutil.iter_modules(cuvee.studies.declared.__path__)]  # fmt: skip
    return {module.STUDY.name: module.STUDY for module in modules}


def find_study(name: str) -> Study:
    """Return a study.

    Raises:
        StudyError: there is none of that name.
    """
    known = studies()
    if name not in known:
        raise StudyError(f"there is no study '{name}'; there are {', '.join(known)}.{nearest(name, known)}")
    return known[name]


def preset_of(study: Study, name: str, methods: tuple[str, ...] = (), num_seeds: int | None = None) -> Preset:
    """Return a preset of a study, with other methods or seeds where they are given.

    Args:
        study: whose.
        name: of the preset.
        methods: names of methods, instead of the preset's; arms that say their own trials keep them.
        num_seeds: number of seeds, instead of the preset's.

    Raises:
        StudyError: there is no such preset, the study has its own methods, a method takes no number of models that is
            merged, or the number of seeds is not positive.
        RecipeError: there is no such method.
    """
    if name not in study.presets:
        known = [*study.presets, *([PAPER] if suites_for(study.name) else [])]
        raise StudyError(
            f"the study '{study.name}' has no preset '{name}'; it has {', '.join(known)}.{nearest(name, known)}"
        )
    preset = study.presets[name]
    if methods:
        if all(arm.trials is not None for arm in preset.arms):
            raise StudyError(f"the study '{study.name}' says itself what it merges with; run it without --methods.")
        for method in methods:
            _check_fits(find_method(method), preset)
        preset = replace(
            preset, methods=tuple(dict.fromkeys(methods)), arms=tuple(replace(arm, methods=None) for arm in preset.arms)
        )
    if num_seeds is not None:
        preset = replace(preset, seeds=tuple(range(checked_seeds(num_seeds))))
    return preset


def checked_seeds(num_seeds: int) -> int:
    """Return a number of seeds as it is.

    Raises:
        StudyError: it is not positive, or far too large.
    """
    if not 1 <= num_seeds <= MOST_SEEDS:
        raise StudyError(
            f"{num_seeds} seeds were asked for; a study takes one at least, three for a verdict, and {MOST_SEEDS} at "
            "most."
        )
    return num_seeds


def _check_fits(method: Method, preset: Preset) -> None:
    """See that a method takes a number of models that a preset merges."""
    counts = sorted({count for arm in preset.arms if arm.trials is None for count in arm.counts})
    least, most = method.models
    if not any(least <= count <= (most or count) for count in counts):
        takes = f"exactly {least}" if least == most else f"{least} or more" if most is None else f"{least} to {most}"
        merged = ", ".join(map(str, counts))
        raise StudyError(
            f"the method '{method.name}' merges {takes}, and the sets are of {merged} models. Leave it out."
        )

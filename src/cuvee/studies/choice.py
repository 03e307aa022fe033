"""Which settings are taken: by held-in validation alone, and, in a row of its own, by the oracle that nobody has.

The choice is kept before a test example is read; the runner holds test scores back from whatever is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cuvee.studies.expand import Unit, merges_of
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import unseen
from cuvee.studies.runner.jobs import Score, result_of, scores_of
from cuvee.studies.runner.statements import Merge
from cuvee.studies.runner.store import Store
from cuvee.studies.study import Trial
from cuvee.studies.suite import Cell

__all__ = ["Pick", "cells_of", "has_oracle", "picks_of", "validation_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """A merge that is reported.

    Attributes:
        unit: whose models.
        trial: what was tried.
        merge: what was chosen.
        chosen: by what: ``"fixed"`` where there was nothing to choose.
        tried: every setting with its mean on held-in validation.
        cpu_seconds: of making all that was tried, and scoring it on the cells that it was chosen by.
    """

    unit: Unit
    trial: Trial
    merge: Merge
    chosen: Literal["fixed", "validation", "oracle"]
    tried: Sequence[tuple[Mapping[str, Any], float]]
    cpu_seconds: float


def cells_of(unit: Unit) -> tuple[Sequence[Cell], Sequence[Cell]]:
    """Return the cells that a set of constituents was trained on, and the unseen combinations of their attributes."""
    return unit.models, unseen(unit.models, find_suite(unit.arm.suite).about.cells)


def validation_of(unit: Unit, trial: Trial) -> Sequence[Score]:
    """Return the validation scores that a choice needs, one per setting; none where there is nothing to choose."""
    merges = merges_of(unit, trial)
    if len(merges) == 1:
        return []
    held_in, others = cells_of(unit)
    cells = (*held_in, *others) if has_oracle(unit) else tuple(held_in)
    return [
        Score(
            suite=unit.arm.suite,
            model=merge,
            architecture=unit.arm.architecture,
            cells=tuple(cells),
            split="validation",
        )
        for merge in merges
    ]


def picks_of(unit: Unit, trial: Trial, store: Store) -> Sequence[Pick]:
    """Choose among validation scores that are there. The first of equally good settings is taken."""
    merges, jobs = merges_of(unit, trial), validation_of(unit, trial)
    if not jobs:
        return [Pick(unit=unit, trial=trial, merge=merges[0], chosen="fixed", tried=(), cpu_seconds=0.0)]
    metric = find_suite(unit.arm.suite).about.metrics[0].name
    held_in, others = cells_of(unit)
    scores = [scores_of(job, store) for job in jobs]
    results = [result_of(job, store) for job in jobs]

    def spent(cells: Sequence[Cell]) -> float:
        """Add up what a choice by some of the scored cells costs; all have the same number of examples."""
        share = len(cells) / len(jobs[0].cells)
        return float(sum(r["making"]["cpu_seconds"] + share * r["scoring"]["cpu_seconds"] for r in results))

    def best(cells: Sequence[Cell]) -> tuple[Merge, list[float]]:
        means = [sum(each[cell][metric] for cell in cells) / len(cells) for each in scores]
        return merges[means.index(max(means))], means

    merge, means = best(held_in)
    tried = [(each.settings, value) for each, value in zip(merges, means, strict=True)]
    picks = [Pick(unit=unit, trial=trial, merge=merge, chosen="validation", tried=tried, cpu_seconds=spent(held_in))]
    if has_oracle(unit) and others:
        oracle, _ = best(others)
        picks.append(
            Pick(unit=unit, trial=trial, merge=oracle, chosen="oracle", tried=tried, cpu_seconds=spent(others))
        )
    return picks


def has_oracle(unit: Unit) -> bool:
    """Say whether a second choice is made for a set, by unseen cells."""
    return unit.arm.has_oracle and len(unit.models) > 1

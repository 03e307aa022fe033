"""Which settings are taken: by held-in validation alone, and, in a row of its own, by the oracle that nobody has.

The choice is kept before a test example is read; the runner holds test scores back from whatever is not in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cuvee.studies.expand import Unit, merges_of
from cuvee.studies.flops import merge_flops, scoring_flops
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import unseen
from cuvee.studies.runner.cost import Cost
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
        spent: on making all that was tried, and scoring it on the cells that it was chosen by.
        flops: floating-point operations of the same; None where the merge's cannot be counted.
    """

    unit: Unit
    trial: Trial
    merge: Merge
    chosen: Literal["fixed", "validation", "oracle"]
    tried: Sequence[tuple[Mapping[str, Any], float]]
    spent: Cost = field(default_factory=Cost)
    flops: float | None = 0.0


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
        return [Pick(unit=unit, trial=trial, merge=merges[0], chosen="fixed", tried=())]
    metric = find_suite(unit.arm.suite).about.metrics[0].name
    held_in, others = cells_of(unit)
    scores = [scores_of(job, store) for job in jobs]

    def chosen_by(cells: Sequence[Cell], chosen: Literal["validation", "oracle"]) -> Pick:
        """Choose by the mean over some of the scored cells; all have the same number of examples."""
        means = [sum(each[cell][metric] for cell in cells) / len(cells) for each in scores]
        share = len(cells) / len(jobs[0].cells)
        return Pick(
            unit=unit,
            trial=trial,
            merge=merges[means.index(max(means))],
            chosen=chosen,
            tried=tried,
            spent=_spent([result_of(job, store) for job in jobs], share),
            flops=_flops(unit, jobs, share),
        )

    held_means = [sum(each[cell][metric] for cell in held_in) / len(held_in) for each in scores]
    tried = [(each.settings, value) for each, value in zip(merges, held_means, strict=True)]
    picks = [chosen_by(held_in, "validation")]
    if has_oracle(unit) and others:
        picks.append(chosen_by(others, "oracle"))
    return picks


def _spent(results: Sequence[Mapping[str, Any]], share: float) -> Cost:
    """Add up what merges and a share of their scores cost."""
    cpu, wall = (
        float(sum(each["making"][clock] + share * each["scoring"][clock] for each in results))
        for clock in ("cpu_seconds", "wall_seconds")
    )
    return Cost(cpu_seconds=cpu, wall_seconds=wall)


def _flops(unit: Unit, jobs: Sequence[Score], share: float) -> float | None:
    """Add up the operations of merges and of a share of their scores."""
    size = find_suite(unit.arm.suite).about.architectures[unit.arm.architecture].num_parameters
    total = 0.0
    for job in jobs:
        assert isinstance(job.model, Merge)
        merge = merge_flops(job.model.method, len(unit.models), size)
        if merge is None:
            return None
        total += merge + share * scoring_flops(job)
    return total


def has_oracle(unit: Unit) -> bool:
    """Say whether a second choice is made for a set, by unseen cells."""
    return unit.arm.has_oracle and len(unit.models) > 1

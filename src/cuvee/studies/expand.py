"""A preset as work to do: which models to train, which sets of them to merge, and with which settings."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cuvee.errors import StudyError
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.statements import Merge, Treatment
from cuvee.studies.study import Arm, Trial
from cuvee.studies.subsets import subsets
from cuvee.studies.suite import Cell, Training
from cuvee.studies.trials import settings_of

__all__ = [
    "FEW",
    "Unit",
    "base_of",
    "check_arm",
    "expert_of",
    "merges_of",
    "multitask_of",
    "trainings_of_arm",
    "units_of",
]

FEW = 32
"""Examples of each task from which signs are estimated (Yadav et al., 2023, section 7)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A set of constituents of an arm, trained from one seed: the least thing that results are averaged over.

    Attributes:
        arm: of a study.
        seed: of the trainings.
        models: the constituents' cells, in the suite's order.
        weight: how often the set was drawn.
        trials: what is done with them.
    """

    arm: Arm
    seed: int
    models: tuple[Cell, ...]
    weight: int
    trials: tuple[Trial, ...]


def base_of(arm: Arm, seed: int) -> Training:
    """Return what an arm's constituents start from."""
    return Training(role=arm.base, architecture=arm.architecture, seed=seed, effort=arm.effort)


def expert_of(arm: Arm, seed: int, cell: Cell) -> Training:
    """Return the constituent of a cell."""
    start = base_of(arm, seed)
    return replace(start, role="expert", cells=(cell,), start=start, tuning=arm.tuning)


def multitask_of(arm: Arm, seed: int, cells: Sequence[Cell], shots: int | None = None) -> Training:
    """Return the model that is trained on several cells, with as many examples as their constituents together."""
    start = base_of(arm, seed)
    return replace(start, role="multitask", cells=tuple(cells), start=start, tuning=arm.tuning, shots=shots)


def check_arm(arm: Arm) -> None:
    """See that an arm's suite has what the arm asks for.

    Raises:
        StudyError: it has no such network, or trains it in other ways.
    """
    networks = find_suite(arm.suite).about.architectures
    if arm.architecture not in networks:
        raise StudyError(f"the suite '{arm.suite}' has no network '{arm.architecture}'; it has {', '.join(networks)}.")
    tunings = networks[arm.architecture].tunings
    if arm.tuning not in tunings:
        raise StudyError(
            f"the suite '{arm.suite}' does not train its network '{arm.architecture}' by '{arm.tuning}'; it does so by "
            f"{', '.join(tunings)}."
        )


def units_of(arm: Arm, seed: int, trials: Sequence[Trial]) -> Sequence[Unit]:
    """Return the sets of constituents of an arm, then, for trials that treat them alone, each constituent.

    A trial is in the units whose number of models its method takes.
    """
    held_in = find_suite(arm.suite).about.held_in
    found = []
    for count in arm.counts:
        fitting = tuple(t for t in trials if not t.alone and t.needs[0] <= count <= (t.needs[1] or count))
        for models, weight in subsets(held_in, count, arm.draws).items():
            found.append(Unit(arm=arm, seed=seed, models=models, weight=weight, trials=fitting))
    alone = tuple(t for t in trials if t.alone)
    if alone:
        used = [cell for cell in held_in if any(cell in unit.models for unit in found)]
        found += [Unit(arm=arm, seed=seed, models=(cell,), weight=1, trials=alone) for cell in used]
    return found


def trainings_of_arm(arm: Arm, seed: int, trials: Sequence[Trial]) -> Iterator[Training]:
    """List what an arm has to train, without what that starts from."""
    yield base_of(arm, seed)
    units = units_of(arm, seed, trials)
    for cell in dict.fromkeys(cell for unit in units for cell in unit.models):
        yield expert_of(arm, seed, cell)
    for unit in units:
        if len(unit.models) > 1 and arm.multitask == "every":
            yield multitask_of(arm, seed, unit.models)
        for trial in unit.trials:
            yield from _references(unit, trial)
    if arm.multitask == "all":
        yield multitask_of(arm, seed, find_suite(arm.suite).about.held_in)


def _references(unit: Unit, trial: Trial) -> tuple[Training, ...]:
    """Return whose signs a trial takes."""
    if not trial.agree:
        return ()
    return (multitask_of(unit.arm, unit.seed, unit.models, FEW if trial.agree == "few" else None),)


def merges_of(unit: Unit, trial: Trial) -> Sequence[Merge]:
    """Return the merges that a trial chooses from, in the order of its grid."""
    treatment = None
    if trial.flip is not None:
        side, share = trial.flip
        treatment = Treatment(kind="flip_largest" if side == "largest" else "flip_smallest", share=share)
    if trial.agree:
        treatment = Treatment(kind="agree", references=_references(unit, trial), density=trial.density)
    return [
        Merge(
            method=trial.method,
            settings=settings,
            base=base_of(unit.arm, unit.seed),
            models=tuple(expert_of(unit.arm, unit.seed, cell) for cell in unit.models),
            seed=unit.seed,
            treatment=treatment,
        )
        for settings in settings_of(trial)
    ]

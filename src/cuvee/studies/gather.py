"""From what is kept in the store to rows of results. Reads; trains, merges and chooses nothing."""

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from cuvee.digest import digest_of_bytes
from cuvee.studies.choice import Pick, cells_of
from cuvee.studies.expand import FEW, Unit, base_of, expert_of, multitask_of
from cuvee.studies.ledger import ledger_of
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Kind, Row
from cuvee.studies.runner.jobs import Measure, Score, result_of, scores_of
from cuvee.studies.runner.statements import Merge, Mixture, Model, Single, as_plain, key_of, libraries
from cuvee.studies.runner.store import Store
from cuvee.studies.study import Trial
from cuvee.studies.suite import Cell, Training

__all__ = ["baselines_of", "conflicts_of", "row_of_baseline", "row_of_conflict", "row_of_pick", "score_of"]

LIBRARIES = ("cuvee", "numba", "safetensors", "peft")  # besides those that decide trainings
_WHOSE = {"multitask": "the multitask model", "few": f"a multitask model of {FEW} examples"}


def _given(trial: Trial) -> str:
    """Say what a merge was given that its user would have to have besides."""
    if not trial.agree:
        return ""
    kept = "" if trial.density == 1 else f" for the largest {trial.density:.0%} of each task vector"
    return f"signs of {_WHOSE[trial.agree]}{kept}"


def score_of(unit: Unit, model: Model, cells: Sequence[Cell], frozen: str) -> Score:
    """Return the test score of a model."""
    return Score(
        suite=unit.arm.suite,
        model=model,
        architecture=unit.arm.architecture,
        cells=tuple(cells),
        split="test",
        frozen=frozen,
    )


def baselines_of(unit: Unit) -> Iterator[tuple[Kind, str, Model, Sequence[Cell]]]:
    """List what the merges of a set are compared with: kind, name, model, and the cells that it is scored on.

    The base and every constituent are scored on all cells of the suite, so that they are the same for every set.
    """
    arm, every = unit.arm, find_suite(unit.arm.suite).about.cells
    yield "base", "base", Single(training=base_of(arm, unit.seed)), every
    for cell in unit.models:
        yield "constituent", cell.name, Single(training=expert_of(arm, unit.seed, cell)), every
    if len(unit.models) == 1:
        return
    cells = [cell for part in cells_of(unit) for cell in part]
    if arm.multitask == "every":
        yield "multitask", "multitask", Single(training=multitask_of(arm, unit.seed, unit.models)), cells
    if arm.multitask == "all":
        held_in = find_suite(arm.suite).about.held_in
        yield "multitask", "multitask", Single(training=multitask_of(arm, unit.seed, held_in)), every
    if arm.has_mixture:
        experts = tuple(expert_of(arm, unit.seed, cell) for cell in unit.models)
        yield "mixture", "mixture of outputs", Mixture(models=experts), cells


def conflicts_of(unit: Unit) -> Sequence[Measure]:
    """Return the measures of how far a set's task vectors contradict each other."""
    arm = unit.arm
    if len(unit.models) == 1:
        return []
    experts = tuple(expert_of(arm, unit.seed, cell) for cell in unit.models)
    base = base_of(arm, unit.seed)
    return [Measure(suite=arm.suite, base=base, models=experts, density=density) for density in arm.conflicts]


def row_of_baseline(unit: Unit, kind: Kind, name: str, job: Score, store: Store) -> Row:
    """Return the row of a baseline. The base's and constituents' are of no set: they count once."""
    of_set = kind in ("multitask", "mixture")
    models = unit.models if of_set else tuple(cell for cell in unit.models if cell.name == name)
    assert not isinstance(job.model, Merge)
    trained = job.model.models if isinstance(job.model, Mixture) else (job.model.training,)
    return _row(unit, kind, name, job, store, models, trained, weight=unit.weight if of_set else 1)


def row_of_pick(pick: Pick, job: Score, store: Store) -> Row:
    """Return the row of a merge that was chosen."""
    unit = pick.unit
    kind: Kind = "alone" if pick.trial.alone else "merge"
    return _row(unit, kind, pick.trial.name, job, store, unit.models, pick.merge.models, weight=unit.weight, pick=pick)


def _row(
    unit: Unit,
    kind: Kind,
    name: str,
    job: Score,
    store: Store,
    models: Sequence[Cell],
    trained: Sequence[Training],
    *,
    weight: int,
    pick: Pick | None = None,
) -> Row:
    arm, ledger, merge = unit.arm, ledger_of(job, trained, pick, store), pick.merge if pick else None
    return Row(
        suite=arm.suite,
        version=find_suite(arm.suite).about.version,
        architecture=arm.architecture,
        base=arm.base,
        tuning=arm.tuning,
        seed=unit.seed,
        kind=kind,
        name=name,
        method=merge.method if merge else "",
        settings=merge.settings if merge else {},
        chosen=pick.chosen if pick else "fixed",
        tried=pick.tried if pick else (),
        given=_given(pick.trial) if pick else "",
        models=tuple(cell.name for cell in models),
        weight=weight,
        scores={cell.name: values for cell, values in scores_of(job, store).items()},
        costs=ledger.costs,
        wall=ledger.wall,
        flops=ledger.flops,
        peak_bytes=ledger.peak_bytes,
        read_bytes=ledger.read_bytes,
        statistic_bytes=ledger.statistic_bytes,
        notes=result_of(job, store)["notes"],
        key=key_of(arm.suite, as_plain(job.model)),
        constituents=[_digest(store.weights(arm.suite, each)) for each in trained],
        libraries=libraries(arm.suite, *LIBRARIES),
    )


def row_of_conflict(unit: Unit, job: Measure, store: Store) -> Row:
    """Return the row of a measure of task vectors."""
    arm = unit.arm
    return Row(
        suite=arm.suite,
        version=find_suite(arm.suite).about.version,
        architecture=arm.architecture,
        base=arm.base,
        tuning=arm.tuning,
        seed=unit.seed,
        kind="vectors",
        name=f"{job.what} at density {job.density:g}",
        models=tuple(cell.name for cell in unit.models),
        weight=unit.weight,
        split="",
        measures=result_of(job, store)["shares"],
        constituents=[_digest(store.weights(arm.suite, each)) for each in job.models],
        libraries=libraries(arm.suite, *LIBRARIES),
    )


@cache
def _digest(path: Path) -> str:
    """Return the digest of a file of weights."""
    return digest_of_bytes(path.read_bytes())

"""A study from beginning to end: train, validate, choose, keep the choice, test, gather.

Every stage is done in jobs that are kept, so a run that was killed goes on where it was, and studies share what they
train. Test examples are read after the choice is kept, once, by what is reported.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cuvee.studies.choice import Pick, cells_of, picks_of, validation_of
from cuvee.studies.expand import Unit, check_arm, trainings_of_arm, units_of
from cuvee.studies.gather import baselines_of, conflicts_of, row_of_baseline, row_of_conflict, row_of_pick, score_of
from cuvee.studies.registry import find_suite
from cuvee.studies.rows import Kind, Row
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.jobs import Draw, Measure, Score, job_key, result_of
from cuvee.studies.runner.statements import Merge, Single, as_plain, key_of
from cuvee.studies.runner.store import Store, training_key
from cuvee.studies.runner.work import Progress, do, train_all, with_starts
from cuvee.studies.study import Arm, Preset
from cuvee.studies.suite import Cell, Training
from cuvee.studies.trials import trials_of

__all__ = ["Conducted", "Sheet", "conduct"]

SHEET_CELLS = 8  # columns of a sheet of samples: wide enough to see, narrow enough for a page


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Images of several models of one set, to be shown side by side.

    Attributes:
        unit: whose models.
        jobs: the images by the model's name.
    """

    unit: Unit
    jobs: Sequence[tuple[str, Draw]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conducted:
    """What a study has found.

    Attributes:
        rows: results.
        sheets: images; where arms ask for them.
        spent: what this run took; what was there before is not counted.
        total_cpu_seconds: of all trainings and results that the rows are made of, whenever they were made.
        wall_seconds: of the whole run.
    """

    rows: Sequence[Row]
    sheets: Sequence[Sheet]
    spent: Cost
    total_cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """A test score, and how its row is made."""

    job: Score
    row: Callable[[], Row]


def conduct(preset: Preset, store: Store, processes: int, progress: Progress) -> Conducted:
    """Conduct a study.

    Args:
        preset: what to do.
        store: where trained models and results are kept.
        processes: jobs at a time; 0 does all in this process.
        progress: told after each job.

    Raises:
        StudyError: it asks for what a suite does not have.
        CuveeError: a merge cannot be made.
    """
    begun = time.perf_counter()
    for arm in preset.arms:
        check_arm(arm)
    arms = [(arm, seed, trials_of(arm, preset)) for arm in preset.arms for seed in preset.seeds]
    units = [unit for each in arms for unit in units_of(*each)]
    trainings = {(each[0].suite, training): None for each in arms for training in trainings_of_arm(*each)}
    spent = train_all(list(trainings), store, processes, progress)
    validation = [job for unit in units for trial in unit.trials for job in validation_of(unit, trial)]
    spent += do(validation, store, processes, "choose settings", progress)
    picks = [pick for unit in units for trial in unit.trials for pick in picks_of(unit, trial, store)]
    frozen = _freeze(units, picks, store)
    tests = [*_baselines(units, frozen, store), *_merges(picks, frozen, store)]
    spent += do([test.job for test in tests], store, processes, "test", progress)
    measures = [(unit, job) for unit in units for job in conflicts_of(unit)]
    spent += do([job for _, job in measures], store, processes, "measure task vectors", progress)
    sheets = _sheets(units, picks, frozen)
    spent += do([job for sheet in sheets for _, job in sheet.jobs], store, processes, "draw", progress)
    rows = [*(test.row() for test in tests), *(row_of_conflict(unit, job, store) for unit, job in measures)]
    jobs: list[Score | Draw | Measure] = [*validation, *(test.job for test in tests), *(job for _, job in measures)]
    jobs += [job for sheet in sheets for _, job in sheet.jobs]
    return Conducted(
        rows=rows,
        sheets=sheets,
        spent=spent,
        total_cpu_seconds=_total(trainings, jobs, store),
        wall_seconds=time.perf_counter() - begun,
    )


def _total(trainings: Iterable[tuple[str, Training]], jobs: Sequence[Score | Draw | Measure], store: Store) -> float:
    """Add up what everything has cost, each once, whenever it was made."""
    models = {training_key(*each): each for pair in trainings for each in with_starts(*pair)}
    results = {job_key(job): job for job in jobs}
    return sum(store.cost(*each).cpu_seconds for each in models.values()) + sum(
        float(result_of(job, store)["cost"]["cpu_seconds"]) for job in results.values()
    )


def _freeze(units: Sequence[Unit], picks: Sequence[Pick], store: Store) -> str:
    """Keep the choice: the models whose test scores may be read from now on. Return its name."""
    models = {key_of(unit.arm.suite, as_plain(model)) for unit in units for _, _, model, _ in baselines_of(unit)}
    models |= {key_of(pick.unit.arm.suite, as_plain(pick.merge)) for pick in picks}
    content = {"models": sorted(models)}
    name = key_of(units[0].arm.suite, "selection", content)
    if store.result(name) is None:
        store.keep_result(name, content)
    return name


def _baselines(units: Sequence[Unit], frozen: str, store: Store) -> list[_Test]:
    """Return the baselines' test scores, each once for an arm."""
    found: dict[tuple[str, ...], _Test] = {}
    for unit in units:
        for kind, name, model, cells in baselines_of(unit):
            job = score_of(unit, model, cells, frozen)
            of = unit.models if kind in ("multitask", "mixture") else ()
            identity = (key_of(unit.arm.suite, as_plain(model)), kind, unit.arm.tuning, *(cell.name for cell in of))
            found.setdefault(identity, _Test(job=job, row=_baseline_row(unit, kind, name, job, store)))
    return list(found.values())


def _baseline_row(unit: Unit, kind: Kind, name: str, job: Score, store: Store) -> Callable[[], Row]:
    return lambda: row_of_baseline(unit, kind, name, job, store)


def _merges(picks: Sequence[Pick], frozen: str, store: Store) -> list[_Test]:
    """Return the test scores of what was chosen."""
    tests = []
    for pick in picks:
        held_in, others = cells_of(pick.unit)
        job = score_of(pick.unit, pick.merge, [*held_in, *others], frozen)
        tests.append(_Test(job=job, row=_pick_row(pick, job, store)))
    return tests


def _pick_row(pick: Pick, job: Score, store: Store) -> Callable[[], Row]:
    return lambda: row_of_pick(pick, job, store)


def _sheets(units: Sequence[Unit], picks: Sequence[Pick], frozen: str) -> list[Sheet]:
    """Return images of the largest set of each arm that asks for them: drawn by its models, or examples of its data."""
    largest: list[Unit] = []
    for unit in sorted(units, key=lambda each: -len(each.models)):
        if unit.arm.pictures and not any(unit.arm == other.arm for other in largest):
            largest.append(unit)
    sheets = []
    for unit in largest:
        held_in, others = cells_of(unit)
        cells = (*held_in[: SHEET_CELLS // 2], *others[: SHEET_CELLS // 2])
        models: list[tuple[str, Single | Merge]] = [
            (name, model)
            for kind, name, model, _ in baselines_of(unit)
            if kind in ("base", "multitask") and isinstance(model, Single)
        ]
        models += [(p.trial.name, p.merge) for p in picks if p.unit == unit and p.chosen != "oracle"]
        if not find_suite(unit.arm.suite).about.draws:
            models = [("examples", models[0][1])]
        sheets.append(Sheet(unit=unit, jobs=[(name, _draw(unit.arm, model, cells, frozen)) for name, model in models]))
    return sheets


def _draw(arm: Arm, model: Single | Merge, cells: Sequence[Cell], frozen: str) -> Draw:
    return Draw(
        suite=arm.suite,
        model=model,
        architecture=arm.architecture,
        cells=tuple(cells),
        count=arm.pictures,
        frozen=frozen,
    )

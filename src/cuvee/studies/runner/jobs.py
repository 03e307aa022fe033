"""The work that a study is made of: to train, to score, to draw, to measure task vectors. Each is done once and kept.

A job is small and names models by statements; the process that does it reads what it needs from the store. So a job
gives the same result wherever and whenever it is done.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cuvee.errors import StudyError
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost, metered
from cuvee.studies.runner.statements import Merge, Mixture, Model, Single, as_plain, code, key_of, trainings_of
from cuvee.studies.runner.store import Store, training_key
from cuvee.studies.runner.vectors import sign_conflict
from cuvee.studies.runner.weights import let_go, merged, trained, warm_up
from cuvee.studies.suite import Cell, Scores, Split, Training, Weights
from cuvee.tensors.framework import single_threaded

__all__ = ["Draw", "Job", "Measure", "Score", "Train", "carry_out", "is_done", "job_key", "result_of", "scores_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Train:
    """Train a model, whose start is there.

    Attributes:
        suite: name of the suite.
        training: what to train.
    """

    suite: str
    training: Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Score a model on some cells of a split.

    Attributes:
        suite: name of the suite.
        model: what to score.
        architecture: its network.
        cells: which cells.
        split: which examples.
        frozen: for the split "test": name of the selection, made before, that has this model.
    """

    suite: str
    model: Model
    architecture: str
    cells: tuple[Cell, ...]
    split: Split
    frozen: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Let a model draw images of some cells, or show examples where models draw none.

    Attributes:
        suite: name of the suite.
        model: whose images.
        architecture: its network.
        cells: which cells.
        count: images of each.
        frozen: name of the selection that has this model: images are looked at, as test scores are.
    """

    suite: str
    model: Single | Merge
    architecture: str
    cells: tuple[Cell, ...]
    count: int
    frozen: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Measure how far task vectors contradict each other.

    Attributes:
        suite: name of the suite.
        base: the models' base.
        models: whose task vectors.
        density: share of the entries of each that is kept, the largest by magnitude.
    """

    suite: str
    base: Training
    models: tuple[Training, ...]
    density: float
    what: Literal["sign conflict"] = "sign conflict"


_DRAWN: set[tuple[str, Split, Cell]] = set()
"""Cells whose examples of a split this process has drawn; suites keep them."""
Job = Train | Score | Draw | Measure


def job_key(job: Job) -> str:
    """Return the name of a job's result. A selection allows a score and changes nothing: it is no part of the name."""
    match job:
        case Train():
            return training_key(job.suite, job.training)
        case Score():
            said: list[object] = [
                "score",
                as_plain(job.model),
                job.architecture,
                [cell.name for cell in job.cells],
                job.split,
            ]
        case Draw():
            said = ["draw", as_plain(job.model), job.architecture, [cell.name for cell in job.cells], job.count]
        case Measure():
            said = [job.what, as_plain(job.base), [as_plain(each) for each in job.models], job.density, code()]
    return key_of(job.suite, *said)


def is_done(job: Job, store: Store) -> bool:
    """Say whether a job's result is kept."""
    if isinstance(job, Train):
        return store.has(job.suite, job.training)
    return store.result(job_key(job)) is not None


def result_of(job: Score | Draw | Measure, store: Store) -> Mapping[str, Any]:
    """Return a job's result.

    Raises:
        StudyError: it was not done, or its selection does not have it.
    """
    if isinstance(job, Score | Draw):
        _check_frozen(job, store)
    result = store.result(job_key(job))
    if result is None:
        raise StudyError(f"{store.folder}: a result that was there is gone; run the study again.")
    return result


def scores_of(job: Score, store: Store) -> Scores:
    """Return the scores of a job that is done."""
    return {Cell(*name): values for name, values in result_of(job, store)["scores"]}


def carry_out(job: Job, folder: Path) -> Cost:
    """Do a job and keep what comes of it, on one thread.

    Args:
        job: what to do.
        folder: the store's.

    Raises:
        StudyError: a test score was asked for before its selection was made.
        CuveeError: what is scored cannot be made.
    """
    store = Store(folder)
    let_go()
    with single_threaded():
        if isinstance(job, Train):
            return _train(job, store)
        warm_up()
        if isinstance(job, Score | Draw):
            _check_frozen(job, store)
        with metered() as whole:
            match job:
                case Score():
                    result = _score(job, store)
                case Draw():
                    result = _draw(job, store)
                case Measure():
                    result = _measure(job, store)
    store.keep_result(job_key(job), {**result, "cost": whole.cost.as_mapping()})
    return whole.cost


def _train(job: Train, store: Store) -> Cost:
    start = job.training.start
    weights = trained(store, job.suite, start) if start is not None else None
    with metered() as meter:
        made = find_suite(job.suite).train(job.training, weights)
    store.keep(job.suite, job.training, made, meter.cost)
    return meter.cost


def _check_frozen(job: Score | Draw, store: Store) -> None:
    """Hold back test scores, and images, until the settings are chosen: nothing may be chosen by them."""
    if isinstance(job, Score) and job.split != "test":
        return
    selection = store.result(job.frozen) if job.frozen else None
    if selection is None or key_of(job.suite, as_plain(job.model)) not in selection["models"]:
        raise StudyError(
            f"{job.suite}: the test examples are not read before the settings are chosen and kept; this model is in no "
            "such selection. Score it on the validation split."
        )


def _made(job: Score | Draw, store: Store) -> tuple[Sequence[Weights], Sequence[str]]:
    """Return the weights of a model, several for a mixture, and what its merge has to note."""
    match job.model:
        case Single():
            return [trained(store, job.suite, job.model.training)], []
        case Mixture():
            return [trained(store, job.suite, each) for each in job.model.models], []
        case Merge():
            weights, notes = merged(store, job.suite, job.model)
            return [weights], notes


def _score(job: Score, store: Store) -> Mapping[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what a merge says is in its notes
        for training in trainings_of(job.model):
            trained(store, job.suite, training)  # read by whichever job of a process comes first: no merge's cost
        if job.split == "test":
            _made(job, store)  # nor is what a method loads when a process merges with it for the first time
        with metered() as making:
            weights, notes = _made(job, store)
    _draw_examples(job, weights)
    with metered() as scoring:
        scores = find_suite(job.suite).score(weights, job.architecture, job.cells, job.split)
    return {
        "scores": [[[cell.a, cell.b], dict(values)] for cell, values in scores.items()],
        "notes": list(notes),
        "making": making.cost.as_mapping(),
        "scoring": scoring.cost.as_mapping(),
    }


def _draw_examples(job: Score, weights: Sequence[Weights]) -> None:
    """Score cells that this process scores for the first time once more: drawing their examples is no model's cost."""
    new = [cell for cell in job.cells if (job.suite, job.split, cell) not in _DRAWN]
    if new:
        find_suite(job.suite).score(weights, job.architecture, new, job.split)
        _DRAWN.update((job.suite, job.split, cell) for cell in new)


def _draw(job: Draw, store: Store) -> Mapping[str, Any]:
    (weights,), _ = _made(job, store)
    pictures = find_suite(job.suite).draw(weights, job.architecture, job.cells, job.count)
    shown = {cell: (images.clamp(0, 1) * 255).round().int().tolist() for cell, images in pictures.items()}
    return {"pictures": [[[cell.a, cell.b], images] for cell, images in shown.items()]}


def _measure(job: Measure, store: Store) -> Mapping[str, Any]:
    base = trained(store, job.suite, job.base)
    return {"shares": sign_conflict([trained(store, job.suite, each) for each in job.models], base, job.density)}

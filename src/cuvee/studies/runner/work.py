"""Many jobs, in several processes, each once; what was done by an earlier run is not done again."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from cuvee.pool import run_processes
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.jobs import Job, Train, carry_out, is_done, job_key
from cuvee.studies.runner.store import Store, training_key
from cuvee.studies.suite import Training

__all__ = ["Progress", "do", "train_all", "with_starts"]

Progress = Callable[[str, int, int], None]
"""Told (what is being done, how much of it is done, how much there is)."""


def do(jobs: Iterable[Job], store: Store, processes: int, what: str, progress: Progress) -> Cost:
    """Do jobs that do not depend on each other, and return what those cost that were not done before.

    Args:
        jobs: what to do; equal ones are done once.
        store: what has been done, and where to keep what is done now.
        processes: how many at a time, one thread each; 0 for this process.
        what: told to `progress`.
        progress: told after each job.
    """
    every = list({job_key(job): job for job in jobs}.values())
    left = [job for job in every if not is_done(job, store)]
    spent = Cost()
    count = len(every) - len(left)
    progress(what, count, len(every))

    def note(_: Job, cost: Cost) -> None:
        nonlocal spent, count
        spent, count = spent + cost, count + 1
        progress(what, count, len(every))

    run_processes(partial(carry_out, folder=store.folder), left, processes, note)
    return spent


def train_all(
    suite_trainings: Sequence[tuple[str, Training]], store: Store, processes: int, progress: Progress
) -> Cost:
    """Train models, and first what they start from. Long ones come first, so that no process waits for a last one."""
    every = {training_key(*each): each for pair in suite_trainings for each in with_starts(*pair)}
    spent = Cost()
    for depth in sorted({_depth(training) for _, training in every.values()}):
        level = [each for each in every.values() if _depth(each[1]) == depth]
        level.sort(key=lambda each: -_effort(*each))
        jobs = [Train(suite=suite, training=training) for suite, training in level]
        spent += do(jobs, store, processes, "train bases" if depth == 0 else "train models", progress)
    return spent


def with_starts(suite: str, training: Training) -> list[tuple[str, Training]]:
    """List a model and what it is trained from."""
    return [(suite, training), *(with_starts(suite, training.start) if training.start else [])]


def _depth(training: Training) -> int:
    return 0 if training.start is None else 1 + _depth(training.start)


def _effort(suite: str, training: Training) -> float:
    """Return floating-point operations, to order trainings by."""
    found = find_suite(suite)
    return found.num_examples(training) * found.about.architectures[training.architecture].flops

"""What a preset would train, merge and score, before it does; from declarations alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cuvee.studies.choice import cells_of, has_oracle, validation_of
from cuvee.studies.expand import merges_of, trainings_of_arm, units_of
from cuvee.studies.flops import scoring_flops, training_flops
from cuvee.studies.gather import baselines_of, score_of
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.jobs import Score, is_done, job_key
from cuvee.studies.runner.store import Store
from cuvee.studies.study import Preset
from cuvee.studies.suite import Training
from cuvee.studies.trials import trials_of

__all__ = ["Forecast", "Part", "Work", "forecast", "work_of"]

BYTES = 4  # of a parameter: everything is float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The work in one suite.

    Attributes:
        suite: its name.
        trainings: models to train by role.
        merges: settings to try.
        tests: test scores to read at most; what was chosen, and baselines.
        training_flops, scoring_flops: floating-point operations.
        stored_bytes: of trained models, adapters counted as whole models.
        done: how much of the above is kept already: trainings, merges.
    """

    suite: str
    trainings: Mapping[str, int]
    merges: int
    tests: int
    training_flops: float
    scoring_flops: float
    stored_bytes: int
    done: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a study would do.

    Attributes:
        study, preset: names.
        parts: one per suite.
    """

    study: str
    preset: str
    parts: Sequence[Part]

    def as_mapping(self) -> Mapping[str, Any]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What there is to do in one suite, listed.

    Attributes:
        trainings: models to train, without what is trained twice.
        validation: scores of settings to choose from.
        tests: scores that are reported: of baselines, each once, and of a merge for each choice. Which settings are
            chosen is not known; the first stand for them.
    """

    trainings: Sequence[Training]
    validation: Sequence[Score]
    tests: Sequence[Score]


def forecast(study: str, name: str, preset: Preset, store: Store) -> Forecast:
    """Count what a preset would do, and what of it is kept already.

    Raises:
        StudyError: it asks for what a suite does not have.
    """
    suites = dict.fromkeys(arm.suite for arm in preset.arms)
    return Forecast(study=study, preset=name, parts=[_part(suite, preset, store) for suite in suites])


def work_of(suite: str, preset: Preset) -> Work:
    """List what a preset does in a suite.

    Raises:
        StudyError: it asks for what the suite does not have.
    """
    trained, validation, tests = dict[Training, None](), list[Score](), dict[str, Score]()
    for arm in preset.arms:
        trials = trials_of(arm, preset)
        for seed in preset.seeds if arm.suite == suite else ():
            for training in trainings_of_arm(arm, seed, trials):
                trained |= {training: None} | ({training.start: None} if training.start else {})
            for unit in units_of(arm, seed, trials):
                held_in, others = cells_of(unit)
                for trial in unit.trials:
                    jobs = validation_of(unit, trial)
                    validation += jobs
                    num_chosen = 2 if jobs and has_oracle(unit) else 1  # which ones, nobody knows before the run
                    for merge in merges_of(unit, trial)[:num_chosen]:
                        job = score_of(unit, merge, [*held_in, *others], "")
                        tests[job_key(job)] = job
                for _, _, model, cells in baselines_of(unit):
                    job = score_of(unit, model, cells, "")
                    tests[job_key(job)] = job  # the base and constituents of several sets, once
    return Work(trainings=list(trained), validation=validation, tests=list(tests.values()))


def _part(suite: str, preset: Preset, store: Store) -> Part:
    """Count the work in a suite."""
    about, work = find_suite(suite).about, work_of(suite, preset)
    return Part(
        suite=suite,
        trainings=dict(Counter(training.role for training in work.trainings)),
        merges=len(work.validation),
        tests=len(work.tests),
        training_flops=sum(training_flops(suite, training) for training in work.trainings),
        scoring_flops=sum(map(scoring_flops, [*work.validation, *work.tests])),
        stored_bytes=sum(BYTES * about.architectures[each.architecture].num_parameters for each in work.trainings),
        done=(
            sum(store.has(suite, each) for each in work.trainings),
            sum(is_done(job, store) for job in work.validation),
        ),
    )

"""What a result has cost, by stage: training of the constituents, statistics, choice of settings, merge, evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cuvee.methods.registry import find_method
from cuvee.studies.choice import Pick
from cuvee.studies.flops import merge_flops, scoring_flops, training_flops
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.cost import Cost
from cuvee.studies.runner.jobs import Score, result_of
from cuvee.studies.runner.statements import Merge
from cuvee.studies.runner.store import Store
from cuvee.studies.suite import Training

__all__ = ["Ledger", "ledger_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """Costs by stage; see `Row`, which has the same.

    Attributes:
        costs: CPU seconds.
        wall: seconds of the clock.
        flops: floating-point operations, where they can be counted.
        peak_bytes: most memory that the merge took beyond its models.
        read_bytes: files of weights that the merge is made of.
        statistic_bytes: files of what else it is given: models whose signs it takes.
    """

    costs: Mapping[str, float]
    wall: Mapping[str, float]
    flops: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    read_bytes: int = 0
    statistic_bytes: int = 0


def ledger_of(job: Score, trained: Sequence[Training], pick: Pick | None, store: Store) -> Ledger:
    """Add up what a test score has cost.

    Args:
        job: the score, which is done.
        trained: models that what is scored is made of, without their base.
        pick: the choice, of a merge.
        store: where the costs are.
    """
    result = result_of(job, store)
    treatment = pick.merge.treatment if pick else None
    references = treatment.references if treatment else ()  # whose signs the merge is given
    spent = {
        "training": _trained(job.suite, trained, store),
        "statistics": _trained(job.suite, references, store),
    }
    flops = {
        "training": sum(training_flops(job.suite, each) for each in trained),
        "statistics": sum(training_flops(job.suite, each) for each in references),
        "evaluation": scoring_flops(job),
    }
    if pick is not None:
        spent |= {"tuning": pick.spent, "merge": Cost(**result["making"])}
        size = find_suite(job.suite).about.architectures[job.architecture].num_parameters
        counted = {"merge": merge_flops(pick.merge.method, len(pick.merge.models), size), "tuning": pick.flops}
        flops |= {stage: value for stage, value in counted.items() if value is not None}
    spent["evaluation"] = Cost(**result["scoring"])
    return Ledger(
        costs={stage: cost.cpu_seconds for stage, cost in spent.items()},
        wall={stage: cost.wall_seconds for stage, cost in spent.items()},
        flops=flops,
        peak_bytes=spent["merge"].peak_bytes if "merge" in spent else 0,
        read_bytes=_read(job.suite, pick.merge, store) if pick else 0,
        statistic_bytes=sum(store.weights(job.suite, each).stat().st_size for each in references),
    )


def _trained(suite: str, trainings: Sequence[Training], store: Store) -> Cost:
    return sum((store.cost(suite, each) for each in trainings), Cost())


def _read(suite: str, merge: Merge, store: Store) -> int:
    """Return the bytes of the files that a merge reads: its models', and the base's where it or adapters need one."""
    method = find_method(merge.method)
    needs_base = method.space({**method.defaults(len(merge.models)), **merge.settings}) == "deltas"
    is_adapted = any(each.tuning != "full" for each in merge.models)
    models = [*merge.models, *([merge.base] if needs_base or is_adapted else [])]
    return sum(store.weights(suite, each).stat().st_size for each in models)

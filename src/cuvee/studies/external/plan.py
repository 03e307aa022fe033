"""What a study on a declared suite would download, train, merge, evaluate and cost; nothing of it is done.

Counts follow from the declaration and the study's factors, with the same code that runs a study. Operations are 6 P T
for training and 2 P T for a forward pass (P weights that a token passes through, T tokens; Kaplan et al., 2020, arXiv
2001.08361, without attention's own). What is not known is counted as such, so that sums are "at least".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cuvee.methods.registry import find_method
from cuvee.studies.external.declaration import Declaration, Network
from cuvee.studies.external.facts import Amount, total
from cuvee.studies.external.paper import paper_preset
from cuvee.studies.forecast import work_of
from cuvee.studies.registry import find_suite
from cuvee.studies.runner.jobs import Score
from cuvee.studies.runner.statements import Merge, Mixture
from cuvee.studies.study import Preset, Study
from cuvee.studies.suite import Training

__all__ = ["SPEED", "Download", "Merges", "Passes", "Plan", "Trained", "planned"]

SPEED = 1.25e14
"""Operations per second of one GPU that hours are told for: 40 % of what an A100 does in bfloat16."""
PASSES = 3  # a training step in forward passes: one forward, the backward pass twice as much
ADAM_BYTES = 16  # of a trained parameter: weight, gradient and AdamW's two moments, float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """Something to fetch.

    Attributes:
        what: a few words.
        hub: its name on the hub, or its address.
        revision: which commit.
        size: bytes.
        mark: where that is from, see `MARKS`.
    """

    what: str
    hub: str
    revision: str
    size: Amount
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """Models of one kind to train.

    Attributes:
        role: expert or multitask; bases and published experts are downloaded, not trained.
        network: its name.
        base: what they start from.
        tuning: what of them is trained.
        count: how many.
        examples: that all of them see, at most: training ends earlier where validation no longer gains.
        flops: of all.
        size: bytes of what is kept of all.
    """

    role: str
    network: str
    base: str
    tuning: str
    count: int
    examples: float
    flops: Amount
    size: Amount

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU of `SPEED`."""
        return self.flops.known / SPEED / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Merges:
    """Merges to make.

    Attributes:
        settings: tried, to choose from by validation.
        chosen: made for the test.
        read: bytes of models that go through them, the base among them where a method needs it.
        made: bytes of merged models; the runner keeps them in memory.
    """

    settings: int
    chosen: int
    read: Amount
    made: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class Passes:
    """Forward passes of evaluations.

    Attributes:
        scores: how often a model is scored.
        cells: cells of all of these.
        examples: passes.
        flops: operations.
    """

    scores: int
    cells: int
    examples: Amount
    flops: Amount

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU of `SPEED`."""
        return self.flops.known / SPEED / 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study on a declared suite, counted.

    Attributes:
        study, suite: names.
        declared_for: the study that the factors are declared for.
        what, paper: of the suite.
        num_cells, num_held_in: of the suite.
        num_arms, num_seeds: of the study.
        downloads, trained, merges, validation, test: what there is to do.
        disk: bytes of downloads and of what is trained.
        gpu: bytes of GPU memory for weights, gradients and AdamW's moments; activations come on top.
        stated: bytes of GPU memory that the declaration says.
        lacks: methods of the paper that cuvee does not have.
        notes: what to know.
    """

    study: str
    suite: str
    declared_for: str
    what: str
    paper: str
    num_cells: int
    num_held_in: int
    num_arms: int
    num_seeds: int
    downloads: Sequence[Download]
    trained: Sequence[Trained]
    merges: Merges
    validation: Passes
    test: Passes
    disk: Amount
    gpu: Amount
    stated: Amount
    lacks: Sequence[str]
    notes: Sequence[str]

    @property
    def gpu_hours(self) -> float:
        """Hours of one GPU of `SPEED`, for training and evaluation."""
        return sum(each.gpu_hours for each in self.trained) + self.validation.gpu_hours + self.test.gpu_hours

    def as_mapping(self) -> Mapping[str, Any]:
        """Return plain values."""
        return {**asdict(self), "gpu_hours": self.gpu_hours, "flops_per_second": SPEED}


def planned(study: Study, declaration: Declaration, named: tuple[str, ...] = (), num_seeds: int | None = None) -> Plan:
    """Count what a study on a declared suite would do.

    Args:
        study: which.
        declaration: of the suite.
        named: methods in place of the declared ones.
        num_seeds: in place of the declared number.

    Raises:
        StudyError: the factors ask for what the suite does not have.
    """
    preset = paper_preset(study, declaration, named, num_seeds)
    declared_for, factors = declaration.factors_for(study.name)
    work = work_of(declaration.reference, preset)
    downloads = _downloads(declaration, preset)
    trained = _trained(declaration, [each for each in work.trainings if each.cells])
    merges = [each for each in (*work.validation, *work.tests) if isinstance(each.model, Merge)]
    return Plan(
        study=study.name,
        suite=declaration.name,
        declared_for=declared_for,
        what=declaration.what,
        paper=declaration.paper,
        num_cells=len(declaration.cells),
        num_held_in=len(declaration.held_in),
        num_arms=len(preset.arms),
        num_seeds=len(preset.seeds),
        downloads=downloads,
        trained=trained,
        merges=Merges(
            settings=len(work.validation),
            chosen=len(merges) - len(work.validation),
            read=total(_read(declaration, each) for each in merges),
            made=total(declaration.networks[each.architecture].num_bytes.amount for each in merges),
        ),
        validation=_passes(declaration, work.validation),
        test=_passes(declaration, work.tests),
        disk=total([*(each.size for each in downloads), *(each.size for each in trained)]),
        gpu=_memory(declaration, preset),
        stated=declaration.memory.amount,
        lacks=factors.lacks,
        notes=declaration.notes,
    )


def _downloads(declaration: Declaration, preset: Preset) -> Sequence[Download]:
    """List data, and models of the networks and bases that are used."""
    found = [(each.what, each.source) for each in declaration.data]
    for arm in preset.arms:
        network = declaration.networks[arm.architecture]
        found.append((f"{network.what}, {arm.base} base", network.bases[arm.base]))
    used = {arm.architecture for arm in preset.arms}
    found += [(f"expert of {each.cell.name}", each.source) for each in declaration.experts if each.network in used]
    listed = {
        source: Download(
            what=what, hub=source.hub, revision=source.revision, size=source.bytes.amount, mark=source.bytes.mark
        )
        for what, source in reversed(found)
    }
    return list(reversed(listed.values()))


def _trained(declaration: Declaration, trainings: Iterable[Training]) -> Sequence[Trained]:
    """Count models to train by role, network, base and tuning."""
    published = {(each.cell, each.network) for each in declaration.experts}
    groups: dict[tuple[str, str, str, str], list[Training]] = {}
    for each in trainings:
        if len(each.cells) > 1 or (each.cells[0], each.architecture) not in published:
            start = each.start.role if each.start else each.role
            groups.setdefault((each.role, each.architecture, start, each.tuning), []).append(each)
    suite = find_suite(declaration.reference)
    found = []
    for (role, name, base, tuning), every in groups.items():
        network, examples = declaration.networks[name], float(sum(map(suite.num_examples, every)))
        found.append(
            Trained(
                role=role,
                network=name,
                base=base,
                tuning=tuning,
                count=len(every),
                examples=examples,
                flops=_flops(network, Amount(examples)).times(PASSES),
                size=_kept(network, tuning).times(len(every)),
            )
        )
    return found


def _flops(network: Network, examples: Amount) -> Amount:
    """Return operations of forward passes: two for each weight and token."""
    unknown = examples.unknown + network.active.amount.unknown + network.tokens.amount.unknown
    return Amount(examples.known * network.flops, unknown)


def _kept(network: Network, tuning: str) -> Amount:
    """Return bytes of a trained model, or of an adapter."""
    if tuning == "full":
        return network.num_bytes.amount
    return network.adapters[tuning].amount.times(4) if tuning in network.adapters else Amount(0.0, 1)


def _read(declaration: Declaration, job: Score) -> Amount:
    """Return bytes of the models that go into a merge."""
    assert isinstance(job.model, Merge)
    method = find_method(job.model.method)
    parameters = {**method.defaults(len(job.model.models)), **job.model.settings}
    needs_base = method.operands == "deltas" or method.space(parameters) == "deltas"
    return declaration.networks[job.architecture].num_bytes.amount.times(len(job.model.models) + needs_base)


def _passes(declaration: Declaration, jobs: Sequence[Score]) -> Passes:
    """Count forward passes."""
    examples, flops = Amount(0.0), Amount(0.0)
    for job in jobs:
        models = len(job.model.models) if isinstance(job.model, Mixture) else 1
        passes = declaration.examples[job.split].amount.times(models * len(job.cells))
        examples, flops = examples + passes, flops + _flops(declaration.networks[job.architecture], passes)
    return Passes(scores=len(jobs), cells=sum(len(job.cells) for job in jobs), examples=examples, flops=flops)


def _memory(declaration: Declaration, preset: Preset) -> Amount:
    """Return what the largest of the arms' trainings, or scores where nothing is trained, takes on a GPU."""
    return max((_memory_of(declaration, arm.architecture, arm.tuning) for arm in preset.arms), key=lambda a: a.known)


def _memory_of(declaration: Declaration, name: str, tuning: str) -> Amount:
    network = declaration.networks[name]
    loaded = network.loaded.amount.times(4)
    if declaration.training is None:
        return network.loaded.amount.times((network.num_bytes.value or 0.0) / (network.parameters.value or 1.0))
    trained = network.parameters.amount if tuning == "full" else _kept(network, tuning).times(1 / 4)
    return loaded + trained.times(ADAM_BYTES - 4)

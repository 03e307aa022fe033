"""What a declared suite says: cells, data, networks, how experts come about, how they are scored, and for which study.

Plain values; `reading` makes them of a YAML file. Nothing here is on this machine because it is declared.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from cuvee.errors import StudyError, nearest
from cuvee.studies.external.facts import UNKNOWN, Fact
from cuvee.studies.external.scoring import Scoring
from cuvee.studies.suite import Cell, Metric, Split, Tuning

__all__ = ["BYTES", "Data", "Declaration", "Expert", "Factors", "Network", "Remote", "TrainingRecipe"]

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a number, by its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """Something to fetch.

    Attributes:
        hub: its name on the hub, or an address where it is elsewhere.
        revision: which commit; "unpinned" is whatever is there.
        bytes: to download.
        path: a folder on this machine in its place, of declarations of one's own.
    """

    hub: str
    revision: str = "unpinned"
    bytes: Fact = UNKNOWN
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A data set.

    Attributes:
        what: a few words.
        source: where it is.
        splits: what of it becomes train, statistics, validation and test, in words.
        columns: which of its columns are used, and for what, in words.
    """

    what: str
    source: Remote
    splits: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A model whose weights are trained and merged.

    Attributes:
        what: a few words.
        kind: its class in transformers or diffusers.
        parameters: that are trained (with full tuning) and merged.
        loaded: that are in memory when it runs; those that stay frozen, such as a text tower, too.
        active: that an example's token passes through; fewer than all in mixtures of experts and encoder-decoders.
        tokens: of a typical example, or patches of an image; times that it passes, where it passes several times.
        dtype: of its numbers as it is kept.
        bases: the weak and the strong start of training.
        adapters: numbers of trained parameters of adapters.
    """

    what: str
    kind: str
    parameters: Fact
    loaded: Fact
    active: Fact
    tokens: Fact
    dtype: str
    bases: Mapping[str, Remote]
    adapters: Mapping[str, Fact] = field(default_factory=dict)

    @property
    def num_bytes(self) -> Fact:
        """Size of what is merged."""
        value = self.parameters.value
        return Fact(None if value is None else BYTES[self.dtype] * value, self.parameters.mark)

    @property
    def flops(self) -> float:
        """Operations of a forward pass of an example, two for each weight and token; 0 where it is not known."""
        return 2 * (self.active.value or 0.0) * (self.tokens.value or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRecipe:
    """How experts are trained.

    Attributes:
        rate: AdamW's learning rate.
        batch: examples of a step.
        steps: at most so many.
        decay: weight decay.
        patience: validations without gain after which it ends; None: it never ends early.
        every: steps between validations.
        multitask_steps: of a multitask model; None: as many as its cells' experts together.
        tunings: ways of training.
        lora: rank, alpha, dropout.
        targets: ends of names of the linear layers that adapters go on; empty: as peft knows the architecture.
        inputs: those of them whose inputs (IA)³ scales.
    """

    rate: Fact
    batch: Fact
    steps: Fact
    decay: float = 0.0
    patience: int | None = None
    every: int = 50
    multitask_steps: Fact | None = None
    tunings: tuple[Tuning, ...] = ("full",)
    lora: Mapping[str, float] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """A constituent that somebody has published.

    Attributes:
        cell: what it knows.
        network: name of its network.
        source: where it is.
    """

    cell: Cell
    network: str
    source: Remote


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """What a study varies on the suite.

    Attributes:
        networks, bases, tunings: every combination is an arm.
        counts: numbers of constituents to merge.
        draws: sets for each number.
        seeds: number of trainings of each expert.
        methods: what to merge with; None takes the study's own trials.
        multitask: as of `Arm`.
        lacks: methods of the paper that cuvee does not have.
    """

    networks: tuple[str, ...]
    bases: tuple[Literal["weak", "strong"], ...]
    tunings: tuple[Tuning, ...]
    counts: tuple[int, ...]
    draws: int
    seeds: int
    methods: tuple[str, ...] | None = None
    multitask: Literal["every", "all", "none"] = "every"
    lacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """A suite, declared.

    Attributes:
        reference: how studies name it: a shipped one's name, or the path of a file.
        name: of the suite.
        version: grows when its scores change.
        what: one sentence.
        paper: what it follows, with the section.
        axes: what the two attributes are.
        cells: all that are scored.
        held_in: those with constituents.
        metric: what is measured.
        chance: score of guessing.
        examples: of a cell, by split.
        data: to fetch.
        networks: by name, from small to large.
        training: how experts are trained; None where all are published.
        experts: published ones.
        scoring: how a model is scored in a cell.
        memory: bytes of GPU memory that the source says, or we think, it needs.
        factors: by the name of the study that it is for; a study that is not named takes the first.
        notes: differences from the paper, gaps, and what to know.
        folder: of prepared data, of declarations of one's own; None: the place of all.
    """

    reference: str
    name: str
    version: int
    what: str
    paper: str
    axes: tuple[str, str]
    cells: tuple[Cell, ...]
    held_in: tuple[Cell, ...]
    metric: Metric
    chance: float
    examples: Mapping[Split, Fact]
    data: tuple[Data, ...]
    networks: Mapping[str, Network]
    training: TrainingRecipe | None
    experts: tuple[Expert, ...]
    scoring: Scoring
    memory: Fact
    factors: Mapping[str, Factors]
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    @property
    def digest(self) -> str:
        """A digest of all that decides a trained model's bytes, or a score: not of words, and what is for plans."""
        networks = [(name, each.kind, each.dtype, each.bases) for name, each in self.networks.items()]
        said = (self.name, self.cells, self.training, self.experts, self.scoring, self.folder, networks)
        return hashlib.sha256(repr(said).encode()).hexdigest()[:12]

    def factors_for(self, study: str) -> tuple[str, Factors]:
        """Return the factors for a study, and the name of the study that they are declared for.

        Raises:
            StudyError: the suite is for a study of nearly that name, which is a slip.
        """
        if study in self.factors:
            return study, self.factors[study]
        if slip := nearest(study, self.factors):
            raise StudyError(f"{self.reference}: no study '{study}' is in the suite's 'studies'.{slip}")
        return next(iter(self.factors.items()))

"""Rows of results: one per model that was scored, with all that is needed to know where its numbers come from."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from cuvee.studies.suite import Cell

__all__ = ["Kind", "Row", "mean", "unseen"]

Kind = Literal["base", "constituent", "multitask", "mixture", "merge", "alone", "vectors"]
"""What was scored: baselines, a merge, a constituent treated by itself, or (not scored but measured) task vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A model and its scores.

    Attributes:
        suite, version: of the suite.
        architecture, base, tuning: of the arm.
        seed: of the trainings.
        kind: what it is.
        name: of the trial, or of the baseline.
        method, settings: of a merge.
        chosen: how its settings were chosen: ``"fixed"``, ``"validation"`` (held-in cells) or ``"oracle"`` (validation
            of unseen cells, which nobody has).
        tried: the settings it was chosen from, each with its mean score on held-in validation.
        given: what the merge was given that its user would have to have besides, such as another model's signs.
        models: constituents' cells, by name; of a base none.
        weight: how often this set of models was drawn.
        split: what was read: "test", or nothing for measures of vectors.
        scores: values by cell's name and metric.
        measures: values by name, of task vectors.
        costs: CPU seconds by stage: training (of the constituents), statistics, tuning, merge, evaluation.
        wall: seconds of the clock by stage.
        flops: floating-point operations by stage, where they can be counted.
        peak_bytes: most memory that the merge took beyond its models; 0 where it cannot be measured.
        read_bytes: files of weights that the merge is made of.
        statistic_bytes: statistics that were stored for it.
        notes: what the merge noted.
        key: digest of all that decides the model.
        constituents: digests of the files of weights that it is made of.
        libraries: versions of what computed it.
    """

    suite: str
    version: int
    architecture: str
    base: str
    tuning: str
    seed: int
    kind: Kind
    name: str
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    chosen: str = "fixed"
    tried: Sequence[tuple[Mapping[str, Any], float]] = ()
    given: str = ""
    models: tuple[str, ...] = ()
    weight: int = 1
    split: str = "test"
    scores: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    wall: Mapping[str, float] = field(default_factory=dict)
    flops: Mapping[str, float] = field(default_factory=dict)
    peak_bytes: int = 0
    read_bytes: int = 0
    statistic_bytes: int = 0
    notes: Sequence[str] = ()
    key: str = ""
    constituents: Sequence[str] = ()
    libraries: Mapping[str, str] = field(default_factory=dict)

    @property
    def arm(self) -> tuple[str, str, str, str]:
        """What it may be compared with: same suite, network, base and training."""
        return (self.suite, self.architecture, self.base, self.tuning)

    def as_mapping(self) -> Mapping[str, Any]:
        """Return plain values."""
        return asdict(self)


def unseen(models: Sequence[Cell], cells: Sequence[Cell]) -> Sequence[Cell]:
    """Return the suite's cells that combine attributes of the constituents, and that none was trained on."""
    of_a, of_b = {cell.a for cell in models}, {cell.b for cell in models}
    return [cell for cell in cells if cell.a in of_a and cell.b in of_b and cell not in models]


def mean(scores: Mapping[str, Mapping[str, float]], cells: Sequence[Cell], metric: str) -> float:
    """Average a metric over cells, each counting the same; NaN where there is no cell.

    Raises:
        KeyError: a cell was not scored.
    """
    return sum(scores[cell.name][metric] for cell in cells) / len(cells) if cells else float("nan")

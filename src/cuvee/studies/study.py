"""What a study is: one declaration of what is trained, merged and compared, and what is expected of it beforehand.

A study says *arms* (a suite, a network, a base, a way of training), *trials* (a method and the settings to choose
from), and *hypotheses*. Everything else (what to train, what may be chosen by what, what is reported) is the runner's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cuvee.studies.suite import Tuning

if TYPE_CHECKING:
    from cuvee.studies.rows import Row
    from cuvee.studies.verdict import Sample

__all__ = ["POINTS", "Arm", "Hypothesis", "Preset", "References", "Spread", "Study", "Trial"]

POINTS = "points"
"""Unit of scores and their differences: reports tell them as hundredths."""

References = Literal["", "multitask", "few"]
"""Whose signs a trial's task vectors must have: nobody's, the multitask model's, or those of one of a few examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A method, and the settings to choose from.

    Attributes:
        name: in tables; the method's, with what is special about the trial.
        method: which method.
        grid: values to try per parameter, in combination; chosen on held-in validation.
        fixed: parameters that all of them have.
        alone: each constituent is treated by itself, instead of several merged.
        flip: turn the signs of a share of each task vector's entries first: of the ``"largest"`` or ``"smallest"``.
        agree: leave out entries that contradict the signs of these.
        density: with `agree`: share of the entries that is kept before.
        needs: fewest and most models; None is no limit.
    """

    name: str
    method: str
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False
    flip: tuple[Literal["largest", "smallest"], float] | None = None
    agree: References = ""
    density: float = 1.0
    needs: tuple[int, int | None] = (1, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One network of a suite, trained in one way, and what is merged of it.

    Attributes:
        suite: name of the suite.
        architecture: its network.
        base: what constituents start from.
        tuning: how they are trained.
        effort: factor on the number of steps of everything that is trained.
        counts: numbers of models to merge.
        draws: sets of models per number.
        multitask: a multitask model for every set, for all constituents together, or none.
        has_mixture: the mixture of the outputs is scored, too.
        has_oracle: a second, marked choice is made by validation scores of unseen cells.
        methods: what to merge with, unless the user names others; None takes the preset's.
        trials: what to merge in its place; such an arm takes no other methods.
        conflicts: densities for which the sign conflict of each set is measured.
        pictures: images per cell for the sheets; 0 for none.
    """

    suite: str
    architecture: str
    base: Literal["weak", "strong"]
    tuning: Tuning = "full"
    effort: float = 1.0
    counts: tuple[int, ...] = (2, 4, 6, 8)
    draws: int = 3
    multitask: Literal["every", "all", "none"] = "every"
    has_mixture: bool = False
    has_oracle: bool = False
    methods: tuple[str, ...] | None = None
    trials: tuple[Trial, ...] | None = None
    conflicts: tuple[float, ...] = ()
    pictures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A size of a study.

    Attributes:
        what: a few words, with its time on two cores.
        arms: what is trained and merged.
        seeds: of the trainings; less than three give no verdict.
        methods: of arms that say none; None for all that apply.
    """

    what: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    methods: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """What is expected, written down before the study ran.

    Attributes:
        name: a few words.
        statement: one sentence that can be wrong.
        source: whose claim it is: a paper and its section, or "ours".
        statistic: what is measured, one sentence; above zero (see `above`) speaks for the statement.
        sample: finds one value per independent unit (a seed, a set of models) in the rows.
        above: what the statistic is expected to lie above; the interval decides.
        unit: of the statistic: `POINTS` of a score, which reports tell as hundredths; or "ratio".
    """

    name: str
    statement: str
    source: str
    statistic: str
    sample: "Callable[[Sequence[Row]], Sequence[Sample]]"
    above: float = 0.0
    unit: str = POINTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A figure of a study: a value against another, one line per method.

    Attributes:
        name: of the file.
        title: above it.
        x, y: what the axes are.
        points: finds (line, x, value, unit) in the rows; values of one unit (seed and set) are averaged over units.
        published: lines of a paper, drawn dashed: name to (x, y).
        source: where they are from.
    """

    name: str
    title: str
    x: str
    y: str
    points: "Callable[[Sequence[Row]], Sequence[tuple[str, float, Sample]]]"
    published: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study.

    Attributes:
        name: in commands.
        title: of its page.
        question: one sentence.
        paper: what it follows: title, authors, year, link.
        presets: sizes by name: smoke, small, record, full.
        hypotheses: what is expected.
        figures: what is drawn besides what every study has.
        differences: how it differs from the paper, a sentence each.
    """

    name: str
    title: str
    question: str
    paper: str
    presets: Mapping[str, Preset]
    hypotheses: tuple[Hypothesis, ...]
    figures: tuple[Spread, ...] = ()
    differences: tuple[str, ...] = ()

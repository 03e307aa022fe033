"""Study B: what matters for merging at scale: the base, the size of the model, the number of experts, the method?

Follows Yadav, Vu, Lai, Chronopoulou, Faruqui, Bansal and Munkhdalai, "What Matters for Model Merging at Scale?", 2024,
arXiv 2410.03617.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cuvee.studies.published.tables import scale_by_experts, scale_source
from cuvee.studies.rows import Row
from cuvee.studies.statistics import Part, Statistic, between_counts, between_parts, each, less, spread
from cuvee.studies.study import Arm, Hypothesis, Preset, Spread, Study
from cuvee.studies.table import Table
from cuvee.studies.tendencies import over_counts, over_sizes

__all__ = ["STUDY"]

METHODS = ("linear", "task_arithmetic", "dare_ties", "ties")
PAPER = "Yadav et al. (2024)"
BASES: tuple[Literal["weak", "strong"], ...] = ("weak", "strong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """Networks of a suite, from small to large.

    Attributes:
        suite: its name.
        of: what its examples are, in hypotheses.
        sizes: names of the networks.
    """

    suite: str
    of: str
    sizes: tuple[str, ...]

    @property
    def strong(self) -> Part:
        """Arms with the strong base."""
        return {"suite": self.suite, "base": "strong"}

    @property
    def weak(self) -> Part:
        """Arms with the weak base."""
        return {"suite": self.suite, "base": "weak"}

    @property
    def small(self) -> Part:
        """Arms of the smallest network."""
        return {"suite": self.suite, "architecture": self.sizes[0]}

    @property
    def large(self) -> Part:
        """Arms of the largest network."""
        return {"suite": self.suite, "architecture": self.sizes[-1]}


IMAGES = Ladder(suite="glyphs", of="images", sizes=("mlp-s", "mlp-m", "mlp-l", "mlp-xl"))
LANGUAGE = Ladder(suite="polyglot", of="language", sizes=("s", "m", "l"))
EVERY = (IMAGES, LANGUAGE)


def _arms(ladders: Sequence[Ladder], draws: int, effort: float = 1.0) -> tuple[Arm, ...]:
    """Return an arm for each size and base."""
    return tuple(
        Arm(suite=ladder.suite, architecture=size, base=base, draws=draws, multitask="all", effort=effort)
        for ladder in ladders
        for size in ladder.sizes
        for base in BASES
    )


def _fall(part: Part) -> Statistic:
    """Return how much of the constituents' scores is lost from two models to eight."""
    return between_counts(Table.retained, 8, 2, **part)


def _spread(part: Part) -> Statistic:
    """Return how far the best method lies above the worst, of eight models."""
    return spread(Table.retained, *METHODS, num_models=8, **part)


def _gained_by_multitask(table: Table, row: Row) -> float:
    """Return the ratio to the base of the multitask model on a merge's unseen cells."""
    multitask = table.multitask(row)
    return float("nan") if multitask is None else table.gained(row, multitask)


def _kept(ladder: Ladder) -> tuple[Hypothesis, ...]:
    """Say what is expected of the experts' scores that merges keep."""
    small, large = ladder.sizes[0], ladder.sizes[-1]
    return (
        Hypothesis(
            name=f"A stronger base ({ladder.of})",
            statement="Merges of experts from a strong base keep more of the experts' scores.",
            source=PAPER,
            statistic="mean share kept over sizes, methods and numbers, strong base less weak",
            sample=between_parts(Table.retained, ladder.weak, ladder.strong),
            unit="ratio",
        ),
        Hypothesis(
            name=f"Larger models ({ladder.of})",
            statement="Merges of larger models keep more of the experts' scores.",
            source=PAPER,
            statistic=f"mean share kept over bases, methods and numbers, {large} less {small}",
            sample=between_parts(Table.retained, ladder.small, ladder.large),
            unit="ratio",
        ),
        Hypothesis(
            name=f"Larger models tolerate more experts ({ladder.of})",
            statement="Larger models lose less from two experts to eight.",
            source=PAPER,
            statistic=f"share lost from two to eight experts, {small} less {large}, strong base",
            sample=less(_fall({**ladder.strong, **ladder.small}), _fall({**ladder.strong, **ladder.large})),
            unit="ratio",
        ),
        Hypothesis(
            name=f"Methods converge ({ladder.of})",
            statement="Differences between methods shrink with the size of the model.",
            source=PAPER,
            statistic=f"best less worst share kept among methods (which ones, other seeds say), {small} less {large}, "
            "eight experts, strong base",
            sample=less(_spread({**ladder.strong, **ladder.small}), _spread({**ladder.strong, **ladder.large})),
            unit="ratio",
        ),
        Hypothesis(
            name=f"Merges trail their experts ({ladder.of})",
            statement="Merges keep less than the whole of their experts' scores.",
            source=PAPER,
            statistic="one less the mean share kept",
            sample=each(lambda table, row: 1 - table.retained(row), suite=ladder.suite),
            unit="ratio",
        ),
    )


def _held_out(ladder: Ladder) -> tuple[Hypothesis, ...]:
    """Say what is expected on combinations that no expert has seen."""
    return (
        Hypothesis(
            name=f"Better than the base on held-out cells ({ladder.of})",
            statement="Merges are better than their base on combinations that no expert has seen.",
            source=PAPER,
            statistic="mean ratio to the base on unseen cells, less one",
            sample=each(lambda table, row: table.gained(row) - 1, suite=ladder.suite),
            unit="ratio",
        ),
        Hypothesis(
            name=f"More experts, more held-out ({ladder.of})",
            statement="The gain over the base grows with the number of experts.",
            source=PAPER,
            statistic="mean ratio to the base on unseen cells, eight experts less two",
            sample=between_counts(Table.gained, 2, 8, suite=ladder.suite),
            unit="ratio",
        ),
        Hypothesis(
            name=f"Large merges beat multitask training on held-out cells ({ladder.of})",
            statement="Eight experts of the largest size, merged, are better on unseen cells than the multitask model.",
            source=f"{PAPER} (in the paper's tables true only of the largest size with the strong base)",
            statistic=f"ratio to the base on unseen cells of {ladder.sizes[-1]}, strong base, less that of the "
            "multitask model",
            sample=each(
                lambda table, row: table.gained(row) - _gained_by_multitask(table, row),
                num_models=8,
                **{**ladder.strong, **ladder.large},
            ),
            unit="ratio",
        ),
    )


HYPOTHESES = tuple(hypothesis for ladder in EVERY for hypothesis in (*_kept(ladder), *_held_out(ladder)))


def _figures(ladder: Ladder) -> tuple[Spread, ...]:
    """Draw what the paper draws, with the paper's numbers beside."""
    return (
        Spread(
            name=f"held-in-by-experts-{ladder.suite}",
            title=f"Task arithmetic, {ladder.of}: held-in scores against the number of experts",
            x="experts merged",
            y="share of the experts' scores",
            points=over_counts(Table.retained, "task_arithmetic", suite=ladder.suite),
            published=scale_by_experts("held_in"),
            source=scale_source(),
        ),
        Spread(
            name=f"held-out-by-experts-{ladder.suite}",
            title=f"Task arithmetic, {ladder.of}: unseen combinations against the number of experts",
            x="experts merged",
            y="ratio to the base",
            points=over_counts(Table.gained, "task_arithmetic", suite=ladder.suite),
            published=scale_by_experts("held_out"),
            source=scale_source(),
        ),
        Spread(
            name=f"held-in-by-size-{ladder.suite}",
            title=f"Held-in scores of eight experts against the size of the model, {ladder.of}",
            x="parameters",
            y="share of the experts' scores",
            points=over_sizes(Table.retained, 8, suite=ladder.suite),
        ),
    )


STUDY = Study(
    name="scale",
    title="What matters for merging at scale?",
    question="How do the base, the size of the model, the number of experts and the method decide what a merge keeps "
    "of its experts, and how well it generalises?",
    paper="P. Yadav, T. Vu, J. Lai, A. Chronopoulou, M. Faruqui, M. Bansal, T. Munkhdalai: What Matters for Model "
    "Merging at Scale?, 2024, https://arxiv.org/abs/2410.03617",
    presets={
        "smoke": Preset(
            what="glyphs, smallest network, a tenth of the training, one seed; under a minute",
            arms=tuple(replace(arm, counts=(2, 4)) for arm in _arms((replace(IMAGES, sizes=("mlp-s",)),), 1, 0.1)),
            seeds=(0,),
            methods=METHODS,
        ),
        "small": Preset(
            what="a small and a larger network of each suite, one seed; under half an hour",
            arms=_arms((replace(IMAGES, sizes=("mlp-s", "mlp-l")), replace(LANGUAGE, sizes=("s", "m"))), 2),
            seeds=(0,),
            methods=METHODS,
        ),
        "record": Preset(
            what="all sizes, three seeds; about two hours",
            arms=_arms(EVERY, 3),
            seeds=(0, 1, 2),
            methods=METHODS,
        ),
        "full": Preset(
            what="all sizes, five seeds, five draws; overnight",
            arms=_arms(EVERY, 5),
            seeds=(0, 1, 2, 3, 4),
            methods=METHODS,
        ),
    },
    hypotheses=HYPOTHESES,
    figures=(*_figures(IMAGES), *_figures(LANGUAGE)),
    differences=(
        "Networks of 4·10⁴ to 3·10⁶ parameters, a ratio of 75 like the paper's 64, on made images, and of 4·10⁴ to "
        "3·10⁵ on made language; whether its findings show at this size is what is tested, its numbers are not.",
        "The paper does not say its settings; here they are chosen on held-in validation.",
        "Held-out are unseen combinations of the experts' attributes, not other tasks.",
        "One multitask model for all eight tasks, as in the paper.",
        "The weak base of the language models has read texts alone and answers no question, so that there is nothing "
        "to divide its merges' unseen scores by: ratios to the base are of the strong one there.",
    ),
)

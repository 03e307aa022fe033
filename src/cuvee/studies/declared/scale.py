"""Study B: what matters for merging at scale: the base, the size of the model, the number of experts, the method?

Follows Yadav, Vu, Lai, Chronopoulou, Faruqui, Bansal and Munkhdalai, "What Matters for Model Merging at Scale?", 2024,
arXiv 2410.03617.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from cuvee.studies.published.tables import scale_by_experts, scale_source
from cuvee.studies.rows import Row
from cuvee.studies.statistics import Statistic, between_counts, between_parts, each
from cuvee.studies.study import Arm, Hypothesis, Preset, Spread, Study
from cuvee.studies.table import Table
from cuvee.studies.tendencies import over_counts, over_sizes
from cuvee.studies.verdict import Sample

__all__ = ["STUDY"]

METHODS = ("linear", "task_arithmetic", "dare_ties", "ties")
PAPER = "Yadav et al. (2024), section 2.3 of our protocol"
SMALL, LARGE = "mlp-s", "mlp-xl"
BASES: tuple[Literal["weak", "strong"], ...] = ("weak", "strong")
STRONG = {"suite": "glyphs", "base": "strong"}


def _arms(sizes: Sequence[str], draws: int, effort: float = 1.0) -> tuple[Arm, ...]:
    """Return an arm for each size and base."""
    return tuple(
        Arm(suite="glyphs", architecture=size, base=base, draws=draws, multitask="all", effort=effort)
        for size in sizes
        for base in BASES
    )


def _spread_of_methods(table: Table, row: Row) -> float:
    """Return how far the best method of a set lies above the worst."""
    others = [table.other(row, name) for name in METHODS]
    values = [table.retained(other) for other in others if other is not None]
    return max(values) - min(values)


def _fall(architecture: str) -> Statistic:
    """Return how much of the constituents' scores is lost from two models to eight."""
    return between_counts(Table.retained, 8, 2, architecture=architecture, **STRONG)


def _less(one: Statistic, other: Statistic, rows: Sequence[Row]) -> Sequence[Sample]:
    """Take one statistic less another, for each seed."""
    second = {sample.seed: sample.value for sample in other(rows)}
    return [replace(s, value=s.value - second[s.seed]) for s in one(rows) if s.seed in second]


def _gained_by_multitask(table: Table, row: Row) -> float:
    """Return the ratio to the base of the multitask model on a merge's unseen cells."""
    multitask = table.multitask(row)
    return float("nan") if multitask is None else table.gained(replace(multitask, models=row.models))


HYPOTHESES = (
    Hypothesis(
        name="A stronger base",
        statement="Merges of experts from a strong base keep more of the experts' scores.",
        source=f"{PAPER}, 1",
        statistic="mean share kept over sizes, methods and numbers, strong base less weak",
        sample=between_parts(Table.retained, {"suite": "glyphs", "base": "weak"}, STRONG),
        unit="ratio",
    ),
    Hypothesis(
        name="Larger models",
        statement="Merges of larger models keep more of the experts' scores.",
        source=f"{PAPER}, 2",
        statistic=f"mean share kept over bases, methods and numbers, {LARGE} less {SMALL}",
        sample=between_parts(Table.retained, {"architecture": SMALL}, {"architecture": LARGE}),
        unit="ratio",
    ),
    Hypothesis(
        name="Better than the base on held-out cells",
        statement="Merges are better than their base on combinations that no expert has seen.",
        source=f"{PAPER}, 3",
        statistic="mean ratio to the base on unseen cells, less one",
        sample=each(lambda table, row: table.gained(row) - 1, suite="glyphs"),
        unit="ratio",
    ),
    Hypothesis(
        name="More experts, more held-out",
        statement="The gain over the base grows with the number of experts.",
        source=f"{PAPER}, 3",
        statistic="mean ratio to the base on unseen cells, eight experts less two",
        sample=between_counts(Table.gained, 2, 8, suite="glyphs"),
        unit="ratio",
    ),
    Hypothesis(
        name="Large merges beat multitask training on held-out cells",
        statement="Eight experts of the largest size, merged, are better on unseen cells than the multitask model.",
        source=f"{PAPER}, 4 (in the paper's tables true only of the largest size with the strong base)",
        statistic=f"ratio to the base on unseen cells of {LARGE}, strong base, less that of the multitask model",
        sample=each(
            lambda table, row: table.gained(row) - _gained_by_multitask(table, row),
            num_models=8,
            architecture=LARGE,
            **STRONG,
        ),
        unit="ratio",
    ),
    Hypothesis(
        name="Larger models tolerate more experts",
        statement="Larger models lose less from two experts to eight.",
        source=f"{PAPER}, 5",
        statistic=f"share lost from two to eight experts, {SMALL} less {LARGE}, strong base",
        sample=lambda rows: _less(_fall(SMALL), _fall(LARGE), rows),
        unit="ratio",
    ),
    Hypothesis(
        name="Methods converge",
        statement="Differences between methods shrink with the size of the model.",
        source=f"{PAPER}, 6",
        statistic=f"best less worst share kept among methods, {SMALL} less {LARGE}, eight experts, strong base",
        sample=between_parts(
            _spread_of_methods,
            {"architecture": LARGE, **STRONG},
            {"architecture": SMALL, **STRONG},
            "linear",
            num_models=8,
        ),
        unit="ratio",
    ),
    Hypothesis(
        name="Merges trail their experts",
        statement="Merges keep less than the whole of their experts' scores.",
        source=f"{PAPER}, 7",
        statistic="one less the mean share kept",
        sample=each(lambda table, row: 1 - table.retained(row), suite="glyphs"),
        unit="ratio",
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
            arms=tuple(replace(arm, counts=(2, 4)) for arm in _arms((SMALL,), 1, 0.1)),
            seeds=(0,),
            methods=METHODS,
        ),
        "small": Preset(
            what="smallest and middle networks, one seed; under half an hour",
            arms=_arms(("mlp-s", "mlp-l"), 2),
            seeds=(0,),
            methods=METHODS,
        ),
        "record": Preset(
            what="all sizes, three seeds; about two hours",
            arms=_arms(("mlp-s", "mlp-m", "mlp-l", "mlp-xl"), 3),
            seeds=(0, 1, 2),
            methods=METHODS,
        ),
        "full": Preset(
            what="all sizes, five seeds, five draws; overnight",
            arms=_arms(("mlp-s", "mlp-m", "mlp-l", "mlp-xl"), 5),
            seeds=(0, 1, 2, 3, 4),
            methods=METHODS,
        ),
    },
    hypotheses=HYPOTHESES,
    figures=(
        Spread(
            name="held-in-by-experts",
            title="Held-in scores against the number of experts",
            x="experts merged",
            y="share of the experts' scores",
            points=over_counts(Table.retained),
            published=scale_by_experts("held_in"),
            source=scale_source(),
        ),
        Spread(
            name="held-out-by-experts",
            title="Unseen combinations against the number of experts",
            x="experts merged",
            y="ratio to the base",
            points=over_counts(Table.gained),
            published=scale_by_experts("held_out"),
            source=scale_source(),
        ),
        Spread(
            name="held-in-by-size",
            title="Held-in scores of eight experts against the size of the model",
            x="parameters",
            y="share of the experts' scores",
            points=over_sizes(Table.retained, 8),
        ),
    ),
    differences=(
        "Networks of 4·10⁴ to 3·10⁶ parameters, a ratio of 75 like the paper's 64, on made images and language; "
        "whether its findings show at this size is what is tested, its numbers are not.",
        "The paper does not say its settings; here they are chosen on held-in validation.",
        "Held-out are unseen combinations of the experts' attributes, not other tasks.",
        "One multitask model for all eight tasks, as in the paper.",
    ),
    external=("open-ladder",),
)

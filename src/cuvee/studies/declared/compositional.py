"""Study A: do merges generalise to combinations that no constituent has seen, and at what cost?

Follows Tam, Kant, Lester, Gilitschenski and Raffel, "Realistic Evaluation of Model Merging for Compositional
Generalization", 2024, arXiv 2409.18314.
"""

import math
from dataclasses import replace

from cuvee.studies.rows import Row
from cuvee.studies.statistics import (
    Statistic,
    against_base,
    against_multitask,
    between_counts,
    between_parts,
    between_trials,
    each,
    rank_correlation,
)  # fmt: skip
from cuvee.studies.study import Arm, Hypothesis, Preset, Spread, Study
from cuvee.studies.table import Table
from cuvee.studies.tendencies import over_counts, sensitivity

__all__ = ["STUDY"]

PAPER = "Tam et al. (2024)"
IMAGES = {"suite": "glyphs", "architecture": "mlp-m", "base": "strong"}
GLYPHS = Arm(suite="glyphs", architecture="mlp-m", base="strong", has_mixture=True, has_oracle=True, pictures=3)
FEW = ("linear", "mlerp", "model_stock", "task_arithmetic", "ties", "dare_ties")
"""Where scoring is dear; `--methods` names any others."""
GLYPHS_WEAK = replace(GLYPHS, base="weak", counts=(2, 8), draws=2, pictures=0)
GLYPHS_OTHERS = tuple(
    replace(GLYPHS, architecture=name, counts=(8,), draws=1, methods=FEW, pictures=0) for name in ("cnn", "vit")
)
DRAWN = Arm(
    suite="glyph-gen",
    architecture="flow-m",
    base="strong",
    counts=(2, 4, 8),
    draws=2,
    has_mixture=True,
    has_oracle=True,
    methods=FEW,
    pictures=4,
)
DRAWN_LORA = replace(DRAWN, tuning="lora", counts=(8,), draws=1)
WORDS = Arm(
    suite="minilm",
    architecture="minilm",
    base="strong",
    counts=(2, 4, 6),
    draws=2,
    has_mixture=True,
    has_oracle=True,
    methods=FEW,
)
WORDS_WEAK = replace(WORDS, base="weak", counts=(6,), draws=1)
ANSWERS = replace(WORDS, suite="polyglot", architecture="m", counts=(2, 4, 8))
ANSWERS_WEAK = replace(ANSWERS, base="weak", counts=(8,), draws=1)
ARMS = (GLYPHS, GLYPHS_WEAK, *GLYPHS_OTHERS, DRAWN, DRAWN_LORA, WORDS, WORDS_WEAK, ANSWERS, ANSWERS_WEAK)
SMOKE = replace(GLYPHS, architecture="mlp-s", effort=0.1, counts=(2, 4), draws=1, has_oracle=False)


def _cost_span(table: Table, row: Row) -> float:
    """Return how many times as much as the cheapest merge of a set the dearest costs, as a power of ten."""
    costs = [
        other.costs["merge"]
        for other in table.merges()
        if (other.arm, other.seed, other.models) == (row.arm, row.seed, row.models)
    ]
    return math.log10(max(costs) / min(costs))


def _on_both_axes(table: Table, row: Row) -> float:
    """Return by how much a merge beats the multitask model where it does so least."""
    multitask = table.multitask(row)
    if multitask is None:
        return float("nan")
    held_in = table.held_in(row) - table.held_in(row, multitask)
    return min(held_in, table.unseen(row) - table.unseen(row, multitask))


def _in_language(suite: str, network: str) -> tuple[Hypothesis, ...]:
    """Say what is expected of language that is not of images."""
    return (
        Hypothesis(
            name=f"Opposed in language ({network})",
            statement="In language, methods that are better on held-in cells are worse on unseen ones.",
            source=PAPER,
            statistic="rank correlation of held-in and unseen scores over methods, with the sign turned",
            sample=_turned(rank_correlation(suite=suite, base="strong")),
            unit="correlation",
        ),
        Hypothesis(
            name=f"Worse than the base in language ({network})",
            statement="In language, merges are worse on unseen combinations than the base.",
            source=PAPER,
            statistic="unseen score of the base less that of a merge, over all methods and sets",
            sample=_turned(against_base(suite=suite, base="strong")),
        ),
    )


def _turned(statistic: Statistic) -> Statistic:
    """Turn a statistic's sign."""
    return lambda rows: [replace(sample, value=-sample.value) for sample in statistic(rows)]


HYPOTHESES = (
    Hypothesis(
        name="Better than the multitask model",
        statement="On unseen combinations of images, task arithmetic is better than the multitask model.",
        source=PAPER,
        statistic="unseen score of task arithmetic less that of the multitask model of the same set",
        sample=against_multitask("task_arithmetic", suite="glyphs", base="strong"),
    ),
    Hypothesis(
        name="Better than the base",
        statement="On unseen combinations of images, task arithmetic is better than the base.",
        source=PAPER,
        statistic="unseen score of task arithmetic less that of the base",
        sample=against_base("task_arithmetic", suite="glyphs", base="strong"),
    ),
    Hypothesis(
        name="Held-in and unseen go together",
        statement="For images, methods that are better on held-in cells are better on unseen ones.",
        source=PAPER,
        statistic="rank correlation of held-in and unseen scores over methods, per set of models",
        sample=rank_correlation(suite="glyphs", base="strong"),
        unit="correlation",
    ),
    *_in_language("minilm", "an encoder"),
    *_in_language("polyglot", "a decoder"),
    Hypothesis(
        name="Better than the multitask model at drawing",
        statement="For images that are drawn, merges of eight beat the multitask model on held-in and unseen cells.",
        source=PAPER,
        statistic="task arithmetic less the multitask model, the smaller one of the differences held-in and unseen",
        sample=each(_on_both_axes, "task_arithmetic", num_models=8, suite="glyph-gen", tuning="full"),
    ),
    Hypothesis(
        name="More models, less held-in",
        statement="Held-in scores fall from two to eight models.",
        source=PAPER,
        statistic="mean share of the constituents' scores that merges keep, two models less eight",
        sample=between_counts(Table.retained, 8, 2, **IMAGES),
        unit="ratio",
    ),
    Hypothesis(
        name="More models, more unseen",
        statement="Unseen scores, as multiples of the base's, rise from two to eight models.",
        source=PAPER,
        statistic="mean ratio of merges to their base on unseen cells, eight models less two",
        sample=between_counts(Table.gained, 2, 8, **IMAGES),
        unit="ratio",
    ),
    Hypothesis(
        name="A stronger base",
        statement="Merges keep more of their constituents' scores if these were trained from a stronger base.",
        source="Yadav et al. (2024), finding 1",
        statistic="mean share kept with eight models, strong base less weak",
        sample=between_parts(Table.retained, {**IMAGES, "base": "weak"}, IMAGES, num_models=8),
        unit="ratio",
    ),
    Hypothesis(
        name="Sensitive to the scale",
        statement="For DARE the scale matters more than the share that is dropped.",
        source=PAPER,
        statistic="held-in validation: range over scales less range over densities at the best scale",
        sample=sensitivity("dare_linear", "scale", "density"),
    ),
    Hypothesis(
        name="Costs of orders of magnitude",
        statement="Among methods without data, too, the dearest merge costs over ten times the cheapest.",
        source=f"{PAPER} (there with methods that use data)",
        statistic="logarithm of the dearest merge's processor time over the cheapest's, per set",
        sample=each(_cost_span, "linear"),
        above=1.0,
        unit="power of ten",
    ),
    Hypothesis(
        name="A mixture of the outputs",
        statement="Averaging the outputs of all constituents, at their number times the cost, is no better than "
        "task arithmetic on unseen combinations.",
        source="ours",
        statistic="unseen score of task arithmetic less that of the mixture",
        sample=between_trials(Table.unseen, "task_arithmetic", "mixture of outputs", suite="glyphs", base="strong"),
    ),
)

STUDY = Study(
    name="compositional",
    title="Do merged models combine what their constituents know?",
    question="Merge experts, each of one combination of two attributes: how good is the result on these, how good on "
    "combinations that none has seen, and what does it take?",
    paper="D. Tam, Y. Kant, B. Lester, I. Gilitschenski, C. Raffel: Realistic Evaluation of Model Merging for "
    "Compositional Generalization, 2024, https://arxiv.org/abs/2409.18314",
    presets={
        "smoke": Preset(
            what="glyphs, smallest network, three methods, one seed; under a minute",
            arms=(SMOKE,),
            seeds=(0,),
            methods=("linear", "task_arithmetic", "ties"),
        ),
        "small": Preset(
            what="all suites, one seed; under half an hour",
            arms=tuple(replace(arm, draws=1) for arm in ARMS),
            seeds=(0,),
        ),
        "record": Preset(what="all suites, three seeds; about two hours", arms=ARMS, seeds=(0, 1, 2)),
        "full": Preset(
            what="all suites, five seeds, five sets of each size; overnight",
            arms=tuple(replace(arm, methods=None, draws=5 if len(arm.counts) > 1 else 1) for arm in ARMS),
            seeds=(0, 1, 2, 3, 4),
        ),
    },
    hypotheses=HYPOTHESES,
    figures=(
        Spread(
            name="held-in-by-count",
            title="Held-in scores against the number of models",
            x="models merged",
            y="share of the constituents' scores",
            points=over_counts(Table.retained),
        ),
        Spread(
            name="unseen-by-count",
            title="Unseen combinations against the number of models",
            x="models merged",
            y="ratio to the base",
            points=over_counts(Table.gained),
        ),
    ),
    differences=(
        "Networks of 4·10⁴ to 2·10⁷ parameters on made images and language, not CLIP, Stable Diffusion and mT5: "
        "whether the paper's findings show at this size is what is tested, its numbers are not.",
        "All methods that apply are compared on glyphs with the residual MLP, and six of them where scoring is dear "
        "(in the size smoke three); --methods names others. "
        "Those that take exactly one model besides the base (nearswap, arcee_fusion) are not.",
        "Settings are chosen on validation examples of held-in cells alone; the oracle, which chooses by unseen "
        "cells, has rows of its own.",
        "Base, every constituent on every cell, a multitask model per set with the same number of examples, and the "
        "mixture of the outputs are compared with; the paper has no single constituents on unseen combinations.",
    ),
)

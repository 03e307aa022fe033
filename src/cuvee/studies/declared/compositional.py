"""Study A: do merges generalise to combinations that no constituent has seen, and at what cost?

Follows Tam, Kant, Lester, Gilitschenski and Raffel, "Realistic Evaluation of Model Merging for Compositional
Generalization", 2024, arXiv 2409.18314.
"""

import math
from dataclasses import replace

from cuvee.studies.rows import Row
from cuvee.studies.statistics import (
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

PAPER = "Tam et al. (2024), section 1.8 of our protocol"
GLYPHS = Arm(suite="glyphs", architecture="mlp-m", base="strong", has_mixture=True, has_oracle=True)
GLYPHS_WEAK = replace(GLYPHS, base="weak", counts=(2, 8), draws=2)
SMOKE = replace(
    GLYPHS, architecture="mlp-s", effort=0.1, counts=(2, 4), draws=1, has_oracle=False, has_mixture=True, pictures=3
)


def _cost_span(table: Table, row: Row) -> float:
    """Return how many times the cheapest merge of a set costs the dearest, as a power of ten."""
    costs = [
        other.costs["merge"]
        for other in table.merges()
        if (other.arm, other.seed, other.models) == (row.arm, row.seed, row.models)
    ]
    return math.log10(max(costs) / min(costs))


HYPOTHESES = (
    Hypothesis(
        name="Better than the multitask model",
        statement="On unseen combinations of images, task arithmetic is better than the multitask model.",
        source=f"{PAPER}, 3",
        statistic="unseen score of task arithmetic less that of the multitask model of the same set",
        sample=against_multitask("task_arithmetic", suite="glyphs", base="strong"),
    ),
    Hypothesis(
        name="Better than the base",
        statement="On unseen combinations of images, task arithmetic is better than the base.",
        source=f"{PAPER}, 3",
        statistic="unseen score of task arithmetic less that of the base",
        sample=against_base("task_arithmetic", suite="glyphs", base="strong"),
    ),
    Hypothesis(
        name="Held-in and unseen go together",
        statement="For images, methods that are better on held-in cells are better on unseen ones.",
        source=f"{PAPER}, 2",
        statistic="rank correlation of held-in and unseen scores over methods, per set of models",
        sample=rank_correlation(suite="glyphs", base="strong"),
        unit="correlation",
    ),
    Hypothesis(
        name="More models, less held-in",
        statement="Held-in scores fall from two to eight models.",
        source=f"{PAPER}, 8",
        statistic="mean share of the constituents' scores that merges keep, two models less eight",
        sample=between_counts(Table.retained, 8, 2, suite="glyphs", base="strong"),
        unit="ratio",
    ),
    Hypothesis(
        name="More models, more unseen",
        statement="Unseen scores, as multiples of the base's, rise from two to eight models.",
        source=f"{PAPER}, 8",
        statistic="mean ratio of merges to their base on unseen cells, eight models less two",
        sample=between_counts(Table.gained, 2, 8, suite="glyphs", base="strong"),
        unit="ratio",
    ),
    Hypothesis(
        name="A stronger base",
        statement="Merges keep more of their constituents' scores if these were trained from a stronger base.",
        source="Yadav et al. (2024), finding 1",
        statistic="mean share kept with eight models, strong base less weak",
        sample=between_parts(
            Table.retained, {"suite": "glyphs", "base": "weak"}, {"suite": "glyphs", "base": "strong"}, num_models=8
        ),
        unit="ratio",
    ),
    Hypothesis(
        name="Sensitive to the scale",
        statement="For DARE the scale matters more than the share that is dropped.",
        source=f"{PAPER}, 7",
        statistic="held-in validation: range over scales less range over densities at the best scale",
        sample=sensitivity("dare_linear", "scale", "density"),
    ),
    Hypothesis(
        name="Costs of orders of magnitude",
        statement="Among methods without data, too, the dearest merge costs over ten times the cheapest.",
        source=f"{PAPER}, 6 (there with methods that use data)",
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
            arms=(replace(GLYPHS, draws=2), GLYPHS_WEAK),
            seeds=(0,),
        ),
        "record": Preset(what="all suites, three seeds; about two hours", arms=(GLYPHS, GLYPHS_WEAK), seeds=(0, 1, 2)),
        "full": Preset(
            what="all suites, five seeds, five sets of each size; overnight",
            arms=(replace(GLYPHS, draws=5), replace(GLYPHS_WEAK, counts=(2, 4, 6, 8), draws=5)),
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
        "Networks of 10⁵ parameters on made images and language, not CLIP, Stable Diffusion and mT5: whether the "
        "paper's findings show at this size is what is tested, its numbers are not.",
        "Settings are chosen on validation examples of held-in cells alone; the oracle, which chooses by unseen "
        "cells, has rows of its own.",
        "Base, every constituent on every cell, a multitask model per set with the same number of examples, and the "
        "mixture of the outputs are compared with; the paper has no single constituents on unseen combinations.",
    ),
    external=("domainnet-clip", "domainnet-sd-lora", "cross-lingual-mt5"),
)

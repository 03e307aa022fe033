"""Study C: do models interfere as TIES says: redundant entries, and signs that contradict each other?

Follows Yadav, Tam, Choshen, Raffel and Bansal, "TIES-Merging: Resolving Interference When Merging Models", NeurIPS
2023, arXiv 2306.01708: sections 3 (interference), 6 (ablation), 7 (signs).
"""

from collections.abc import Sequence
from dataclasses import replace

from cuvee.studies.rows import Row
from cuvee.studies.statistics import Statistic, between_trials
from cuvee.studies.study import Arm, Hypothesis, Preset, Spread, Study, Trial
from cuvee.studies.table import Table, sample_of
from cuvee.studies.tendencies import over_counts
from cuvee.studies.trials import MEAN_SCALES, SCALES
from cuvee.studies.verdict import Sample

__all__ = ["STUDY"]

PAPER = "Yadav et al. (2023)"
KEPT = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.0)
FLIPPED = (0.1, 0.2, 0.3, 0.5, 0.7, 0.8)
DENSITY = 0.2

TIES = Trial(name="ties", method="ties", grid={"scale": MEAN_SCALES}, fixed={"density": DENSITY})
ABLATION = (
    TIES,
    replace(TIES, name="ties without trim", fixed={"density": 1.0}),
    replace(TIES, name="ties without elect", fixed={"density": DENSITY, "elect": False}),
    replace(
        TIES, name="ties without disjoint mean", grid={"scale": SCALES}, fixed={"density": DENSITY, "merge": "sum"}
    ),
    replace(TIES, name="ties without scale", grid={}, fixed={"density": DENSITY, "scale": 1.0}),
)
"""Without disjoint mean: the sum over all models, whose scale is chosen, which is their mean up to the scale."""
SIGNED = (
    Trial(
        name="ties with oracle signs",
        method="ties",
        grid={"scale": MEAN_SCALES},
        fixed={"density": 1.0},
        agree="multitask",
        density=DENSITY,
    ),
    Trial(
        name="ties with signs of 32 examples",
        method="ties",
        grid={"scale": MEAN_SCALES},
        fixed={"density": 1.0},
        agree="few",
        density=DENSITY,
    ),
)
"""Task vectors are trimmed, and what contradicts the given signs is left out; nothing is left to elect."""
OTHERS = (
    Trial(name="linear", method="linear"),
    Trial(name="task_arithmetic", method="task_arithmetic", grid={"scale": SCALES}),
)
ALONE = (
    *(
        Trial(name=f"keeps {share:.0%}", method="ties", fixed={"density": share, "scale": 1.0}, alone=True)
        for share in KEPT
    ),
    *(
        Trial(name=f"largest {share:.0%} flipped", method="linear", flip=("largest", share), alone=True)
        for share in FLIPPED
    ),
    *(
        Trial(name=f"smallest {share:.0%} flipped", method="linear", flip=("smallest", share), alone=True)
        for share in FLIPPED
    ),
)
TRIALS = (*OTHERS, *ABLATION, *SIGNED, *ALONE)

GLYPHS = Arm(suite="glyphs", architecture="mlp-m", base="strong", trials=TRIALS, conflicts=(DENSITY, 1.0))
LORA = replace(GLYPHS, tuning="lora", trials=(*OTHERS, *ABLATION, *SIGNED))
IA3 = replace(LORA, tuning="ia3")


def _left(name: str) -> Statistic:
    """Take the change of a constituent's score on its own cell when its task vector is treated, whole fine-tuning."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        table = Table(rows).of(tuning="full")
        return [
            sample_of(row, table.held_in(row) - table.held_in(row, table.constituent(row, row.models[0])))
            for row in table.rows
            if row.kind == "alone" and row.name == name
        ]

    return found


def _conflict(few: int, many: int) -> Statistic:
    """Take how much the sign conflict of trimmed task vectors grows with the number of models."""

    def found(rows: Sequence[Row]) -> list[Sample]:
        samples = [
            replace(
                sample_of(row, row.measures["all"]),
                term=str(len(row.models)),
                sign=1 if len(row.models) == many else -1,
            )
            for row in rows
            if row.kind == "vectors"
            and row.tuning == "full"
            and row.name.endswith(f" {DENSITY:g}")
            and len(row.models) in (few, many)
        ]
        return samples if len({sample.term for sample in samples}) == 2 else []

    return found


def _kept_or_flipped(rows: Sequence[Row]) -> Sequence[tuple[str, float, Sample]]:
    """Draw constituents' scores on their own cells against the share that is kept, or flipped."""
    table, points = Table(rows), []
    for row in rows:
        if row.kind != "alone":
            continue
        words = row.name.replace("%", "").split()
        line = "kept" if words[0] == "keeps" else f"{words[0]} flipped"
        points.append((line, float(words[1]) / 100, sample_of(row, table.retained(row))))
    return points


def _conflicts_by_count(rows: Sequence[Row]) -> Sequence[tuple[str, float, Sample]]:
    """Draw the share of entries in conflict against the number of models."""
    return [
        (f"{row.tuning}, {row.name}", float(len(row.models)), sample_of(row, row.measures["all"]))
        for row in rows
        if row.kind == "vectors"
    ]


def _conflicts_by_layer(rows: Sequence[Row]) -> Sequence[tuple[str, float, Sample]]:
    """Draw the share of entries in conflict against the layer, for full fine-tuning."""
    return [
        (f"{len(row.models)} models", float(layer), sample_of(row, value))
        for row in rows
        if row.kind == "vectors" and row.tuning == "full" and row.name.endswith(f" {DENSITY:g}")
        for layer, value in row.measures.items()
        if layer != "all"
    ]


def _ablated(part: str) -> Hypothesis:
    """Expect that TIES without a part is worse."""
    return Hypothesis(
        name=f"TIES needs its {part}",
        statement=f"TIES without {part} is worse on held-in cells.",
        source=f"{PAPER}, table 6",
        statistic=f"held-in score of TIES less that of TIES without {part}, over all sets",
        sample=between_trials(Table.held_in, "ties", f"ties without {part}", tuning="full"),
    )


HYPOTHESES = (
    Hypothesis(
        name="Most entries are redundant",
        statement="A constituent keeps its score, but for two points, with the largest 20 % of its task vector.",
        source=f"{PAPER}, section 3",
        statistic="score with 20 % of the entries less that of the constituent",
        sample=_left("keeps 20%"),
        above=-0.02,
    ),
    Hypothesis(
        name="More models, more conflict",
        statement="The share of entries whose signs contradict each other grows with the number of models.",
        source=f"{PAPER}, section 3",
        statistic="share in conflict among entries that a trimmed task vector moves, eight models less two",
        sample=_conflict(2, 8),
        unit="share",
    ),
    Hypothesis(
        name="TIES beats task arithmetic",
        statement="With eight models TIES is better on held-in cells than task arithmetic, both with chosen settings.",
        source=f"{PAPER}, table 1",
        statistic="held-in score of TIES less that of task arithmetic, eight models",
        sample=between_trials(Table.held_in, "ties", "task_arithmetic", num_models=8, tuning="full"),
    ),
    *map(_ablated, ("trim", "elect", "disjoint mean", "scale")),
    Hypothesis(
        name="Oracle signs help",
        statement="With the multitask model's signs TIES is better on held-in cells.",
        source=f"{PAPER}, section 7",
        statistic="held-in score with oracle signs less that of TIES, over all sets",
        sample=between_trials(Table.held_in, "ties with oracle signs", "ties", tuning="full"),
    ),
    Hypothesis(
        name="Signs of few examples help",
        statement="With the signs of a multitask model of 32 examples per task TIES is better on held-in cells.",
        source=f"{PAPER}, section 7",
        statistic="held-in score with these signs less that of TIES, over all sets",
        sample=between_trials(Table.held_in, "ties with signs of 32 examples", "ties", tuning="full"),
    ),
    Hypothesis(
        name="Signs of the largest entries matter",
        statement="With the signs of the largest 30 % of its entries turned, a constituent loses over 30 points.",
        source=f"{PAPER}, section 7",
        statistic="score of the constituent less that with turned signs, less 30",
        sample=lambda rows: [replace(s, value=-s.value - 0.3) for s in _left("largest 30% flipped")(rows)],
    ),
    Hypothesis(
        name="Signs of the smallest entries do not",
        statement="With the signs of the smallest 70 % of its entries turned, a constituent loses under five points.",
        source=f"{PAPER}, section 7",
        statistic="score with turned signs less that of the constituent",
        sample=_left("smallest 70% flipped"),
        above=-0.05,
    ),
)

SMOKE = replace(GLYPHS, architecture="mlp-s", effort=0.1, counts=(2, 4), draws=1)
STUDY = Study(
    name="interference",
    title="Do models interfere as TIES says?",
    question="Are most entries of a task vector redundant, do signs contradict each other, and does resolving that "
    "make better merges?",
    paper="P. Yadav, D. Tam, L. Choshen, C. Raffel, M. Bansal: TIES-Merging: Resolving Interference When Merging "
    "Models, NeurIPS 2023, https://arxiv.org/abs/2306.01708",
    presets={
        "smoke": Preset(
            what="glyphs, smallest network, a tenth of the training, one seed; under a minute",
            arms=(replace(SMOKE, trials=(*OTHERS, *ABLATION[:2], SIGNED[1], ALONE[2], ALONE[9])),),
            seeds=(0,),
        ),
        "small": Preset(
            what="glyphs, one seed, also with adapters; under half an hour",
            arms=(replace(GLYPHS, draws=2), replace(LORA, draws=2), replace(IA3, draws=2)),
            seeds=(0,),
        ),
        "record": Preset(what="three seeds; about an hour", arms=(GLYPHS, LORA, IA3), seeds=(0, 1, 2)),
        "full": Preset(
            what="five seeds, five draws, CNN and ViT, too; overnight",
            arms=tuple(
                replace(arm, architecture=architecture, draws=5)
                for architecture, arms in (
                    ("mlp-m", (GLYPHS, LORA, IA3)),
                    ("cnn", (GLYPHS,)),
                    ("vit", (GLYPHS, LORA, IA3)),
                )
                for arm in arms
            ),
            seeds=(0, 1, 2, 3, 4),
        ),
    },
    hypotheses=HYPOTHESES,
    figures=(
        Spread(
            name="redundancy-and-signs",
            title="A constituent with part of its task vector, or with part of its signs turned",
            x="share of the entries kept, or flipped",
            y="share of the score on its own cell",
            points=_kept_or_flipped,
        ),
        Spread(
            name="conflict-by-count",
            title="Contradicting signs against the number of models",
            x="models",
            y="share of the moved entries",
            points=_conflicts_by_count,
        ),
        Spread(
            name="conflict-by-layer",
            title=f"Contradicting signs against the depth, {DENSITY:.0%} of the entries kept",
            x="layer",
            y="share of the moved entries",
            points=_conflicts_by_layer,
        ),
        Spread(
            name="held-in-by-count",
            title="Held-in scores against the number of models",
            x="models merged",
            y="share of the constituents' scores",
            points=over_counts(Table.retained),
        ),
    ),
    differences=(
        "Networks of 4·10⁴ (smoke) to 2·10⁵ parameters on made images, not T0-3B, T5 and CLIP.",
        "Held-in cells are what is scored; the paper's tables are of validation tasks that were all trained on, too.",
        "Signs of few examples come from a multitask model trained on 32 examples of each task for as long as the one "
        "on all of them.",
        "The density is 20 % throughout, as in the paper's fixed recipe; scales are chosen on held-in validation. "
        "Where signs are given, task vectors are trimmed to 20 % first, and TIES, with nothing to trim, runs at 1.",
        "All hypotheses are about full fine-tuning; adapters are shown beside it.",
    ),
)

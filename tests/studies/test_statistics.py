"""Statistics of hypotheses, on rows whose values are known."""

import math
from dataclasses import replace
from typing import Any

import pytest

from cuvee.studies.rows import Row
from cuvee.studies.statistics import (
    against_base,
    against_multitask,
    between_counts,
    between_parts,
    between_trials,
    less,
    rank_correlation,
    spread,
)  # fmt: skip
from cuvee.studies.table import Table
from cuvee.studies.tendencies import over_counts, sensitivity
from cuvee.studies.verdict import estimate

NAMES = ("g0-plain", "g1-inverted", "g2-edges")
UNSEEN = {2: ("g0-inverted", "g1-plain")}


def row(kind: str, name: str, held: float, others: float, *, num_models: int = 2, seed: int = 0, **values: Any) -> Row:
    """A row of glyphs with equal scores on all held-in cells, and on all unseen ones."""
    models = NAMES[:num_models]
    scores = {f"g{i}-{s}": {"accuracy": others} for i in range(3) for s in ("plain", "inverted", "edges")}
    scores |= {cell: {"accuracy": held} for cell in models}
    kept = {"base": "strong", **values}
    return Row(
        suite="glyphs", version=1, architecture="mlp-m", tuning="full", seed=seed, kind=kind, name=name, method=name,
        models=models if kind != "base" else (), scores=scores, **kept,
    )  # fmt: skip


def rows(seed: int = 0, shift: float = 0.0) -> list[Row]:
    made = [row("base", "base", 0.5, 0.5, seed=seed)]
    for name in NAMES:
        own = row("constituent", name, 0.3, 0.3, seed=seed, num_models=3)
        scores = {**own.scores, name: {"accuracy": 0.8}}
        made.append(Row(**{**{f: getattr(own, f) for f in own.__slots__}, "models": (name,), "scores": scores}))
    for count, held, others in ((2, 0.6, 0.55), (3, 0.4, 0.6)):
        made.append(row("merge", "ties", held + shift, others, num_models=count, seed=seed))
        made.append(row("merge", "linear", held - 0.1, others - 0.1, num_models=count, seed=seed))
        made.append(row("multitask", "multitask", 0.9, 0.45, num_models=count, seed=seed))
    return made


def mean_of(found: Any) -> float | None:
    """The estimate of samples that are differences of terms."""
    made = estimate(found)
    return made.mean if made else None


def values(found: Any) -> list[float]:
    return [sample.value for sample in found]


def test_merges_are_compared_with_base_multitask_model_and_each_other() -> None:
    assert values(against_base("ties")(rows())) == pytest.approx([0.05, 0.1])
    assert values(against_multitask("ties", num_models=2)(rows())) == pytest.approx([0.1])
    assert values(between_trials(Table.held_in, "ties", "linear")(rows())) == pytest.approx([0.1, 0.1])


def test_ratios_are_to_the_constituent_on_held_in_and_to_the_base_on_unseen_cells() -> None:
    table = Table(rows())
    (merge,) = table.merges("ties", num_models=2)
    assert table.retained(merge) == pytest.approx(0.6 / 0.8)
    assert table.gained(merge) == pytest.approx(0.55 / 0.5)
    assert table.worst(merge) == 0.55


def test_cells_whose_denominator_is_chance_are_left_out_of_ratios_and_told() -> None:
    guessing = rows()
    own = guessing[1]
    scores = {**own.scores, "g0-plain": {"accuracy": 1 / 32 + 0.005}}
    guessing[1] = Row(**{**{f: getattr(own, f) for f in own.__slots__}, "scores": scores})
    table = Table(guessing)
    (merge,) = table.merges("ties", num_models=2)
    assert table.left_out(merge) == ["g0-plain"]
    assert table.retained(merge) == pytest.approx(0.6 / 0.8)  # of the other cell alone


def test_means_over_sets_are_compared_seed_by_seed() -> None:
    two = rows(0) + rows(1, shift=0.08)
    assert mean_of(between_counts(Table.retained, 3, 2, "ties")(two)) == pytest.approx(0.25)
    weak = [Row(**{**{f: getattr(r, f) for f in r.__slots__}, "base": "weak"}) for r in rows(0, shift=0.04)]
    found = between_parts(Table.held_in, {"base": "strong"}, {"base": "weak"}, "ties")(rows(0) + weak)
    assert mean_of(found) == pytest.approx(0.04)


def test_a_difference_of_differences_is_that_of_the_means() -> None:
    """Held-in scores fall by 0.2 from two models to three; and where those of two are 0.08 better, by 0.28."""
    better = [
        row("base", "base", 0.5, 0.5),
        row("merge", "ties", 0.68, 0.5),
        row("merge", "ties", 0.4, 0.5, num_models=3),
    ]
    falls = between_counts(Table.held_in, 3, 2, "ties", base="strong")
    weak = [Row(**{**{f: getattr(r, f) for f in r.__slots__}, "base": "weak"}) for r in better]
    weaker = between_counts(Table.held_in, 3, 2, "ties", base="weak")
    assert mean_of(less(weaker, falls)(rows() + weak)) == pytest.approx(0.08)
    assert less(falls, weaker)(rows()) == less(weaker, falls)(rows()) == []
    assert between_counts(Table.held_in, 3, 4, "ties")(rows()) == []


def test_ranks_are_correlated_over_methods_of_one_set() -> None:
    """Spearman by hand: held-in 1 2 3 and unseen 1 3 2 make 1 - 6 * 2 / (3 * 8) = 0.5; equal ranks are averaged."""
    made = [row("base", "base", 0.5, 0.5), *rows()[1:4]]
    for name, held, others in (("a", 0.1, 0.1), ("b", 0.2, 0.3), ("c", 0.3, 0.2)):
        made.append(row("merge", name, held, others))
    assert values(rank_correlation()(made)) == pytest.approx([0.5])
    made.append(row("merge", "d", 0.3, 0.2))
    assert values(rank_correlation()(made)) == pytest.approx([1 / 3])


def test_what_differs_by_noise_has_one_rank_and_what_is_missing_none() -> None:
    """0.1 + 0.2 is no 0.3. With both at rank 2.5, unseen 1 3 2 make 0.866; of three models no combination is unseen."""
    made = [row("base", "base", 0.5, 0.5), *rows()[1:4]]
    for name, held, others in (("a", 0.1, 0.1), ("b", 0.3, 0.3), ("c", 0.1 + 0.2, 0.2)):
        made.append(row("merge", name, held, others))
    assert values(rank_correlation()(made)) == pytest.approx([3**0.5 / 2])
    alone = [replace(each, models=NAMES[:1]) for each in made if each.kind == "merge"]
    assert [math.isnan(value) for value in values(rank_correlation()([*made[:4], *alone]))] == [True]


def test_a_difference_is_of_the_methods_that_both_sides_have() -> None:
    """Held-in scores of ties and linear fall by 0.2; slerp merges two models alone."""
    pair = row("merge", "slerp", 1.0, 1.0)
    assert mean_of(between_counts(Table.held_in, 3, 2)([*rows(), pair])) == pytest.approx(0.2)


def test_the_oracles_rows_are_left_alone() -> None:
    made = [*rows(), row("merge", "ties", 1.0, 1.0, chosen="oracle")]
    assert values(against_base("ties", num_models=2)(made)) == pytest.approx([0.05])


def test_sensitivity_is_the_range_over_one_setting_less_that_over_the_other() -> None:
    tried = [
        ({"scale": s, "density": d}, v) for s, d, v in ((1, 0.2, 0.5), (1, 0.8, 0.9), (2, 0.2, 0.1), (2, 0.8, 0.6))
    ]
    made = row("merge", "dare_linear", 0.5, 0.5, tried=tried)
    (value,) = values(sensitivity("dare_linear", "scale", "density")([made]))
    assert value == pytest.approx((0.9 - 0.6) - (0.9 - 0.5))


def test_points_of_a_curve_are_merges_by_their_number_of_models() -> None:
    found = over_counts(Table.held_in)(rows())
    assert {(line.split(" ")[0], x) for line, x, _ in found} == {
        (name, count) for name in ("ties", "linear") for count in (2.0, 3.0)
    }


def test_the_spread_of_methods_is_between_those_that_other_seeds_call_best_and_worst() -> None:
    """In seeds 1 and 2 ties lies 0.1 above linear, in seed 0 it lies 0.05 below, which is not made positive."""
    made = [*rows(0, -0.15), *rows(1), *rows(2)]
    found = spread(Table.retained, "ties", "linear", num_models=3)(made)
    assert [sample.seed for sample in found] == [0, 1, 2]
    assert values(found) == pytest.approx([-0.05 / 0.8, 0.1 / 0.8, 0.1 / 0.8])
    assert spread(Table.retained, "ties", "linear", num_models=3)(rows(0)) == []

"""Worked examples of the methods that drop entries: counts, places, probabilities, norms."""

from typing import Any

import pytest
import torch

from cuvee import CuveeError, merge_state_dicts, merge_tensors
from cuvee.plan.rows import CELL
from cuvee.tensors.sampling import row_ranks
from methods.test_examples import check_merge, t

BIG = CELL // 256 + 33, 256  # two cells


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# Counts as mergekit takes them


def test_a_density_keeps_one_entry_at_least_and_none_only_at_zero() -> None:
    vector, zero = t(1, 3, 2, -4, 0.5), torch.zeros(5)
    for density, kept in ((0.01, 1), (0.0, 0), (0.5, 2), (0.999, 4), (1.0, 5)):
        merged = merge_tensors("ties", [vector], zero, density=density, rule="mergekit")
        assert int((merged != 0).sum()) == kept
    assert not merge_tensors("ties", [vector], zero, density=0.01).any()


def test_counts_are_rounded_in_floating_point_where_mergekit_does_so() -> None:
    """0.29 of 100 is 28.999... as a product of floats; as it is written, 29."""
    vector, zero = torch.arange(1.0, 101.0), torch.zeros(100)
    for method, words in (("ties", {}), ("breadcrumbs", {"outliers": 0.0})):
        counts = [
            int((merge_tensors(method, [vector], zero, density=0.29, rule=rule, **words) != 0).sum())
            for rule in ("paper", "mergekit")
        ]
        assert counts == [29, 28]


def test_breadcrumbs_that_put_density_first() -> None:
    vector = t(1, -9, 3, 10, -5, 6, 7, 8, 2, -4)
    settings: dict[str, Any] = {"rule": "mergekit", "outliers": 0.5}
    check_merge("breadcrumbs", [vector], torch.zeros(10), t(1, 0, 3, 0, -5, 6, 7, 0, 2, -4), density=0.7, **settings)
    check_merge("breadcrumbs", [vector], torch.zeros(10), vector, density=1.0, **settings)
    with pytest.raises(CuveeError, match="add up to more than 1"):
        merge_tensors("breadcrumbs_ties", [vector], torch.zeros(10), density=0.7, outliers=0.5)


def test_breadcrumbs_ties_elects_among_the_bands() -> None:
    """Bands of two: (-9, 8), (5, -6) and (3, 4); columns three and four are merged of one model each."""
    vectors = [t(10, -9, 8, 1), t(5, -6, 0.5, 9), t(3, 20, 0.25, 4)]
    settings = {"density": 0.5, "outliers": 0.25}
    check_merge("breadcrumbs_ties", vectors, torch.zeros(4), t(4, -7.5, 8, 4), **settings)
    check_merge("breadcrumbs_ties", vectors, torch.zeros(4), t(8, -15, 8, 4), merge="sum", **settings)


# L1 norms


@pytest.mark.parametrize(
    ("scope", "in_a", "in_b"),
    [
        ("tensor", (4.8, -1.2, 0, 0), (4, 0, 0, 4)),  # 6 / 5, and 1
        ("row", (5, 0, 1, 0), (4, 0, 0, 4)),  # 5 / 4 and 2, and 1
        ("model", (56 / 13, -14 / 13, 0, 0), (56 / 13, 0, 0, 56 / 13)),
    ],
)
def test_norms_are_taken_over_the_scope(scope: str, in_a: tuple[float, ...], in_b: tuple[float, ...]) -> None:
    model = {"a": torch.tensor([[4.0, -1.0], [0.5, 0.5]]), "b": torch.tensor([[4.0, 0.0], [0.0, 4.0]])}
    base = {name: torch.zeros(2, 2) for name in model}
    merged = merge_state_dicts("ties", [model], base, density=0.5, rescale="l1", trim_scope=scope)
    torch.testing.assert_close(merged["a"].flatten(), t(*in_a))
    torch.testing.assert_close(merged["b"].flatten(), t(*in_b))


@pytest.mark.parametrize(("method", "scope"), [("dare_linear", {}), ("dare_ties", {"trim_scope": "tensor"})])
def test_norms_are_taken_over_all_cells(method: str, scope: dict[str, str]) -> None:
    vector = drawn(*BIG)
    merged = merge_tensors(method, [vector], torch.zeros(BIG), density=0.2, rescale="l1", **scope)
    kept = merged != 0
    factor = vector.double().abs().sum() / vector[kept].double().abs().sum()
    torch.testing.assert_close(merged[kept], vector[kept] * float(factor), rtol=1e-6, atol=0)


def test_words_may_be_given_as_true_and_false() -> None:
    vector = drawn(50)
    for given, word in ((True, "probability"), (False, "none")):
        plain, named = (merge_tensors("dare_linear", [vector], torch.zeros(50), rescale=r) for r in (given, word))
        assert torch.equal(plain, named)
    assert torch.equal(
        merge_tensors("ties", [vector], torch.zeros(50), rescale=True),
        merge_tensors("ties", [vector], torch.zeros(50), rescale="l1"),
    )
    with pytest.raises(CuveeError, match="'rule' is true"):
        merge_tensors("ties", [vector], torch.zeros(50), rule=True)


# DELLA


def test_ranks_are_those_of_magnitudes_in_each_row_the_first_of_equals_being_smaller() -> None:
    values = torch.tensor([[0.5, -3.0, 0.0, 0.5, -0.5], [1.0, 1.0, 1.0, 1.0, -0.0]])
    assert row_ranks(values).tolist() == [[1, 4, 0, 2, 3], [1, 2, 3, 4, 0]]
    many = drawn(7, 300)
    expected = many.abs().argsort(dim=1, stable=True).argsort(dim=1)
    assert torch.equal(row_ranks(many), expected)


def test_della_keeps_the_larger_entries_of_a_row_more_often_and_divides_by_their_probability() -> None:
    """Rows of five at density 0.5 and epsilon 0.2: 0.3, 0.4, ..., 0.7; over 3000 rows, within four standard errors."""
    row = t(0.2, -0.1, 0.5, -0.4, 0.3)
    probability = t(0.4, 0.3, 0.7, 0.6, 0.5)
    vectors = row.repeat(3000, 1)
    merged = merge_tensors("della_linear", [vectors], torch.zeros(3000, 5), epsilon=0.2)
    kept = merged != 0
    error = (probability * (1 - probability) / 3000).sqrt()
    assert ((kept.float().mean(0) - probability).abs() < 4 * error).all()
    torch.testing.assert_close(merged[kept], (vectors / probability)[kept])
    plain = merge_tensors("della_linear", [vectors], torch.zeros(3000, 5), epsilon=0.2, rescale="none")
    assert torch.equal(plain, vectors * kept)


def test_della_without_epsilon_keeps_every_entry_alike() -> None:
    vector = drawn(20_000)
    kept = merge_tensors("della_linear", [vector], torch.zeros(20_000), epsilon=0.0, density=0.25)
    assert abs(int((kept != 0).sum()) - 5000) < 4 * (20_000 * 0.25 * 0.75) ** 0.5
    torch.testing.assert_close(kept[kept != 0], vector[kept != 0] * 4)


def test_della_of_single_entries_keeps_them_with_the_density() -> None:
    column = torch.ones(4000, 1)
    kept = merge_tensors("della_linear", [column], torch.zeros(4000, 1), density=0.7) != 0
    assert abs(int(kept.sum()) - 2800) < 4 * (4000 * 0.7 * 0.3) ** 0.5


@pytest.mark.parametrize(("density", "epsilon"), [(0.5, 0.5), (0.1, 0.1), (0.9, 0.2), (0.9, 0.1)])
def test_della_refuses_probabilities_that_are_none(density: float, epsilon: float) -> None:
    with pytest.raises(CuveeError, match="must lie between 0 and 1"):
        merge_tensors("della", [t(1, 2)], t(0, 0), density=density, epsilon=epsilon)


@pytest.mark.parametrize("method", ["della", "della_linear"])
def test_della_at_the_ends_keeps_all_or_nothing_whatever_epsilon(method: str) -> None:
    vector = t(0.2, -0.4, 0.6)
    for density in (1.0, 0.0):
        check_merge(method, [vector], torch.zeros(3), density * vector, density=density, epsilon=0.4)


def test_della_votes_and_takes_norms_over_all_rows_of_several_cells() -> None:
    vectors = [drawn(*BIG, seed=i) for i in range(2)]
    zero = torch.zeros(BIG)
    alone = [merge_tensors("della_linear", {"m0": vectors[0]}, zero, rescale="l1")]
    kept = alone[0] != 0
    factor = vectors[0].double().abs().sum() / vectors[0][kept].double().abs().sum()
    torch.testing.assert_close(alone[0][kept], vectors[0][kept] * float(factor), rtol=1e-6, atol=0)
    # one model and its opposite, moved: of entries that cancel, those of the majority's sign stay
    mirrored = [torch.full(BIG, 1.0), torch.full(BIG, -1.0)]
    mirrored[0][0], mirrored[1][0] = 2.0, 2.0
    merged = merge_tensors("della", mirrored, zero, density=1.0)
    assert merged[0].tolist() == [2.0] * 256
    assert (merged[1:] == 1.0).all()

"""Methods that look at angles and lengths, computed by hand, and against what mergekit 0.1.5 computes.

The tensors `B`, `X` and `Z` and what mergekit makes of them are test vectors that readers of its configurations share.
"""

from collections.abc import Sequence
from typing import Any

import pytest
import torch

import cuvee
from cuvee import CuveeError, CuveeWarning, merge_tensors
from cuvee.errors import PlanError
from methods.test_examples import B, X, Z, check_merge, t

LIKE_MERGEKIT = {"straight_above": 0.9995, "zero": "orthogonal"}  # its slerp has both, always


def check_matrix(
    method: str, models: Sequence[torch.Tensor], base: Any, expected: str, rtol: float = 1e-5, **parameters: Any
) -> None:
    """Compare with a matrix of two rows, written as in the list of test vectors: six decimals."""
    rows = [[float(number) for number in row.split()] for row in expected.split("/")]
    merged = merge_tensors(method, list(models), base, **parameters)
    torch.testing.assert_close(merged, torch.tensor(rows), rtol=rtol, atol=2e-6)


# slerp


def test_slerp_goes_on_beyond_the_models() -> None:
    check_merge("slerp", [t(2, 0), t(0, 1)], None, t(-1.414214, 0.707107), t=1.5)  # sin(-45), sin(135) degrees
    check_merge("slerp", [t(2, 0), t(0, 1)], None, t(-1.414214, 1.414214), t=1.5, norm="first")


def test_slerp_takes_the_straight_line_above_a_cosine() -> None:
    models = [t(3, 4), t(0, 5)]  # their cosine is 0.8
    check_merge("slerp", models, None, t(2.25, 4.25), t=0.25, straight_above=0.79)
    assert merge_tensors("slerp", models, t=0.25, straight_above=0.81)[0] > 2.3
    opposite = [t(3, 4), t(0, -5)]
    with pytest.warns(CuveeWarning, match="opposite directions"):
        check_merge("slerp", opposite, None, t(2.25, 1.75), t=0.25, straight_above=0.79)


def test_slerp_of_a_zero_model_can_take_a_right_angle() -> None:
    check_merge("slerp", [t(0, 0), t(4, 0)], None, t(2, 0), t=1 / 3, zero="orthogonal")  # sin 30 degrees
    check_merge("slerp", [t(4, 0), t(0, 0)], None, t(3.464102, 0), t=1 / 3, zero="orthogonal")  # sin 60 degrees
    check_merge("slerp", [t(4, 0), t(0, 0)], None, t(3.464102, 0), t=1 / 3, zero="orthogonal", norm="lerp")


def test_slerp_does_not_interpolate_lengths_beyond_the_models() -> None:
    with pytest.raises(CuveeError, match="with norm: lerp it must lie between 0 and 1"):
        merge_tensors("slerp", [t(1, 0), t(0, 1)], t=1.5, norm="lerp")


def test_slerp_gives_the_straight_line_the_wanted_norm() -> None:
    models = [t(3, 4), t(0, 5)]
    merged = merge_tensors("slerp", models, t=0.5, straight_above=0.5, norm="lerp")
    torch.testing.assert_close(merged, 5 * t(1.5, 4.5) / t(1.5, 4.5).norm())


def test_slerp_with_the_settings_of_mergekit_agrees_with_it() -> None:
    # slerp: base_model b, t: 0.3
    expected = "1.168252 -2.106622 .507499 2.738483 / .153255 4.05999 -1.628016 2.18325"
    check_matrix("slerp", [B, X], None, expected, t=0.3, **LIKE_MERGEKIT)


@pytest.mark.parametrize(("place", "shares"), [(-0.5, [1, 0]), (0.25, [0.75, 0.25]), (1.5, [0, 1])])
def test_running_statistics_are_averaged_by_the_nearer_end_beyond_the_models(place: float, shares: list[float]) -> None:
    assert cuvee.methods()["slerp"].average({"t": place}, 2) == shares


# nuslerp


def test_nuslerp_turns_weights_into_a_place_on_the_arc() -> None:
    # t = 1/3: sin 60 and sin 30 degrees
    check_merge("nuslerp", [t(2, 0), t(0, 1)], None, t(1.732051, 0.5), weight=[2, 1])
    check_merge("nuslerp", [t(2, 0), t(0, 1)], None, t(1.414214, 0.707107), weight=3)
    check_merge("nuslerp", [t(2, 0), t(0, 1)], None, t(-1.414214, 0.707107), weight=[-1, 3])  # t = 1.5


def test_nuslerp_of_a_zero_model_takes_a_right_angle() -> None:
    check_merge("nuslerp", [t(0, 0), t(4, 0)], None, t(2, 0), weight=[2, 1])


def test_nuslerp_reports_weights_that_cancel_and_opposite_models() -> None:
    with pytest.warns(CuveeWarning, match="add up to zero; the middle"):
        check_merge("nuslerp", [t(2, 0), t(0, 1)], None, t(1.414214, 0.707107), weight=[1, -1])
    with pytest.warns(CuveeWarning, match="opposite directions"):
        check_merge("nuslerp", [t(1, 2), t(-1, -2)], None, t(0.5, 1), weight=[3, 1])


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # nuslerp: weights 0.6 of x, 0.4 of z
        ({}, "1.118362 -2.392071 .91719 2.239702 / -.103565 4.479405 -2.645025 2.340289"),
        # with nuslerp_flatten off
        ({"scope": "row"}, "1.120265 -2.396434 .918973 2.24382 / -.103359 4.474833 -2.642433 2.337969"),
        # with nuslerp_row_wise, too: that is, columns
        ({"scope": "column"}, "1.418889 -2.350675 .927202 2.213194 / -.164546 4.401274 -2.67123 2.31339"),
        # with b as its base
        ({"vectors": "task"}, "1.106069 -2.42546 .996567 2.043011 / -.142215 4.496567 -2.913978 2.354353"),
    ],
)
def test_nuslerp_agrees_with_mergekit(parameters: dict[str, Any], expected: str) -> None:
    base = B if parameters.get("vectors") == "task" else None
    check_matrix("nuslerp", [X, Z], base, expected, weight=[0.6, 0.4], **parameters)


# multislerp


def test_multislerp_averages_directions_and_lengths() -> None:
    # The mean of the directions is (1, 1) / 2, that of the lengths 1.5.
    check_merge("multislerp", [t(2, 0), t(0, 1)], None, t(1.06066, 1.06066))
    # (2, 1) / 3, and 5/3
    check_merge("multislerp", [t(2, 0), t(0, 1)], None, t(1.490712, 0.745356), weight=[2, 1])
    # (2, 1), and 5: without dividing the weights
    check_merge("multislerp", [t(2, 0), t(0, 1)], None, t(4.472136, 2.236068), weight=[2, 1], normalize=False)


def test_multislerp_adds_eps_to_lengths() -> None:
    # (1, 0) / (1 + 1) and (0, 3) / (3 + 1): a direction of 2 to 3, at the mean length 2
    check_merge("multislerp", [t(1, 0), t(0, 3)], None, 2 * t(2, 3) / 13**0.5, eps=1.0)


def test_multislerp_of_two_models_that_cancel_is_linear_and_of_more_is_refused() -> None:
    with pytest.warns(CuveeWarning, match="averaged linearly"):
        check_merge("multislerp", [t(1, 2), t(-3, -6)], None, t(-1, -2))
    with pytest.raises(CuveeError, match="cancel out"):
        merge_tensors("multislerp", [t(1, 0), t(1, 0), t(-3, 0)], weight=[1, 1, 2])
    with pytest.raises(CuveeError, match="add up to zero"):
        merge_tensors("multislerp", [t(1, 0), t(0, 1)], weight=[1, -1])


@pytest.mark.parametrize("method", ["multislerp", "karcher"])
def test_models_that_are_zero_merge_to_zero(method: str) -> None:
    check_merge(method, [t(0, 0)] * 3, None, t(0, 0))
    check_merge(method, [t(1, 1)] * 3, t(1, 1), t(1, 1), vectors="task")


def test_multislerp_agrees_with_mergekit() -> None:
    # multislerp: base_model b, weights 1 of x, 3 of z
    expected = ".691244 -2.508502 1.38384 2.291751 / -.750676 4.883841 -2.416498 2.133164"
    check_matrix("multislerp", [X, Z], B, expected, weight=[1, 3], vectors="task")


# karcher


def test_karcher_of_two_models_is_the_middle_of_the_arc_at_the_mean_length() -> None:
    check_merge("karcher", [t(2, 0), t(0, 1)], None, t(1.06066, 1.06066))
    # A third of the way, 30 degrees, at length 5/3: unlike the normalised mean.
    check_merge("karcher", [t(2, 0), t(0, 1)], None, t(1.443376, 0.833333), weight=[2, 1])
    # Where the iteration starts, it is that mean.
    check_merge("karcher", [t(2, 0), t(0, 1)], None, t(1.490712, 0.745356), weight=[2, 1], max_iter=0)
    check_merge("karcher", [t(2, 0), t(0, 1)], None, t(1.490712, 0.745356), weight=[2, 1], tol=0.5)


def test_karcher_averages_angles_on_a_circle() -> None:
    degrees = torch.tensor([0.0, 10.0, 80.0, 110.0]).deg2rad()
    models = [torch.stack([angle.cos(), angle.sin()]) for angle in degrees]
    middle = torch.tensor(50.0).deg2rad()
    torch.testing.assert_close(merge_tensors("karcher", models), torch.stack([middle.cos(), middle.sin()]))


def test_karcher_leaves_no_pull_in_any_direction() -> None:
    """The definition: the logarithms of the models, seen from the mean, add up to nothing."""
    generator = torch.Generator().manual_seed(4)
    common = torch.randn(30, generator=generator)
    models = [common + torch.randn(30, generator=generator) for _ in range(5)]
    weights = [1.0, 2.0, 0.5, 1.0, 3.0]
    mean = merge_tensors("karcher", models, weight=weights).double()
    lengths = torch.stack([m.double().norm() for m in models])
    torch.testing.assert_close(
        mean.norm(), (torch.tensor(weights).double() @ lengths) / sum(weights), rtol=1e-6, atol=0
    )
    u, pull = mean / mean.norm(), torch.zeros(30, dtype=torch.float64)
    for weight, model in zip(weights, models, strict=True):
        direction = model.double() / model.double().norm()
        angle = torch.arccos(u @ direction)
        across = direction - (u @ direction) * u
        pull += weight * angle * across / across.norm()
    assert pull.norm() < 1e-6 * sum(weights)


def test_karcher_of_models_that_differ_by_little_is_their_mean() -> None:
    """Angles of 1e-5, which float32 takes for zero: to second order the mean is the mean."""
    generator = torch.Generator().manual_seed(4)
    common = torch.randn(1000, generator=generator)
    models = [common + 1e-5 * torch.randn(1000, generator=generator) for _ in range(3)]
    exact = torch.stack(models).double().mean(0)
    merged = merge_tensors("karcher", models).double()
    assert (merged - exact).norm() < 1e-7 * exact.norm()


def test_karcher_leaves_out_zero_models_and_counts_their_length() -> None:
    check_merge("karcher", [t(2, 0), t(0, 0), t(0, 1)], None, t(0.707107, 0.707107))  # at length 3 / 3
    check_merge("karcher", [t(2, 0), t(0, 0)], None, t(0, 0), weight=[0, 1])
    with pytest.raises(CuveeError, match=r"\[0.0, 0.0\] add up to zero and cannot be normalised; change them"):
        merge_tensors("karcher", [t(2, 0), t(0, 1)], weight=0)


def test_karcher_of_opposite_models_takes_the_first_direction() -> None:
    check_merge("karcher", [t(1, 0), t(-3, 0)], None, t(2, 0))


def test_karcher_takes_its_mean_over_the_scope() -> None:
    first, second = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    rows = merge_tensors("karcher", [first, second], scope="row", weight=[2, 1])
    for i in range(2):
        torch.testing.assert_close(rows[i], merge_tensors("karcher", [first[i], second[i]], weight=[2, 1]))
    assert not torch.allclose(rows, merge_tensors("karcher", [first, second], weight=[2, 1]), atol=1e-3)


def test_karcher_with_the_settings_of_mergekit_agrees_with_it() -> None:
    # karcher of b, x, z with its defaults
    expected = "1.036946 -2.294202 .828766 2.581972 / -.146873 4.419469 -2.017463 2.220766"
    check_matrix("karcher", [B, X, Z], None, expected, max_iter=10, tol=1e-5)


# model_stock

MERGEKIT_STOCK = {"extrapolate": True, "eps": 1e-6}  # what mergekit's model_stock always does


def test_model_stock_moves_as_far_as_the_models_agree() -> None:
    base = t(1, 1)
    check_merge("model_stock", [base + t(3, 0), base + t(3, 4)], base, base + 0.75 * t(3, 2))  # cosine 3/5: 6/8
    check_merge("model_stock", [base + t(3, 0), base + t(0, 4)], base, base)
    check_merge("model_stock", [base + t(3, 0), base + t(5, 0)], base, base + t(4, 0))
    # three models, cosines 1, 0, 0: the mean is 1/3, and 3 c / (1 + 2 c) = 3/5
    check_merge("model_stock", [base + t(3, 0), base + t(6, 0), base + t(0, 9)], base, base + 0.6 * t(3, 3))


def test_model_stock_stops_at_the_base_unless_told_otherwise() -> None:
    base, models = t(0, 0), [t(3, 0), t(-3, 4)]  # cosine -3/5: ratio -1.2 / 0.4
    check_merge("model_stock", models, base, base)
    check_merge("model_stock", models, base, -3 * t(0, 2), extrapolate=True)
    check_merge("model_stock", [t(3, 0), t(-2, 0)], base, base, extrapolate=True)  # 1 + c is zero


def test_model_stock_bounds_the_product_of_lengths() -> None:
    models = [1e-3 * t(1, 0), 5e-4 * t(1, 0)]  # product 5e-7, cosine 1; bounded 1/2: ratio 2/3
    check_merge("model_stock", [1e3 * m for m in models], t(0, 0), t(0.75, 0))
    torch.testing.assert_close(merge_tensors("model_stock", models, t(0, 0)), 1e-3 * t(0.75, 0))
    torch.testing.assert_close(merge_tensors("model_stock", models, t(0, 0), eps=1e-6), 1e-3 * t(0.5, 0))


def test_model_stock_takes_a_zero_task_vector_to_be_at_right_angles() -> None:
    check_merge("model_stock", [t(3, 0), t(0, 0)], t(0, 0), t(0, 0))
    check_merge("model_stock", [t(1, 1)] * 2, t(1, 1), t(1, 1))


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        # model_stock: base_model b, models x and z
        ({}, "1 -2.197245 .762993 2.60551 / -.131497 4.262993 -1.78898 2.131496"),
        # with its filter_wise
        ({"scope": "row"}, "1 -2.148767 .698356 2.702467 / -.144949 4.289898 -1.869694 2.144949"),
    ],
)
def test_model_stock_agrees_with_mergekit(parameters: dict[str, Any], expected: str) -> None:
    for settings in ({}, MERGEKIT_STOCK):  # cosines are positive here, and lengths above 1
        check_matrix("model_stock", [X, Z], B, expected, **settings, **parameters)


# nearswap


def test_nearswap_takes_what_is_near_and_moves_what_is_far() -> None:
    check_merge("nearswap", [t(1.2, 3, -5, 0)], t(1, 1, 1, 0), t(1.2, 1.25, 0.75, 0), t=0.25)
    check_merge("nearswap", [t(1.2, 3)], t(1, 1), t(1, 1), t=0)


def test_nearswap_agrees_with_mergekit() -> None:
    # nearswap: base_model b, t: 0.25
    check_matrix("nearswap", [X], B, "1.25 -2.25 .5 2.75 / .25 4 -1.25 2.25", t=0.25)


# linear and copy


def test_linear_without_normalising_agrees_with_mergekit() -> None:
    # linear: weights 2 of x, 1 of z, normalize: false
    expected = "3.5 -7 2.5 6.5 / 0 13 -8 7"
    check_matrix("linear", [X, Z], None, expected, weight=[2, 1], normalize=False)


def test_a_scaled_copy_is_a_sum_of_one() -> None:
    # passthrough with a scale of 0.5
    assert torch.equal(merge_tensors("linear", [X.bfloat16()], weight=0.5, normalize=False), (X * 0.5).bfloat16())
    # passthrough without scale
    assert torch.equal(merge_tensors("copy", [X]), X)


def test_weights_that_add_up_to_zero_are_refused_before_anything_is_read() -> None:
    for method in ("linear", "multislerp", "karcher"):
        recipe = cuvee.Recipe(method=method, models=[{"w": t(1, 2)}] * 2, parameters={"weight": 0})
        with pytest.raises(PlanError, match="add up to zero"):
            cuvee.plan(recipe)

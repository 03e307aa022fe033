"""Worked examples, computed by hand from the papers' definitions."""

from typing import Any

import pytest
import torch

from cuvee import CuveeError, CuveeWarning, merge_state_dicts, merge_tensors
from cuvee.errors import RecipeError


def t(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def check_merge(method: str, tensors: list[torch.Tensor], base: Any, expected: torch.Tensor, **parameters: Any) -> None:
    torch.testing.assert_close(merge_tensors(method, tensors, base, **parameters), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, (2, 0, -1)),
        ({"weight": [0.25, 0.75]}, (2.5, -1, 0)),
        ({"weight": [2, 1]}, (5 / 3, 2 / 3, -5 / 3)),
        ({"weight": [2, 1], "normalize": False}, (5, 2, -5)),
    ],
)
def test_linear(parameters: dict[str, Any], expected: tuple[float, ...]) -> None:
    check_merge("linear", [t(1, 2, -3), t(3, -2, 1)], None, t(*expected), **parameters)


def test_linear_refuses_weights_that_cancel() -> None:
    with pytest.raises(CuveeError, match="add up to zero"):
        merge_tensors("linear", [t(1), t(2)], weight=[1, -1])


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"t": 0.5}, (1.414214, 0.707107)),
        ({"t": 0.5, "norm": "lerp"}, (1.06066, 1.06066)),
        ({"t": 0.5, "norm": "first"}, (1.414214, 1.414214)),
        # the realistic evaluation's lambda weights the first model: its 1/4 is our 3/4
        ({"t": 0.75}, (0.765367, 0.923880)),
        ({"t": 0.0}, (2, 0)),
        ({"t": 1.0}, (0, 1)),
    ],
)
def test_slerp(parameters: dict[str, Any], expected: tuple[float, ...]) -> None:
    check_merge("slerp", [t(2, 0), t(0, 1)], None, t(*expected), **parameters)


def test_slerp_takes_its_angle_over_the_scope() -> None:
    models = [{"a": t(3, 4), "b": t(0, 0)}, {"a": t(0, 5), "b": t(12, 0)}]
    model = merge_state_dicts("slerp", models, scope="model")
    torch.testing.assert_close(model["a"], t(1.855041, 5.565122), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(model["b"], t(7.420163, 0), rtol=1e-5, atol=1e-6)
    tensor = merge_state_dicts("slerp", models, scope="tensor")
    torch.testing.assert_close(tensor["b"], t(6, 0))  # one vector is zero: no angle, so the straight line
    angle = torch.tensor(0.8).arccos()
    both = (torch.sin(angle / 2) / torch.sin(angle)) * (models[0]["a"] + models[1]["a"])
    torch.testing.assert_close(tensor["a"], both, rtol=1e-5, atol=1e-6)


def test_slerp_by_rows_interpolates_each_row_alone() -> None:
    first, second = torch.tensor([[2.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 1.0], [0.0, 5.0]])
    rows = merge_tensors("slerp", [first, second], scope="row")
    for i in range(2):
        torch.testing.assert_close(rows[i], merge_tensors("slerp", [first[i], second[i]]), rtol=1e-6, atol=1e-6)


def test_slerp_of_task_vectors_moves_around_the_base() -> None:
    base = t(1, 1)
    check_merge("slerp", [base + t(2, 0), base + t(0, 1)], base, base + t(1.414214, 0.707107), vectors="task")


def test_slerp_of_parallel_and_opposite_models_is_the_straight_line() -> None:
    check_merge("slerp", [t(1, 2), t(2, 4)], None, t(1.25, 2.5), t=0.25)
    with pytest.warns(CuveeWarning, match="opposite directions"):
        check_merge("slerp", [t(1, 2), t(-1, -2)], None, t(0.5, 1), t=0.25)


@pytest.mark.parametrize(
    ("models", "expected"),
    [([(2, 0), (0, 1)], (1.788854, 0.894427)), ([(3, 0), (0, 4), (-1, 2)], (1.264911, 3.794733))],
)
def test_mlerp(models: list[tuple[float, float]], expected: tuple[float, float]) -> None:
    check_merge("mlerp", [t(*model) for model in models], None, t(*expected))


@pytest.mark.parametrize(("norm", "length"), [("raw", 2.0), ("lerp", 2.0), ("first", 1.0)])
@pytest.mark.parametrize("tilt", [0.0, 1e-5])
def test_slerp_has_its_norm_on_both_sides_of_straight(norm: str, length: float, tilt: float) -> None:
    merged = merge_tensors("slerp", [t(1, 0), t(3, tilt)], norm=norm)
    torch.testing.assert_close(merged, t(length, 0), rtol=1e-5, atol=tilt)


def test_slerp_with_a_zero_model_is_the_straight_line_whatever_the_norm() -> None:
    for norm in ("raw", "lerp", "first"):
        check_merge("slerp", [t(0, 0), t(4, 0)], None, t(1, 0), norm=norm, t=0.25)


def test_mlerp_of_two_models_of_equal_norm_is_slerp_halfway() -> None:
    models = [t(3, 4, 0), t(0, 3, 4)]
    torch.testing.assert_close(merge_tensors("mlerp", models), merge_tensors("slerp", models), rtol=1e-6, atol=1e-6)


def test_mlerp_refuses_models_that_cancel() -> None:
    with pytest.raises(CuveeError, match="cancel out"):
        merge_tensors("mlerp", [t(1, 2), t(-1, -2)])


def test_task_arithmetic() -> None:
    check_merge("task_arithmetic", [t(2, 1), t(1, -1)], t(1, 1), t(1.4, 0.2), scale=0.4)
    check_merge("task_arithmetic", [t(2, 1), t(1, -1)], t(1, 1), t(2, 3), weight=[1, -1])


VECTORS = [
    t(0.9, -0.1, 0.4, 0.02, -0.7),
    t(-0.2, 0.6, 0.5, -0.03, -0.8),
    t(-0.3, 0.05, -0.95, 0.01, 0.1),
]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("mean", (0.9, 0.6, -0.95, 0, -0.75)),
        ("sum", (0.9, 0.6, -0.95, 0, -1.5)),
        ("max", (0.9, 0.6, -0.95, 0, -0.8)),
    ],
)
def test_ties_keeping_two_of_five(merge: str, expected: tuple[float, ...]) -> None:
    check_merge("ties", VECTORS, torch.zeros(5), t(*expected), density=0.4, merge=merge)


def test_ties_keeping_three_of_five_outvotes_two_by_one_large_entry() -> None:
    check_merge("ties", VECTORS, torch.zeros(5), t(0.9, 0.6, -0.95, 0, -0.75), density=0.6)


ZERO_SUM = [t(0.5, 0.25, -0.75, -1, 1), t(0.25, -0.25, 0.25, -0.5, 0.5)]


@pytest.mark.parametrize(
    ("parameters", "second"),
    [
        ({}, 0.0),
        ({"rule": "reference"}, -0.25),
        ({"rule": "reference", "merge": "max"}, 0.0),
        ({"zero_sign": "positive"}, 0.25),
        ({"zero_sign": "zero", "rule": "reference"}, 0.0),
    ],
)
def test_ties_where_a_column_sums_to_zero_and_the_vote_is_drawn(parameters: dict[str, Any], second: float) -> None:
    merged = merge_tensors("ties", ZERO_SUM, torch.zeros(5), density=1.0, **parameters)
    assert merged[1] == second


@pytest.mark.parametrize("sign", [1, -1])
def test_ties_where_a_column_sums_to_zero_and_the_vote_is_decided(sign: int) -> None:
    vectors = [torch.cat([v, t(sign * 0.5)]) for v in ZERO_SUM]
    assert merge_tensors("ties", vectors, torch.zeros(6), density=1.0)[1] == sign * 0.25


def test_ties_counts_decimals_as_written() -> None:
    """0.29 of 100 is 29 by the exact rule; the authors' floating product is 28, plus one."""
    vector = torch.arange(1.0, 101.0)
    for rule, count in (("paper", 29), ("reference", 29)):
        merged = merge_tensors("ties", [vector], torch.zeros(100), density=0.29, rule=rule)
        assert int((merged != 0).sum()) == count
    assert int((merge_tensors("ties", [vector], torch.zeros(100), density=0.28) != 0).sum()) == 28


def test_ties_breaks_equal_magnitudes_by_index_with_tensors_by_name() -> None:
    """Five equal entries in stored order z, a: two may stay, those of tensor a."""
    model = {"z": t(1, -1, 1), "a": t(1, 1)}
    base = {"z": torch.zeros(3), "a": torch.zeros(2)}
    merged = merge_state_dicts("ties", [model], base, density=0.4)
    assert merged["a"].tolist() == [1, 1]
    assert merged["z"].tolist() == [0, 0, 0]


def test_ties_trims_each_tensor_in_tensor_scope() -> None:
    model, base = {"a": t(1, 2), "b": t(10, 20)}, {"a": torch.zeros(2), "b": torch.zeros(2)}
    whole = merge_state_dicts("ties", [model], base, density=0.5)
    each = merge_state_dicts("ties", [model], base, density=0.5, trim_scope="tensor")
    assert (whole["a"].tolist(), whole["b"].tolist()) == ([0, 0], [10, 20])
    assert (each["a"].tolist(), each["b"].tolist()) == ([0, 2], [0, 20])


def test_ties_weights_the_mean_by_the_weights_that_agree() -> None:
    merged = merge_tensors("ties", [t(1.0), t(4.0), t(-1.0)], torch.zeros(1), density=1.0, weight=[2, 1, 1])
    torch.testing.assert_close(merged, t((2 * 1 + 4) / 3))


@pytest.mark.parametrize(
    ("vectors", "weight", "expected"),
    [
        ([(1, 2)], [-1], (-1, -2)),  # a negative weight turns a model around
        ([(1, 2), (-1, -2)], [1, -1], (1, 2)),  # both then point the same way
        ([(1, 2), (-1, -2)], [1, -0.5], (1, 2)),  # (1 * 1 + 0.5 * 1) / 1.5: the mean lies between what it is taken of
        ([(4, 0), (1, 0)], [1, -1], (4, 0)),  # 4 - 1 is positive: the second model does not count
    ],
)
def test_ties_takes_the_mean_by_magnitudes_of_weights(
    vectors: list[tuple[float, ...]], weight: list[float], expected: tuple[float, ...]
) -> None:
    check_merge("ties", [t(*v) for v in vectors], torch.zeros(2), t(*expected), weight=weight, density=1.0)


def test_dare_rescales_the_survivors(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = torch.tensor([False, True, False, True])
    monkeypatch.setattr("cuvee.tensors.random.survives", lambda *_: keep)
    monkeypatch.setattr("cuvee.tensors.kernels.program.kernel", lambda: None)  # it has the generator built in
    vector = t(0.2, -0.4, 0.6, 0.8)
    check_merge("dare_linear", [vector], torch.zeros(4), t(0, -0.8, 0, 1.6), density=0.5)
    check_merge("dare_linear", [vector], torch.zeros(4), t(0, -0.4, 0, 0.8), density=0.5, rescale=False)


@pytest.mark.parametrize(("density", "factor"), [(1.0, 1.0), (0.0, 0.0)])
def test_dare_at_the_ends_keeps_all_or_nothing(density: float, factor: float) -> None:
    vector = t(0.2, -0.4, 0.6, 0.8)
    for method in ("dare_linear", "dare_ties"):
        check_merge(method, [vector], torch.zeros(4), factor * vector, density=density)


def test_dare_is_unbiased_and_has_the_variance_of_its_draws() -> None:
    """Mean over 400 seeds within four standard errors, tau^2 p / (1 - p) / 400."""
    vector = t(0.2, -0.4, 0.6, 0.8)
    draws = torch.stack(
        [merge_tensors("dare_linear", [vector], torch.zeros(4), density=0.25, seed=s) for s in range(400)]
    )
    error = (vector.square() * 3 / 400).sqrt()
    assert ((draws.mean(0) - vector).abs() < 4 * error).all()


def test_breadcrumbs_drops_the_top_and_keeps_the_next() -> None:
    vector = t(1, -9, 3, 10, -5, 6, 7, 8, 2, -4)
    check_merge("breadcrumbs", [vector], torch.zeros(10), t(0, -9, 0, 0, 0, 0, 7, 8, 0, 0), density=0.3, outliers=0.1)


def test_breadcrumbs_by_rows_takes_the_shares_of_each_row() -> None:
    matrix = torch.tensor([[1.0, 2.0, 3.0, 4.0], [80.0, 70.0, 60.0, 50.0]])
    expected = torch.tensor([[0.0, 2.0, 3.0, 0.0], [0.0, 70.0, 60.0, 0.0]])
    check_merge("breadcrumbs", [matrix], torch.zeros(2, 4), expected, density=0.5, outliers=0.25, scope="row")


def test_breadcrumbs_keeps_small_tensors() -> None:
    """A share of less than one entry drops none, and does not empty the mask."""
    check_merge("breadcrumbs", [t(3, 1)], torch.zeros(2), t(3, 0), density=0.5, outliers=0.01)


def test_breadcrumbs_refuses_shares_beyond_one() -> None:
    with pytest.raises(CuveeError, match="add up to more than 1"):
        merge_tensors("breadcrumbs", [t(1)], t(0), density=0.8, outliers=0.3)


def test_whole_numbers_alone_are_refused_rather_than_copied_in_silence() -> None:
    with pytest.raises(CuveeError, match="int64 is copied, not averaged"):
        merge_tensors("linear", [torch.tensor([1, 2]), torch.tensor([3, 4])])


def test_copy_takes_the_one_model_and_any_type() -> None:
    for tensor in (t(1.5, -2), torch.tensor([1, 2]), torch.tensor([True, False])):
        assert torch.equal(merge_tensors("copy", [tensor]), tensor)


def test_average_equals_task_arithmetic_with_one_over_n() -> None:
    models, base = [t(1, 2, 3), t(3, -1, 0), t(0, 0, 9)], t(7, -7, 1)
    check_merge("task_arithmetic", models, base, merge_tensors("linear", models), scale=1 / 3)


B = torch.tensor([[1, -2, 0.5, 3], [0, 4, -1, 2]])
X = torch.tensor([[1.5, -2.25, 0.5, 2], [0.5, 4, -3, 2.5]])
Z = torch.tensor([[0.5, -2.5, 1.5, 2.5], [-1, 5, -2, 2]])


@pytest.mark.parametrize(
    ("method", "models", "base", "parameters", "expected"),
    [
        (
            "linear",
            (X, Z),
            None,
            {"weight": [2, 1]},
            [[1.166667, -2.333333, 0.833333, 2.166667], [0, 4.333333, -2.666667, 2.333333]],
        ),
        (
            "slerp",
            (B, X),
            None,
            {"t": 0.3},
            [[1.168252, -2.106622, 0.507499, 2.738483], [0.153255, 4.05999, -1.628016, 2.18325]],
        ),
        ("task_arithmetic", (X, Z), B, {"weight": [0.5, 1]}, [[0.75, -2.625, 1.5, 2], [-0.75, 5, -3, 2.25]]),
        (
            "ties",
            (X, Z),
            B,
            {"weight": [0.5, 1], "density": 1, "merge": "sum", "zero_sign": "positive"},
            [[0.5, -2.625, 1.5, 2], [-1, 5, -3, 2.25]],
        ),
    ],
)
def test_methods_agree_with_what_a_widely_used_tool_computes(
    method: str, models: tuple[torch.Tensor, ...], base: Any, parameters: dict[str, Any], expected: list[list[float]]
) -> None:
    """mergekit 0.1.5 on these tensors, with `normalize: false` where the merge is a sum; weights are positive.

    (Its mean divides by the sum of signed weights, so that a negative one has no effect; ours by their magnitudes.)
    """
    check_merge(method, list(models), base, torch.tensor(expected), **parameters)


@pytest.mark.parametrize(
    ("tensors", "base", "said"),
    [
        ([1, 2], None, "model 'm0' is a int; merge_tensors takes one tensor of each model, in a list or by label"),
        ([torch.ones(2), [1.0, 1.0]], None, "model 'm1' is a list; .*torch.as_tensor"),
        ([torch.ones(2).numpy()], None, "model 'm0' is a ndarray"),
        ({"a": None}, None, "model 'a' is a NoneType"),
        (None, None, "'tensors' is a NoneType"),
        ("model.safetensors", None, "'tensors' is a str"),
        (torch.ones(2, 2), None, "'tensors' is a Tensor"),
        ([torch.ones(2)] * 2, "base", "the base is a str"),
    ],
)
def test_what_is_no_tensor_is_refused(tensors: Any, base: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        merge_tensors("linear", tensors, base)

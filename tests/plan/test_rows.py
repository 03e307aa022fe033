"""From headers to rows: what is read, what is done with it, what is written; without a weight being read."""

from typing import Any

import pytest

from cuvee.errors import PlanError
from cuvee.plan.rows import CELL
from cuvee.recipe.rule import Rule
from plan.llama import LLAMA, UP


def test_there_is_a_row_for_each_tensor_in_stored_order(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="linear", **llamas)
    assert [row.name for row in plan.rows] == list(LLAMA)
    assert [row.size for row in plan.rows] == [32, 24, 24, 24, 4, 32]
    assert [row.width for row in plan.rows] == [4] * 6
    assert [[item.label for item in row.inputs] for row in plan.rows] == [["a", "b"]] * 6
    assert list(plan.outputs[0]) == list(LLAMA)
    assert {spec.shape for spec in plan.outputs[0].values()} == {(8, 4), (6, 4), (4,)}
    assert plan.warnings == ()


def test_order_is_that_of_the_base_then_of_what_it_lacks(plan_of: Any, header: Any) -> None:
    models = {"a": header({"z": (2,), "y": (2,), "x": (2,)}), "b": header({"x": (2,), "y": (2,), "z": (2,)})}
    base = header({"y": (2,), "x": (2,)})
    plan = plan_of(method="linear", models=models, base=base)
    assert [row.name for row in plan.rows] == ["y", "x", "z"]
    assert list(plan.outputs[0]) == ["y", "x", "z"]


def test_task_vectors_read_the_base_too(plan_of: Any, llamas: Any, header: Any, job_of: Any, row_of: Any) -> None:
    plan = plan_of(method="task_arithmetic", base=header(LLAMA), **llamas)
    assert [item.label for item in row_of(plan, UP.format(0)).inputs] == ["a", "b", "base"]
    assert job_of(plan, UP.format(0)).operands == (0, 1)
    assert job_of(plan, UP.format(0)).base == 2


@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties", "task_arithmetic", "breadcrumbs"])
def test_task_vectors_without_a_base_are_refused(plan_of: Any, llamas: Any, method: str) -> None:
    with pytest.raises(PlanError, match=rf"method '{method}' works on task vectors: .*; give the recipe a 'base'\.$"):
        plan_of(method=method, **llamas)


@pytest.mark.parametrize("method", ["slerp", "mlerp"])
def test_only_a_choice_of_task_vectors_needs_the_base(plan_of: Any, llamas: Any, method: str) -> None:
    assert plan_of(method=method, parameters={"vectors": "parameters"}, **llamas).rows
    with pytest.raises(PlanError, match="give the recipe a 'base'"):
        plan_of(method=method, parameters={"vectors": "task"}, **llamas)


def test_settings_are_complete_and_plain(plan_of: Any, llamas: Any, job_of: Any) -> None:
    plan = plan_of(method="linear", parameters={"weight": {"b": 2, "a": 1}}, seed=5, **llamas)
    job = job_of(plan, UP.format(0))
    assert job.parameters == {"weight": [1.0, 2.0], "normalize": True}
    assert (job.method.name, job.labels, job.seed, job.stream) == ("linear", ("a", "b"), 5, UP.format(0))


def test_values_over_depth_follow_the_layers(plan_of: Any, llamas: Any, job_of: Any) -> None:
    plan = plan_of(method="slerp", parameters={"t": {"over_depth": [0.0, 1.0]}}, **llamas)
    depths = {name: job_of(plan, name).parameters["t"] for name in LLAMA}
    assert depths == {
        "model.embed_tokens.weight": 0.0,
        UP.format(0): 0.0,
        UP.format(1): 0.5,
        UP.format(2): 1.0,
        "model.norm.weight": 1.0,
        "lm_head.weight": 1.0,
    }


def test_values_over_depth_can_differ_between_models(plan_of: Any, llamas: Any, job_of: Any) -> None:
    weight = [{"over_depth": [1, 0]}, {"over_depth": [0, 1, 1]}]
    plan = plan_of(method="linear", parameters={"weight": weight}, **llamas)
    assert [job_of(plan, UP.format(i)).parameters["weight"] for i in range(3)] == [[1, 0], [0.5, 1], [0, 1]]


def test_wrong_combination_at_one_depth_only_is_found(plan_of: Any, llamas: Any) -> None:
    weight = [{"over_depth": [1, 0]}, {"over_depth": [0, 0]}]
    with pytest.raises(PlanError, match=r"method 'linear': the weights \[0.0, 0.0\] add up to zero"):
        plan_of(method="linear", parameters={"weight": weight}, **llamas)


def test_without_base_buffers_come_from_the_first_model(plan_of: Any, header: Any, job_of: Any, row_of: Any) -> None:
    model = header({"model.rotary_emb.inv_freq": (4,), "w": (2,)})
    plan = plan_of(method="linear", models={"x": model, "y": header({"model.rotary_emb.inv_freq": (4,), "w": (2,)})})
    job = job_of(plan, "model.rotary_emb.inv_freq")
    assert (job.method.name, job.labels, job.reason) == ("copy", ("x",), "a buffer is copied, not averaged")
    assert job.compare == (1,)


def test_running_statistics_are_averaged_by_the_shares_of_the_models(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"bn.weight": (2,), "bn.running_mean": (2,)})
    plan = plan_of(method="ties", models=[model, model], base=model, parameters={"weight": [1, 3]})
    job = job_of(plan, "bn.running_mean")
    assert (job.method.name, job.reason) == ("linear", "a running statistic is averaged")
    assert job.parameters == {"weight": [0.25, 0.75], "normalize": True}
    assert job.base is None
    assert job_of(plan, "bn.weight").method.name == "ties"


def test_averaging_running_statistics_is_what_linear_does_anyway(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"bn.running_var": (2,)})
    plan = plan_of(method="linear", models=[model, model], parameters={"weight": [1, 3]})
    assert job_of(plan, "bn.running_var").reason == ""
    assert job_of(plan, "bn.running_var").parameters["weight"] == [0.25, 0.75]


def test_unused_base_is_reported_unless_something_is_taken_from_it(plan_of: Any, llamas: Any, header: Any) -> None:
    warning = (
        "method 'linear' does not use the base; it lends configuration, tokenizer, "
        "and what is copied (whole numbers, buffers)."
    )
    base = header(LLAMA)
    assert plan_of(method="linear", base=base, **llamas).warnings == (warning,)
    for rule in (Rule(match=("lm_head.*",), copy="base"), Rule(match=("lm_head.*",), method="ties")):
        assert plan_of(method="linear", base=base, tensors=[rule], **llamas).warnings == ()
    for rule in (Rule(match=("lm_head.*",), copy="a"), Rule(match=("lm_head.*",), method="slerp")):
        assert plan_of(method="linear", base=base, tensors=[rule], **llamas).warnings == (warning,)


@pytest.mark.parametrize(("size", "cells"), [(0, 0), (1, 1), (CELL, 1), (CELL + 1, 2)])
def test_grid_depends_on_the_shape_alone(plan_of: Any, header: Any, size: int, cells: int) -> None:
    model = header({"w": (size,)})
    plan = plan_of(method="linear", models=[model, model])
    assert (plan.rows[0].cells, plan.rows[0].cell) == (cells, CELL)

"""Models that do not fit together are refused, with names and places, before a weight is read."""

from typing import Any

import pytest

from cuvee.errors import PlanError, UnsupportedError
from cuvee.recipe.intake import Intake


def test_kinds_that_differ_are_refused(plan_of: Any, header: Any) -> None:
    with pytest.raises(PlanError, match=r"w: element types differ in kind: 'm0' F32, 'm1' I64\. Give a rule to copy"):
        plan_of(method="linear", models=[header({"w": (2,)}), header({"w": ((2,), "I64")})])


def test_shapes_that_differ_are_refused_with_names_and_places(plan_of: Any, header: Any) -> None:
    models = {"math": header({"w": (2, 3)}, reference="at/math"), "code": header({"w": (3, 2)}, reference="at/code")}
    with pytest.raises(PlanError) as caught:
        plan_of(method="linear", models=models)
    assert str(caught.value) == (
        "w: shapes differ: 'math' (2, 3), 'code' (3, 2). Merge models of equal shapes only; or give a rule for this "
        "tensor: copy it from one model, or skip it. Here 'math' is at/math, 'code' is at/code."
    )


def test_missing_tensors_are_listed_with_the_nearest_name(plan_of: Any, header: Any) -> None:
    models = [header({"mlp.up.weight": (2,), "x": (2,)}), header({"mlp.upp.weight": (2,)}, reference="at/b")]
    with pytest.raises(PlanError) as caught:
        plan_of(method="linear", models=models)
    message = str(caught.value)
    assert message.startswith("3 tensors are not in every model: ")
    assert "'m1' has no mlp.up.weight, x. Did you mean 'mlp.upp.weight'?" in message
    assert "'m0' has no mlp.upp.weight. Did you mean 'mlp.up.weight'?" in message
    assert "Give a rule for them: copy from a model that has them, or skip." in message
    assert "'m1' is at/b" in message


def test_name_that_every_model_has_is_not_suggested_for_a_missing_one(plan_of: Any, header: Any) -> None:
    models = [header({"layers.0.up": (2,), "layers.1.up": (2,)}), header({"layers.0.up": (2,)})]
    with pytest.raises(PlanError, match=r"'m1' has no layers\.1\.up\. Give a rule"):
        plan_of(method="linear", models=models)


def test_base_that_lacks_a_tensor_matters_only_to_task_vectors(plan_of: Any, header: Any) -> None:
    models, base = [header({"w": (2,), "v": (2,)})], header({"w": (2,)})
    assert plan_of(method="linear", models=models, base=base).rows
    with pytest.raises(PlanError, match=r"1 tensor is not in every model: 'base' has no v\."):
        plan_of(method="task_arithmetic", models=models, base=base)


@pytest.mark.parametrize("kind", ["F32", "I64"])
@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "model_stock"])
def test_a_tensor_that_only_the_base_has_is_taken_from_it(
    plan_of: Any, header: Any, job_of: Any, method: str, kind: str
) -> None:
    models, base = [header({"w": (2,)})] * 2, header({"w": (2,), "v": ((2,), kind)})
    plan = plan_of(method=method, models=models, base=base, input=Intake(missing="present"))
    job = job_of(plan, "v")
    assert (job.method.name, job.labels, job.base) == ("copy", ("base",), None)
    assert "1 tensor merged without the models that lack them: v ('m0' lacks 1, 'm1' lacks 1)." in plan.warnings


def test_packed_weights_are_refused_with_model_and_place(plan_of: Any, header: Any) -> None:
    models = [header({"w": (2,)}), header({"w": (2,), "mlp.qweight": ((2, 2), "I32")}, reference="at/gptq")]
    with pytest.raises(UnsupportedError, match=r"model 'm1' \(at/gptq\): mlp.qweight: .*GPTQ"):
        plan_of(method="linear", models=models)

"""From headers to rows: what is read, what is done with it, what is written; without a weight being read."""

from typing import Any

import pytest

from cuvee.errors import PlanError, UnsupportedError
from cuvee.plan.rows import CELL
from cuvee.recipe.rule import Output, Rule

LLAMA = {
    "model.embed_tokens.weight": (8, 4),
    "model.layers.0.mlp.up_proj.weight": (6, 4),
    "model.layers.1.mlp.up_proj.weight": (6, 4),
    "model.layers.2.mlp.up_proj.weight": (6, 4),
    "model.norm.weight": (4,),
    "lm_head.weight": (8, 4),
}
UP = "model.layers.{}.mlp.up_proj.weight"


@pytest.fixture
def llamas(header: Any) -> dict[str, Any]:
    return {"models": {"a": header(LLAMA, reference="at/a"), "b": header(LLAMA, reference="at/b")}}


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


# Rules


def test_first_rule_that_matches_holds(plan_of: Any, llamas: Any, job_of: Any) -> None:
    rules = [Rule(match=("*.0.*",), parameters={"weight": 2}), Rule(match=("*up_proj*",), parameters={"weight": 3})]
    plan = plan_of(method="linear", tensors=rules, **llamas)
    assert [job_of(plan, name).parameters["weight"][0] for name in LLAMA] == [1, 2, 3, 3, 1, 1]


def test_patterns_are_case_sensitive_globs_of_the_whole_name(plan_of: Any, llamas: Any, job_of: Any) -> None:
    rules = [
        Rule(match=("LM_HEAD.*", "up_proj", "model.layers.[12].*"), parameters={"weight": 2}),
        Rule(match=("model.nor?.weight",), parameters={"weight": 3}),
    ]
    plan = plan_of(method="linear", tensors=rules, **llamas)
    assert [job_of(plan, name).parameters["weight"][0] for name in LLAMA] == [1, 1, 2, 2, 3, 1]


def test_rule_without_method_replaces_parameters_one_by_one(plan_of: Any, llamas: Any, job_of: Any) -> None:
    rules = [Rule(match=("*norm*",), parameters={"norm": "lerp"}), Rule(match=("lm*",), method="slerp")]
    plan = plan_of(method="slerp", parameters={"t": 0.25, "norm": "first"}, tensors=rules, **llamas)
    assert job_of(plan, "model.norm.weight").parameters["t"] == 0.25
    assert job_of(plan, "model.norm.weight").parameters["norm"] == "lerp"
    assert job_of(plan, "lm_head.weight").parameters["norm"] == "first"


def test_rule_with_another_method_starts_from_its_defaults(plan_of: Any, llamas: Any, job_of: Any) -> None:
    rules = [Rule(match=("*norm*",), method="linear", parameters={"normalize": False})]
    plan = plan_of(method="slerp", parameters={"t": 0.25}, tensors=rules, **llamas)
    job = job_of(plan, "model.norm.weight")
    assert (job.method.name, job.parameters) == ("linear", {"weight": [1.0, 1.0], "normalize": False})
    assert job_of(plan, "lm_head.weight").method.name == "slerp"


def test_rule_that_copies_reads_one_model(plan_of: Any, llamas: Any, job_of: Any, row_of: Any) -> None:
    plan = plan_of(method="linear", tensors=[Rule(match=("lm_head.*",), copy="b")], **llamas)
    job = job_of(plan, "lm_head.weight")
    assert [item.label for item in row_of(plan, "lm_head.weight").inputs] == ["b"]
    assert (job.method.name, job.labels, job.lane, job.reason) == ("copy", ("b",), "bytes", "")
    assert plan.warnings == ()


def test_rule_can_copy_what_other_models_lack_or_have_in_another_shape(
    plan_of: Any, header: Any, row_of: Any, job_of: Any
) -> None:
    models = {"a": header({"w": (2,), "v": (3,)}), "b": header({"w": (2,), "v": (4,), "u": ((5,), "I64")})}
    rules = [Rule(match=("u",), copy="b"), Rule(match=("v",), copy="a")]
    plan = plan_of(method="linear", models=models, tensors=rules)
    assert {row.name: row.size for row in plan.rows} == {"w": 2, "v": 3, "u": 5}
    assert [item.label for item in row_of(plan, "u").inputs] == ["b"]
    assert job_of(plan, "u").compare == ()


def test_rule_that_skips_leaves_tensors_out_and_says_so(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="linear", tensors=[Rule(match=("*.up_proj.*",), skip=True)], **llamas)
    assert list(plan.outputs[0]) == ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    names = ", ".join(UP.format(i) for i in range(3))
    assert plan.warnings == (f"3 tensors left out by a rule: {names}.",)


def test_long_lists_of_tensors_are_shortened(plan_of: Any, header: Any) -> None:
    model = header({"w": (1,), **{f"v{i}": (1,) for i in range(7)}})
    plan = plan_of(method="linear", models=[model, model], tensors=[Rule(match=("v*",), skip=True)])
    assert plan.warnings == ("7 tensors left out by a rule: v0, v1, v2, v3, v4 and 2 more.",)


def test_rules_without_effect_are_reported(plan_of: Any, llamas: Any) -> None:
    rules = [
        Rule(match=("*",), parameters={"weight": 1}),
        Rule(match=("lm_head.*",), copy="a"),
        Rule(match=("lm_haed.*", "norm"), skip=True),
    ]
    assert plan_of(method="linear", tensors=rules, **llamas).warnings == (
        "Rule 2 of the recipe (lm_head.*) has no effect: earlier rules hold for all that it matches.",
        "Rule 3 of the recipe (lm_haed.*, norm) has no effect: it matches no tensor.",
    )


def test_parts_cut_a_tensor_along_its_first_axis(plan_of: Any, llamas: Any, row_of: Any) -> None:
    plan = plan_of(method="mlerp", parameters={"scope": "tensor"}, tensors=[Rule(match=("*.0.*",), parts=3)], **llamas)
    name = UP.format(0)
    parts = [row_of(plan, name, start) for start in (0, 8, 16)]
    assert len([row for row in plan.rows if row.name == name]) == 3
    for part in parts:
        assert (part.size, part.width) == (8, 4)
        (job,) = part.jobs
        assert [(view.shape, view.start) for view in job.outputs] == [((2, 4), part.start)]
        assert [(item.view.shape, item.view.start) for item in part.inputs] == [((2, 4), part.start)] * 2
        assert plan.domains[job.domain].size == 8
    assert plan.outputs[0][name].shape == (6, 4)
    assert plan.bytes_written == 4 * (32 + 72 + 4 + 32)


@pytest.mark.parametrize(("shape", "parts"), [((6, 4), 4), ((), 2), ((3,), 2)])
def test_parts_that_do_not_divide_are_refused(plan_of: Any, header: Any, shape: Any, parts: int) -> None:
    model = header({"w": shape})
    with pytest.raises(
        PlanError, match=rf"w: a rule treats it as {parts} tensors .*'parts' must divide the first number"
    ):
        plan_of(method="linear", models=[model, model], tensors=[Rule(match=("w",), parts=parts)])


# What is not treated as the recipe says


def test_whole_numbers_are_copied_and_compared(plan_of: Any, header: Any, job_of: Any, row_of: Any) -> None:
    tensors = {"w": (2,), "position_ids": ((9,), "I64"), "mask": ((2, 2), "BOOL")}
    plan = plan_of(method="ties", models=[header(tensors), header(tensors)], base=header(tensors))
    for name, dtype in (("position_ids", "I64"), ("mask", "BOOL")):
        job = job_of(plan, name)
        assert job.method.name == "copy"
        assert job.reason == f"{dtype} is copied, not averaged"
        assert job.lane == "bytes"
        assert [item.label for item in row_of(plan, name).inputs] == ["base", "m0", "m1"]
        assert (job.operands, job.compare) == ((0,), (1, 2))
        assert str(plan.outputs[0][name].dtype) == dtype
    assert job_of(plan, "w").reason == ""


def test_whole_numbers_keep_their_type_whatever_the_output_is(plan_of: Any, header: Any) -> None:
    model = header({"w": (2,), "ids": ((9,), "I32")})
    plan = plan_of(method="linear", models=[model, model], output=Output(dtype="float16"))
    assert {name: str(spec.dtype) for name, spec in plan.outputs[0].items()} == {"w": "F16", "ids": "I32"}


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


def test_rule_that_names_a_method_has_the_last_word(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"bn.running_mean": (2,), "inv_freq": (2,), "ids": ((2,), "I64")})
    plan = plan_of(method="slerp", models=[model, model], tensors=[Rule(match=("*",), method="mlerp")])
    assert [job_of(plan, name).method.name for name in model.header] == ["mlerp", "mlerp", "copy"]


def test_kinds_that_differ_are_refused(plan_of: Any, header: Any) -> None:
    with pytest.raises(PlanError, match=r"w: element types differ in kind: 'm0' F32, 'm1' I64\. Give a rule to copy"):
        plan_of(method="linear", models=[header({"w": (2,)}), header({"w": ((2,), "I64")})])


# Element types


@pytest.mark.parametrize(
    ("types", "written"),
    [
        (("F32", "F32"), "F32"),
        (("BF16", "BF16"), "BF16"),
        (("BF16", "F32"), "F32"),
        (("F16", "BF16"), "F32"),
        (("F8_E4M3", "BF16"), "BF16"),
        (("F8_E4M3", "F8_E5M2"), "F32"),
        (("F64", "F16"), "F64"),
    ],
)
def test_written_type_holds_all_that_is_read(plan_of: Any, header: Any, types: Any, written: str) -> None:
    plan = plan_of(method="linear", models=[header({"w": ((2,), dtype)}) for dtype in types])
    assert str(plan.outputs[0]["w"].dtype) == written
    mixed = [warning for warning in plan.warnings if "different types" in warning]
    assert bool(mixed) == (len(set(types)) > 1)
    if mixed:
        assert f"({', '.join(sorted(types))}); written as {written}. Set output dtype to choose." in mixed[0]


def test_output_type_of_the_recipe_wins_without_a_word(plan_of: Any, header: Any) -> None:
    models = [header({"w": ((2,), dtype)}) for dtype in ("F16", "BF16")]
    plan = plan_of(method="linear", models=models, output=Output(dtype="bfloat16"))
    assert str(plan.outputs[0]["w"].dtype) == "BF16"
    assert plan.warnings == ()


def test_doubles_are_said_to_be_merged_as_floats(plan_of: Any, header: Any) -> None:
    model = header({"w": ((2,), "F64")})
    assert plan_of(method="linear", models=[model, model]).warnings == (
        "F64 tensors are merged in float32 arithmetic.",
    )
    assert plan_of(method="copy", models=[model]).warnings == ()


def test_copy_moves_bytes_unless_the_type_changes(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"w": ((2,), "BF16")})
    for dtype, lane in ((None, "bytes"), ("bfloat16", "bytes"), ("float32", "float32")):
        plan = plan_of(method="copy", models=[model], output=Output(dtype=dtype))
        assert job_of(plan, "w").lane == lane
    assert job_of(plan_of(method="linear", models=[model]), "w").lane == "float32"


# What does not fit


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


def test_packed_weights_are_refused_with_model_and_place(plan_of: Any, header: Any) -> None:
    models = [header({"w": (2,)}), header({"w": (2,), "mlp.qweight": ((2, 2), "I32")}, reference="at/gptq")]
    with pytest.raises(UnsupportedError, match=r"model 'm1' \(at/gptq\): mlp.qweight: .*GPTQ"):
        plan_of(method="linear", models=models)


def test_unused_base_is_reported_unless_something_is_taken_from_it(plan_of: Any, llamas: Any, header: Any) -> None:
    warning = "method 'linear' does not use the base; it lends configuration and tokenizer only."
    base = header(LLAMA)
    assert plan_of(method="linear", base=base, **llamas).warnings == (warning,)
    for rule in (Rule(match=("lm_head.*",), copy="base"), Rule(match=("lm_head.*",), method="ties")):
        assert plan_of(method="linear", base=base, tensors=[rule], **llamas).warnings == ()
    for rule in (Rule(match=("lm_head.*",), copy="a"), Rule(match=("lm_head.*",), method="slerp")):
        assert plan_of(method="linear", base=base, tensors=[rule], **llamas).warnings == (warning,)


# Domains of passes


def test_model_scope_pools_all_rows(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="mlerp", parameters={"scope": "model"}, **llamas)
    assert {row.jobs[0].domain for row in plan.rows} == {0}
    (domain,) = plan.domains
    assert (domain.scope, domain.size, domain.cells, domain.whole) == ("model", 140, 6, False)


def test_tensor_scope_takes_each_row_by_itself(plan_of: Any, llamas: Any) -> None:
    plan = plan_of(method="mlerp", parameters={"scope": "tensor"}, **llamas)
    assert [plan.domains[row.jobs[0].domain].size for row in plan.rows] == [32, 24, 24, 24, 4, 32]
    assert all(domain.whole for domain in plan.domains)


def test_row_scope_takes_each_row_of_a_tensor_by_itself(plan_of: Any, header: Any, row_of: Any) -> None:
    model = header({"w": (5, 40_000), "v": (300_000,), "u": (3, 200_000), "s": ()})
    plan = plan_of(method="mlerp", models=[model, model], parameters={"scope": "row"})
    sizes = {row.name: (plan.domains[row.jobs[0].domain].size, row.cell) for row in plan.rows}
    assert sizes == {"w": (40_000, 120_000), "v": (300_000, 300_000), "u": (200_000, 200_000), "s": (1, CELL)}
    assert all(domain.whole for domain in plan.domains)


def test_tensors_that_differ_in_pooled_parameters_are_not_pooled(plan_of: Any, llamas: Any, header: Any) -> None:
    rules = [
        Rule(match=("*norm*",), parameters={"density": 0.9}),
        Rule(match=("*.0.*",), parameters={"weight": 0.5}),
        Rule(match=("lm_head.*",), method="linear"),
    ]
    plan = plan_of(method="ties", base=header(LLAMA), tensors=rules, **llamas)
    domain = {row.name: row.jobs[0].domain for row in plan.rows}
    pooled = {"model.embed_tokens.weight", *(UP.format(i) for i in range(3))}
    assert len({domain[name] for name in pooled}) == 1
    assert len({domain[name] for name in LLAMA}) == 3
    assert plan.domains[domain[UP.format(0)]].size == 32 + 72


def test_copied_tensors_are_no_part_of_a_pool(plan_of: Any, header: Any) -> None:
    model = header({"w": (3,), "ids": ((5,), "I64")})
    plan = plan_of(method="mlerp", models=[model, model])
    assert [domain.size for domain in plan.domains if domain.scope == "model"] == [3]


@pytest.mark.parametrize(("size", "cells"), [(0, 0), (1, 1), (CELL, 1), (CELL + 1, 2)])
def test_grid_depends_on_the_shape_alone(plan_of: Any, header: Any, size: int, cells: int) -> None:
    model = header({"w": (size,)})
    plan = plan_of(method="linear", models=[model, model])
    assert (plan.rows[0].cells, plan.rows[0].cell) == (cells, CELL)


# Bytes


def test_bytes_count_every_reading(plan_of: Any, header: Any) -> None:
    tensors = {"w": ((3 * CELL,), "BF16"), "v": ((10,), "F32")}
    model = header(tensors)
    nbytes = 2 * 3 * CELL + 40
    plan = plan_of(method="linear", models=[model, header(tensors)])
    assert (plan.bytes_read, plan.bytes_written) == (2 * nbytes, nbytes)
    plan = plan_of(method="slerp", models=[model, header(tensors)])
    assert plan.bytes_read == 2 * (2 * 2 * 3 * CELL + 40)  # what fits into a cell is read once
    plan = plan_of(method="slerp", models=[model, header(tensors)], parameters={"scope": "model"})
    assert plan.bytes_read == 2 * 2 * nbytes
    plan = plan_of(method="ties", models=[model, header(tensors)], base=header(tensors))
    assert plan.bytes_read == 5 * 3 * nbytes
    assert [plan.passes(row.jobs[0]) for row in plan.rows] == [5, 5]


def test_bytes_written_are_of_the_output_type(plan_of: Any, header: Any) -> None:
    model = header({"w": ((10,), "F32")})
    assert plan_of(method="linear", models=[model], output=Output(dtype="bfloat16")).bytes_written == 20

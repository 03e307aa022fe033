"""Rules for single tensors: which one holds, and what it changes."""

from typing import Any

import pytest

from cuvee.errors import PlanError
from cuvee.recipe.rule import Rule
from plan.llama import LLAMA, UP


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
    assert (job.method.name, job.labels, job.moves, job.reason) == ("copy", ("b",), True, "")
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


def test_rule_that_names_a_method_has_the_last_word(plan_of: Any, header: Any, job_of: Any) -> None:
    model = header({"bn.running_mean": (2,), "inv_freq": (2,), "ids": ((2,), "I64")})
    plan = plan_of(method="slerp", models=[model, model], tensors=[Rule(match=("*",), method="mlerp")])
    assert [job_of(plan, name).method.name for name in model.header] == ["mlerp", "mlerp", "copy"]


def test_work_that_is_the_same_for_many_tensors_is_done_once(
    plan_of: Any, llamas: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []
    matches = Rule.matches
    monkeypatch.setattr(Rule, "matches", lambda rule, name: asked.append((id(rule), name)) or matches(rule, name))
    rules = [Rule(match=("*.0.*",), parameters={"weight": 2}), Rule(match=("*proj*",), parameters={"weight": 3})]
    plan = plan_of(method="linear", tensors=rules, **llamas)
    assert len(asked) == len(set(asked)) <= len(rules) * len(LLAMA)
    jobs = [row.jobs[0] for row in plan.rows]
    assert len({id(job.parameters) for job in jobs}) == len({job.parameters["weight"][0] for job in jobs})

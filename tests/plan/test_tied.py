"""Tied weights in a plan: merged once, written under every name; untied where the models disagree."""

from typing import Any

import pytest

from cuvee.recipe.rule import Rule

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
TIED = {EMBEDDING: (8, 4), "model.norm.weight": (4,)}
UNTIED = {**TIED, HEAD: (8, 4)}
SAYS_TIED = {"tie_word_embeddings": True, "architectures": ["LlamaForCausalLM"]}


def test_weight_that_no_model_stores_twice_is_not_written_twice(plan_of: Any, header: Any) -> None:
    model = header(TIED, config=SAYS_TIED)
    plan = plan_of(method="linear", models=[model, header(TIED, config=SAYS_TIED)])
    assert list(plan.outputs[0]) == list(TIED)
    assert plan.config == ({},)
    assert plan.warnings == ()


def test_shared_weight_in_memory_is_merged_once_and_written_under_both_names(
    plan_of: Any, header: Any, job_of: Any
) -> None:
    models = [header(UNTIED, shared=[[EMBEDDING, HEAD]]) for _ in range(2)]
    plan = plan_of(method="linear", models=models)
    assert [row.name for row in plan.rows] == list(TIED)
    assert [view.name for view in job_of(plan, EMBEDDING).outputs] == [EMBEDDING, HEAD]
    assert set(plan.outputs[0]) == set(UNTIED)
    assert (plan.bytes_read, plan.bytes_written) == (2 * 4 * 36, 4 * 68)


def test_second_name_is_not_written_if_the_donor_does_not_store_it(plan_of: Any, header: Any) -> None:
    models = [header(UNTIED, shared=[[EMBEDDING, HEAD]]) for _ in range(2)]
    plan = plan_of(method="task_arithmetic", models=models, base=header(TIED, config=SAYS_TIED))
    assert list(plan.outputs[0]) == list(TIED)
    assert plan.config == ({},)


@pytest.mark.parametrize("tied_first", [False, True])
def test_weight_tied_in_some_models_only_is_written_by_itself(
    plan_of: Any, header: Any, row_of: Any, tied_first: bool
) -> None:
    models = {"tied": header(TIED, config=SAYS_TIED), "untied": header(UNTIED)}
    if not tied_first:
        models = dict(reversed(models.items()))
    plan = plan_of(method="linear", models=models)
    assert set(plan.outputs[0]) == set(UNTIED)
    views = {item.label: item.view.name for item in row_of(plan, HEAD).inputs}
    assert views == {"tied": EMBEDDING, "untied": HEAD}
    assert plan.config == ({"tie_word_embeddings": False},)
    assert plan.warnings == (f"1 tensor tied in some models only, so written on their own: {HEAD}.",)


def test_rule_for_a_tied_name_follows_the_tensor_it_is_tied_to(plan_of: Any, header: Any, job_of: Any) -> None:
    models = [header(UNTIED, shared=[[EMBEDDING, HEAD]]) for _ in range(2)]
    plan = plan_of(method="linear", models=models, tensors=[Rule(match=(HEAD,), copy="m1")])
    assert job_of(plan, EMBEDDING).method.name == "linear"
    assert f"{HEAD} is tied to {EMBEDDING} and follows its rule." in plan.warnings


def test_weights_stored_twice_draw_the_same_masks(plan_of: Any, header: Any, job_of: Any) -> None:
    """What the configuration calls tied and the file stores twice must stay equal through a random merge."""
    sources = [header(UNTIED, config=SAYS_TIED) for _ in range(3)]
    plan = plan_of(method="dare_linear", models=sources[:2], base=sources[2])
    assert job_of(plan, EMBEDDING).stream == job_of(plan, HEAD).stream == EMBEDDING
    assert job_of(plan, "model.norm.weight").stream == "model.norm.weight"


def test_head_stored_beside_its_embedding_is_untied_if_it_is_made_otherwise(plan_of: Any, header: Any) -> None:
    tensors = {**UNTIED, "model.layers.0.up.weight": (4, 4)}
    models = {"a": header(tensors, config=SAYS_TIED), "b": header(tensors, config=SAYS_TIED)}
    ends = {label: [{"take": {"a": (0, 1)}}, {"take": {label: (0, 1)}}] for label in models}
    configs = {label: plan_of(method="copy", models=models, layers=layers).config for label, layers in ends.items()}
    assert configs == {"a": ({},), "b": ({"tie_word_embeddings": False},)}
    skipped = plan_of(method="linear", models=models, tensors=[Rule(match=(HEAD,), skip=True)])
    assert skipped.config == ({},)

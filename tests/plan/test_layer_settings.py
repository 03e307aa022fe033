"""What a configuration says of layers that are put together anew, and where it says so."""

from typing import Any

import pytest

from cuvee.plan.configuration import joined

LAYER = "self_attn.q_proj.weight"


def stack(prefix: str, count: int) -> dict[str, Any]:
    return {f"{prefix}.{i}.{LAYER}": (4, 4) for i in range(count)}


def stacked(plan_of: Any, models: dict[str, Any], slices: list[dict[str, Any]], name: str = "", **recipe: Any) -> Any:
    """Plan a stack whose slices say what they take."""
    layers = [{"take": take} for take in slices]
    return plan_of(method="copy", models=models, layers={name: layers} if name else layers, **recipe)


AHEAD = {"num_hidden_layers": 3, "num_nextn_predict_layers": 1, "layer_types": ["a", "b", "c"]}
"""Settings of a model of three layers, and one that predicts a second token."""


def test_layers_that_predict_further_tokens_are_not_counted(plan_of: Any, header: Any) -> None:
    models = {"m": header(stack("model.layers", 4), config=AHEAD)}
    plan = stacked(plan_of, models, [{"m": (0, 2)}, {"m": (1, 3)}, {"m": (1, 3)}])
    assert plan.config == (
        {"num_hidden_layers": 6, "num_nextn_predict_layers": 0, "layer_types": ["a", "b", "b", "c", "b", "c"]},
    )
    said = "num_hidden_layers says 3 where 'm' has 4 layers in 'model.layers'; it becomes 6, and the merge has 6."
    assert said in plan.warnings


def test_layers_that_predict_further_tokens_stay_what_they_are_at_the_end(plan_of: Any, header: Any) -> None:
    models = {"m": header(stack("model.layers", 4), config=AHEAD)}
    plan = stacked(plan_of, models, [{"m": (0, 2)}, {"m": (1, 4)}])
    assert plan.config == (
        {"num_hidden_layers": 4, "num_nextn_predict_layers": 1, "layer_types": ["a", "b", "b", "c"]},
    )
    said = "num_hidden_layers says 3 where 'm' has 4 layers in 'model.layers'; it becomes 4, and the merge has 5."
    assert said in plan.warnings


@pytest.mark.parametrize("config", [{"hidden_size": 4}, {"num_hidden_layers": 5, "n_layer": 6}])
def test_number_of_layers_that_is_nowhere_found_is_reported(plan_of: Any, header: Any, config: dict[str, Any]) -> None:
    models = {"m": header(stack("model.layers", 4), config=config)}
    plan = stacked(plan_of, models, [{"m": (0, 2)}])
    assert plan.config == ({},)
    assert (
        "The merge has 2 layers in 'model.layers', and no setting of the configuration, which comes from 'm', is known "
        "to say so. Check config.json before you load the merge."
    ) in plan.warnings


def test_first_model_may_lack_the_stack(plan_of: Any, header: Any) -> None:
    """Its configuration, with a list of no values, goes with the merge all the same."""
    other = {"model.norm.weight": (4,)}
    config = {"num_hidden_layers": 7, "layer_types": []}
    models = {
        "bare": header(other, config=config),
        "m": header(other | stack("model.layers", 4), config={"num_hidden_layers": 4}),
    }
    plan = stacked(plan_of, models, [{"m": (0, 2)}], "model.layers")
    assert plan.config == ({"num_hidden_layers": 2},)
    assert any(text.startswith("num_hidden_layers says 7 where 'bare' has 0 layers") for text in plan.warnings)


TEXT, SEEN = "model.language_model.layers", "model.vision_tower.vision_model.encoder.layers"


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        # Both say the same number.
        ({"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 4}}, TEXT, "text_config"),
        ({"text_config": {"num_hidden_layers": 4}, "vision_config": {"num_hidden_layers": 4}}, SEEN, "vision_config"),
        # The number of the text model's layers is that of another part only.
        ({"text_config": {"num_hidden_layers": 3}, "vision_config": {"num_hidden_layers": 4}}, TEXT, "text_config"),
        ({"text_config": {"num_hidden_layers": 4}, "qformer_config": {"num_hidden_layers": 4}}, TEXT, "text_config"),
        # Parts that both are called after what the name of the stack mentions.
        (
            {"encoder": {"num_hidden_layers": 4}, "decoder": {"num_hidden_layers": 4}},
            "decoder.encoder.layer",
            "decoder",
        ),
        (
            {"encoder": {"num_hidden_layers": 4}, "decoder": {"num_hidden_layers": 4}},
            "encoder.decoder.layer",
            "encoder",
        ),
    ],
)
def test_number_of_layers_is_that_of_the_part_that_the_stack_belongs_to(
    plan_of: Any, header: Any, config: dict[str, Any], name: str, expected: str
) -> None:
    models = {"m": header(stack(name, 4), config=config)}
    assert stacked(plan_of, models, [{"m": (0, 2)}]).config == ({expected: {"num_hidden_layers": 2}},)


def test_number_of_layers_stands_at_the_top_where_there_are_no_parts(plan_of: Any, header: Any) -> None:
    models = {"m": header(stack("vision_model.encoder.layers", 4), config={"num_hidden_layers": 4})}
    assert stacked(plan_of, models, [{"m": (0, 2)}]).config == ({"num_hidden_layers": 2},)


def test_number_of_layers_and_the_tie_change_in_one_part(plan_of: Any, header: Any) -> None:
    table, head = "model.language_model.embed_tokens.weight", "lm_head.weight"
    tensors = {table: (8, 4)} | stack(TEXT, 4)
    config = {"text_config": {"num_hidden_layers": 4, "tie_word_embeddings": True}}
    models = {"tied": header(tensors, config=config), "untied": header(tensors | {head: (8, 4)})}
    plan = stacked(plan_of, models, [{"tied": (0, 2)}, {"untied": (1, 2)}])
    assert plan.config == (
        {"tie_word_embeddings": False, "text_config": {"num_hidden_layers": 3, "tie_word_embeddings": False}},
    )


def test_layers_that_predict_further_tokens_are_counted_where_there_is_nothing_else(plan_of: Any, header: Any) -> None:
    models = {"m": header(stack("model.layers", 4), config=AHEAD)}
    (config,) = stacked(plan_of, models, [{"m": (3, 4)}]).config
    assert config["num_hidden_layers"] == 1


def test_later_change_of_one_setting_holds() -> None:
    assert joined({"a": 1, "b": {"c": 1, "d": 1}}, {"a": 2, "b": {"d": 2}}) == {"a": 2, "b": {"c": 1, "d": 2}}


@pytest.mark.parametrize(
    ("slices", "said"),
    [
        ([(0, 2), (1, 3)], None),
        ([(1, 3)], "no layer has it"),
        ([(1, 3), (0, 2)], "layer 2 has it"),
        ([(0, 2), (0, 3)], "layers 0, 2 have it"),
    ],
)
def test_what_only_the_first_layer_has_is_noted_where_it_does_not_stay_there(
    slices: list[tuple[int, int]], said: str | None, plan_of: Any, header: Any
) -> None:
    bias = "SelfAttention.relative_attention_bias.weight"
    tensors = stack("decoder.block", 3) | {f"decoder.block.0.{bias}": (4, 2)}
    plan = stacked(plan_of, {"m": header(tensors)}, [{"m": each} for each in slices])
    notes = [note for note in plan.warnings if "only the first has" in note]
    assert len(notes) == (said is not None)
    assert all(f"only the first has {bias}" in note and str(said) in note for note in notes)

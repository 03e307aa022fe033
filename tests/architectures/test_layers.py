"""Layers, stacks and depth from names."""

import pytest

from cuvee.architectures.layers import Layer, depth_of, layer_of, stacks

LAYERS = {
    "model.layers.11.self_attn.q_proj.weight": ("model.layers", 11, "self_attn.q_proj.weight"),
    "model.layers.3.mlp.experts.5.w1.weight": ("model.layers", 3, "mlp.experts.5.w1.weight"),
    "model.language_model.layers.0.input_layernorm.weight": (
        "model.language_model.layers",
        0,
        "input_layernorm.weight",
    ),
    "transformer.h.7.attn.c_attn.bias": ("transformer.h", 7, "attn.c_attn.bias"),
    "gpt_neox.layers.23.mlp.dense_h_to_4h.weight": ("gpt_neox.layers", 23, "mlp.dense_h_to_4h.weight"),
    "backbone.layers.0.mixer.A_log": ("backbone.layers", 0, "mixer.A_log"),
    "transformer.encoder.layers.4.mlp.weight": ("transformer.encoder.layers", 4, "mlp.weight"),
    "bert.encoder.layer.1.output.dense.bias": ("bert.encoder.layer", 1, "output.dense.bias"),
    "distilbert.transformer.layer.0.ffn.lin1.weight": ("distilbert.transformer.layer", 0, "ffn.lin1.weight"),
    "encoder.block.2.layer.1.DenseReluDense.wo.weight": ("encoder.block", 2, "layer.1.DenseReluDense.wo.weight"),
    "model.visual.blocks.31.attn.qkv.weight": ("model.visual.blocks", 31, "attn.qkv.weight"),
    "layers.0.weight": ("layers", 0, "weight"),
    "0.weight": ("", 0, "weight"),
    "layer3.5.conv2.weight": ("layer3", 5, "conv2.weight"),
    "down_blocks.0.attentions.1.transformer_blocks.2.ff.net.0.proj.weight": (
        "down_blocks",
        0,
        "attentions.1.transformer_blocks.2.ff.net.0.proj.weight",
    ),
}
OUTSIDE = {
    "model.embed_tokens.weight": 0.0,
    "model.language_model.embed_tokens.weight": 0.0,
    "transformer.wte.weight": 0.0,
    "transformer.wpe.weight": 0.0,
    "shared.weight": 0.0,
    "backbone.embeddings.weight": 0.0,
    "gpt_neox.embed_in.weight": 0.0,
    "bert.embeddings.LayerNorm.weight": 0.0,
    "bert.embeddings.position_ids": 0.0,
    "model.encoder.embed_positions.weight": 0.0,
    "model.encoder.layernorm_embedding.weight": 0.0,
    "visual.patch_embed.proj.weight": 0.0,
    "vision_model.pre_layrnorm.weight": 0.0,
    "vit.embeddings.cls_token": 0.0,
    "pos_embed": 0.0,
    "cls_token": 0.0,
    "register_tokens": 0.0,
    "conv1.weight": 0.0,
    "bn1.running_mean": 0.0,
    "stem.conv.weight": 0.0,
    "model.rotary_emb.inv_freq": 0.0,
    "encoder.relative_attention_bias.weight": 0.0,
    "model.norm.weight": 1.0,
    "transformer.ln_f.bias": 1.0,
    "encoder.final_layer_norm.weight": 1.0,
    "lm_head.weight": 1.0,
    "lm_head.decoder.weight": 1.0,
    "embed_out.weight": 1.0,
    "output.weight": 1.0,
    "cls.predictions.transform.LayerNorm.weight": 1.0,
    "bert.pooler.dense.weight": 1.0,
    "classifier.weight": 1.0,
    "fc.weight": 1.0,
    "score.weight": 1.0,
    "head.weight": 1.0,
    "model.visual.merger.norm.weight": 1.0,
    "vision_model.post_layernorm.weight": 1.0,
    "visual_projection.weight": 1.0,
    "logit_scale": 1.0,
    "a name nobody has used": 1.0,
}


@pytest.mark.parametrize("name", LAYERS)
def test_the_first_number_between_dots_is_the_layer(name: str) -> None:
    assert layer_of(name) == Layer(*LAYERS[name])


@pytest.mark.parametrize("name", [*OUTSIDE, "weights.0", "block1.conv2d.weight", "", "layers.0", "layers.٣.weight"])
def test_a_name_without_a_number_between_dots_is_outside_layers(name: str) -> None:
    assert layer_of(name) is None


def test_a_number_of_ten_digits_or_more_is_no_layer() -> None:
    assert layer_of(f"layers.{'9' * 5000}.weight") is None
    assert layer_of("layers.999999999.weight") == Layer("layers", 999999999, "weight")


def test_stacks_counts_the_layers_of_each_stack_in_the_order_of_mention() -> None:
    names = ["decoder.block.1.a", "encoder.block.0.a", "decoder.block.0.layer.7.a", "shared.weight", "1.weight"]
    assert list(stacks(names).items()) == [("decoder.block", 2), ("encoder.block", 1), ("", 2)]
    assert stacks([]) == {}


def test_depth_runs_from_0_to_1_over_each_stack() -> None:
    counts = {"encoder.block": 5, "decoder.block": 2}
    assert [depth_of(f"encoder.block.{i}.wi", counts) for i in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [depth_of(f"decoder.block.{i}.wi", counts) for i in range(2)] == [0.0, 1.0]


def test_a_single_layer_and_an_unknown_stack_stand_at_1() -> None:
    assert depth_of("layers.0.weight", {"layers": 1}) == 1.0
    assert depth_of("layers.0.weight", {}) == 1.0
    assert depth_of("layers.3.weight", {}) == 1.0


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_layers_the_name_says_whether_a_tensor_comes_before_or_after(name: str) -> None:
    assert depth_of(name, {"model.layers": 2}) == OUTSIDE[name]


def test_every_family_has_layers_and_depths_between_0_and_1(families) -> None:
    for class_name, family in families.items():
        counts = stacks(family.header)
        depths = [depth_of(name, counts) for name in family.header]
        assert counts, class_name
        assert min(depths) == 0.0, class_name
        assert max(depths) == 1.0, class_name

"""Roles from names, shapes and element types."""

import re

import pytest

from cuvee.architectures.layers import layer_of
from cuvee.architectures.roles import ROLES, Role, role_of
from cuvee.spec import DTYPES, TensorSpec

CASES: dict[Role, dict[str, tuple[int, ...]]] = {
    "matrix": {
        "model.layers.0.self_attn.q_proj.weight": (64, 64),
        "transformer.h.0.attn.c_attn.weight": (64, 192),
        "model.layers.0.mlp.gate_proj.weight": (128, 64),
        "model.layers.0.mlp.gate.weight": (128, 64),  # a gated MLP widens
        "model.layers.0.mlp.experts.5.w1.weight": (128, 64),
        "model.layers.0.mlp.experts.5.gate.weight": (32, 64),
        "model.layers.0.mlp.shared_experts.up_proj.weight": (128, 64),
        "model.layers.0.self_attn.gate.weight": (4, 64),
        "encoder.layers.0.mlp.experts.expert_3.wi.weight": (128, 64),
        "bert.pooler.dense.weight": (64, 64),
        "cls.predictions.transform.dense.weight": (64, 64),
        "classifier.dense.weight": (64, 64),
        "multi_modal_projector.linear_1.weight": (64, 32),
        "time_embedding.linear_1.weight": (64, 32),
        "vision_tower.head.attention.in_proj_weight": (192, 64),
        "vision_tower.head.attention.out_proj.weight": (64, 64),
        "decoder.lstm.weight_ih_l0": (256, 64),
        "0.weight": (8, 4),
        "layers.0.weight": (8, 4),
        "weight": (8, 4),
        "transformer.ffn.experts.mlp.weight": (8, 4),
    },
    "expert": {
        "model.layers.0.mlp.experts.gate_up_proj": (8, 128, 64),
        "model.layers.0.block_sparse_moe.input_linear.weight": (8, 128, 64),
        "model.layers.0.mlp.shared_experts.gate_proj": (2, 128, 64),
        "transformer.blocks.0.ffn.experts.mlp.w1": (1024, 64),
    },
    "router": {
        "model.layers.0.mlp.gate.weight": (8, 64),
        "model.layers.0.block_sparse_moe.gate.weight": (8, 64),
        "model.layers.0.feed_forward.router.weight": (8, 64),
        "model.layers.0.mlp.router.bias": (8,),
        "model.layers.0.mlp.gate.e_score_correction_bias": (8,),
        "model.layers.0.mlp.gate.wg.weight": (8, 64),
        "model.layers.0.mlp.shared_expert_gate.weight": (1, 64),
        "encoder.block.1.layer.1.mlp.router.classifier.weight": (8, 64),
    },
    "embedding": {
        "model.embed_tokens.weight": (100, 64),
        "transformer.wte.weight": (100, 64),
        "transformer.wpe.weight": (32, 64),
        "shared.weight": (100, 64),
        "transformer.w.weight": (100, 64),
        "bert.embeddings.token_type_embeddings.weight": (2, 64),
        "vit.embeddings.position_embeddings": (1, 17, 64),
        "vit.embeddings.cls_token": (1, 1, 64),
        "vision_model.embeddings.class_embedding": (64,),
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": (32, 4),
        "vision_encoder.layers.0.attn.rel_pos_h": (27, 16),
        "embeddings.0.weight": (100, 64),
    },
    "head": {
        "lm_head.weight": (100, 64),
        "embed_out.weight": (100, 64),
        "output.weight": (100, 64),
        "head.weight": (10, 64),
        "fc.weight": (10, 64),
        "score.weight": (2, 64),
        "classifier.weight": (2, 64),
        "classifier.1.weight": (2, 64),
        "classifier.out_proj.weight": (2, 64),
        "decode_head.classifier.weight": (2, 64, 1, 1),
        "cls.predictions.decoder.weight": (100, 64),
        "cls.seq_relationship.weight": (2, 64),
        "lm_head.decoder.weight": (100, 64),
        "qa_outputs.weight": (2, 64),
        "proj_out.weight": (100, 64),
        "pred_layer.proj.weight": (100, 64),
    },
    "conv": {
        "conv1.weight": (64, 3, 7, 7),
        "model.layers.0.mixer.conv1d.weight": (64, 1, 4),
        "visual.patch_embed.proj.weight": (64, 3, 2, 14, 14),
        "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original1": (64, 4, 16),
    },
    "norm": {
        "model.layers.0.input_layernorm.weight": (64,),
        "model.layers.0.self_attn.q_norm.weight": (16,),
        "transformer.ln_f.bias": (64,),
        "bert.embeddings.LayerNorm.gamma": (64,),
        "layer1.0.bn2.weight": (64,),
        "layer1.0.downsample.1.weight": (64,),
        "transformer_blocks.0.norm1.bias": (64,),
        "model.layers.0.mlp.gate.router_norm.weight": (64,),
    },
    "bias": {
        "transformer.h.0.attn.c_attn.bias": (192,),
        "lm_head.bias": (100,),
        "final_logits_bias": (1, 100),
        "vision_tower.head.attention.in_proj_bias": (192,),
        "model.layers.0.mlp.experts.gate_up_proj_bias": (8, 128),
        "layers.0.attn.relative_position_bias_table": (169, 3),
        "backbone.layers.0.mixer.dt_bias": (16,),
        "convnextv2.encoder.stages.0.layers.0.grn.bias": (1, 1, 1, 384),
    },
    "statistic": {
        "bn1.running_mean": (64,),
        "bn1.running_var": (64,),
        "encoder.global_mean": (80,),
        "encoder.global_invstd": (80,),
        "quantizer.layers.0.codebook.cluster_size": (1024,),
        "quantizer.layers.0.codebook.embed_avg": (1024, 128),
        "quantizer.layers.0.codebook.embed": (1024, 128),
        "encoder.act.x_min": (1,),
    },
    "buffer": {
        "model.layers.0.self_attn.rotary_emb.inv_freq": (32,),
        "transformer.h.0.attn.bias": (1, 1, 32, 32),
        "transformer.h.0.attn.masked_bias": (),
        "model.layers.0.self_attn.q_proj.input_min": (),
        "freqs_cis": (32, 2),
    },
    "other": {
        "logit_scale": (),
        "vit.layers.0.layer_scale1.lambda1": (64,),
        "beit.layers.0.lambda_1": (64,),
        "convnext.encoder.stages.0.layers.0.layer_scale_parameter": (64,),
        "backbone.layers.0.mixer.A_log": (64, 16),
        "backbone.layers.0.mixer.D": (64,),
        "model.layers.0.self_attn.sinks": (8,),
        "model.layers.3.cross_attn_attn_gate": (1,),
        "act.weight": (1,),
        "wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0": (1, 1, 16),
    },
}


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, names in CASES.items() for name in names])
def test_names_of_every_role_are_recognised(role: Role, name: str) -> None:
    assert role_of(name, TensorSpec(CASES[role][name], DTYPES["BF16"])) == role


def test_the_table_of_roles_is_tested_whole() -> None:
    assert set(CASES) == set(ROLES)


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES.values() if dtype.kind in ("integer", "boolean")])
def test_integers_and_booleans_are_buffers_whatever_their_name(dtype) -> None:
    for name in ("bn1.num_batches_tracked", "embeddings.position_ids", "lm_head.weight", "transformer.h.0.attn.bias"):
        assert role_of(name, TensorSpec((4, 4), dtype)) == "buffer"


def expected_by_class(module: str, name: str, spec: TensorSpec) -> set[Role] | None:
    """Roles that fit the class of the module that owns a tensor, or None where the class does not tell."""
    leaf, num_axes = name.rpartition(".")[2], len(spec.shape)
    layer = layer_of(name)
    is_outside = layer is None or "." not in layer.rest
    if spec.dtype.kind != "float":
        return {"buffer"}
    if leaf in ("running_mean", "running_var"):
        return {"statistic"}
    if re.search(r"Top[kK]Router$|Router$", module):
        return {"router"}
    if re.search(r"Embedding$", module) and leaf == "weight":
        return {"embedding"}
    if "Norm" in module and num_axes == 1:
        return {"norm"} if leaf == "weight" else {"norm", "bias"}
    if re.fullmatch(r"Conv(Transpose)?\dd", module) and leaf == "weight":
        return {"conv", "head"} if is_outside else {"conv"}
    if "Experts" in module and num_axes == 3:
        return {"expert"}
    if module in ("Linear", "Conv1D") and leaf == "weight":
        return {"matrix", "router", "head"} if is_outside else {"matrix", "router"}
    return {"bias"} if module in ("Linear", "Conv1D") else None


def test_roles_agree_with_the_classes_of_the_modules_of_real_models(families) -> None:
    wrong, judged = [], 0
    for class_name, family in families.items():
        for name, spec in family.header.items():
            expected = expected_by_class(family.modules[name], name, spec)
            judged += expected is not None
            if expected is not None and role_of(name, spec) not in expected:
                wrong.append((class_name, name, spec.shape, role_of(name, spec), expected))
    assert wrong == []
    assert judged > 4000


def test_every_model_with_a_head_shows_exactly_the_heads_it_has(families) -> None:
    heads = {
        class_name: [name for name, spec in family.header.items() if role_of(name, spec) == "head"]
        for class_name, family in families.items()
    }
    assert heads["LlamaForCausalLM"] == ["lm_head.weight"]
    assert heads["GPTNeoXForCausalLM"] in (["embed_out.weight"], ["lm_head.weight"])
    assert heads["BertForPreTraining"] == ["cls.predictions.decoder.weight", "cls.seq_relationship.weight"]
    assert heads["RobertaForMaskedLM"] == ["lm_head.decoder.weight"]
    assert heads["T5ForConditionalGeneration"] == ["lm_head.weight"]
    assert heads["WhisperForConditionalGeneration"] == ["proj_out.weight"]
    assert heads["ViTForImageClassification"] == ["classifier.weight"]
    assert heads["SegformerForSemanticSegmentation"] == ["decode_head.classifier.weight"]
    assert heads["CLIPModel"] == []

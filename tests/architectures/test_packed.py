"""Packed and scaled weights are refused by name; ordinary models pass."""

from collections.abc import Mapping

import pytest

from cuvee.architectures.packed import refuse_packed
from cuvee.errors import UnsupportedError
from cuvee.spec import DTYPES, Header, TensorSpec


def header(dtypes: Mapping[str, str]) -> Header:
    return {name: TensorSpec((8, 8), DTYPES[dtype]) for name, dtype in dtypes.items()}


LAYER = "model.layers.0.mlp.down_proj"

# Stored tensors -> (the tensor the message names, what it says of the cause).
PACKED: dict[str, tuple[dict[str, str], str, str]] = {
    "GPTQ": ({"qweight": "I32", "qzeros": "I32", "scales": "F16", "g_idx": "I32"}, "qweight", "GPTQ"),
    "only zeros": ({"qzeros": "I32"}, "qzeros", "GPTQ"),
    "only group indices": ({"g_idx": "I32"}, "g_idx", "GPTQ"),
    "AWQ, scales first": ({"scales": "F16", "qweight": "I32"}, "scales", "AWQ"),
    "MLX, scales first": ({"scales": "BF16", "biases": "BF16", "weight": "U32"}, "scales", "MLX"),
    "MLX": ({"weight": "U32", "scales": "BF16", "biases": "BF16"}, "weight", "integer weights"),
    "AQLM": ({"codes": "I16", "codebooks": "F16", "scales": "F16"}, "codebooks", "AQLM"),
    "VPTQ": ({"indices": "I16", "centroids": "F16"}, "centroids", "VPTQ"),
    "QuIP#": ({"Qidxs": "I64"}, "Qidxs", "QuIP"),
    "HQQ": ({"W_q": "U8"}, "W_q", "HQQ"),
    "FP8 of transformers": ({"weight": "F8_E4M3", "weight_scale_inv": "F32"}, "weight_scale_inv", "FP8"),
    "FP8 of compressed-tensors": ({"weight": "F8_E4M3", "weight_scale": "F32"}, "weight_scale", "FP8"),
    "FP8 of DeepSeek": ({"weight": "F8_E4M3", "scale": "F32"}, "scale", "8-bit"),
    "INT8 with scales": ({"scales": "F32", "weight": "I8"}, "scales", "8-bit"),
    "EETQ": ({"weight_scales": "F16"}, "weight_scales", "EETQ"),
    "compressed-tensors": ({"weight_packed": "I32", "weight_shape": "I64"}, "weight_packed", "compressed-tensors"),
    "compressed-tensors, shape": ({"weight_shape": "I64"}, "weight_shape", "compressed-tensors"),
    "compressed-tensors, zero points": ({"weight_zero_point": "I8"}, "weight_zero_point", "compressed-tensors"),
    "NVFP4": ({"weight_scale_2": "F32"}, "weight_scale_2", "NVFP4"),
    "NVFP4, global": ({"weight_global_scale": "F32"}, "weight_global_scale", "NVFP4"),
    "bitsandbytes INT8": ({"SCB": "F32", "weight": "I8"}, "SCB", "bitsandbytes"),
    "bitsandbytes format": ({"weight_format": "U8"}, "weight_format", "bitsandbytes"),
    "bitsandbytes NF4": ({"weight.absmax": "U8"}, "weight.absmax", "bitsandbytes"),
    "bitsandbytes nested": ({"weight.nested_absmax": "F32"}, "weight.nested_absmax", "bitsandbytes"),
    "bitsandbytes map": ({"weight.quant_map": "F32"}, "weight.quant_map", "bitsandbytes"),
    "bitsandbytes nested map": ({"weight.nested_quant_map": "F32"}, "weight.nested_quant_map", "bitsandbytes"),
    "bitsandbytes state": (
        {"weight.quant_state.bitsandbytes__nf4": "U8"},
        "weight.quant_state.bitsandbytes__nf4",
        "bitsandbytes",
    ),
    "torch.ao": ({"_packed_params._packed_params": "U8"}, "_packed_params._packed_params", "torch.ao"),
    "torchao": ({"_weight_qdata": "I8"}, "_weight_qdata", "torchao"),
    "torchao scale": ({"_weight_scale": "F32"}, "_weight_scale", "torchao"),
    "quanto": ({"weight._data": "I8"}, "weight._data", "quanto"),
    "quanto scale": ({"weight._scale": "F32"}, "weight._scale", "quanto"),
    "elements of 4 bits": ({"weight": "F4"}, "weight", "4 bits"),
    "elements of 6 bits": ({"weight": "F6_E2M3"}, "weight", "6 bits"),
    "scales as elements": ({"anything": "F8_E8M0"}, "anything", "8 bits"),
    "integers": ({"weight": "I8"}, "weight", "integer weights"),
}


@pytest.mark.parametrize("case", PACKED)
def test_packed_weights_are_refused_naming_source_tensor_and_cause(case: str) -> None:
    dtypes, tensor, cause = PACKED[case]
    stored = {"model.norm.weight": "BF16", **{f"{LAYER}.{leaf}": dtype for leaf, dtype in dtypes.items()}}
    with pytest.raises(UnsupportedError) as caught:
        refuse_packed(header(stored), {}, "model 'math'")
    message = str(caught.value)
    assert message.startswith(f"model 'math': {LAYER}.{tensor}: ")
    assert cause in message
    assert "Dequantise" in message


def test_the_blocks_of_gpt_oss_are_refused() -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    with pytest.raises(UnsupportedError, match=r"gate_up_proj_blocks: .*MXFP4"):
        refuse_packed(header({f"{name}_blocks": "U8", f"{name}_scales": "U8"}), {}, "m")


ADAPTERS = (
    "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
    "model.layers.0.self_attn.q_proj.lora_B.default.weight",
    "base_model.model.embed_tokens.lora_embedding_A",
    "model.layers.0.q_proj.lora_magnitude_vector",
    "unet.down_blocks.0.attn1.to_q.lora.down.weight",
    "lora_unet_down_blocks_0_attn1_to_q.lora_up.weight",
    "lora_te_text_model.hada_w1_a",
    "layers.0.lokr_w1",
    "base_model.model.layers.0.k_proj.ia3_l",
    "layers.0.q_proj.oft_r.default",
    "layers.0.q_proj.vera_lambda_b",
)


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_is_refused_as_one(name: str) -> None:
    with pytest.raises(UnsupportedError, match="an adapter, not a model") as caught:
        refuse_packed({name: TensorSpec((8, 4), DTYPES["F32"])}, {}, "my-lora")
    assert f"my-lora: {name}: " in str(caught.value)


def test_an_adapter_saved_inside_its_model_but_not_merged_is_refused() -> None:
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    stored = header({f"{module}.base_layer.weight": "F32", f"{module}.lora_A.default.weight": "F32"})
    with pytest.raises(UnsupportedError, match="an adapter"):
        refuse_packed(stored, {}, "m")


def test_low_rank_factors_that_belong_to_the_architecture_pass() -> None:
    refuse_packed(header({"q_proj.weight": "F32", "q_proj.lora_A.weight": "F32"}), {}, "m")
    jina = "layers.0.q_proj.parametrizations.weight"
    refuse_packed(header({f"{jina}.original": "F32", f"{jina}.0.lora_A": "F32"}), {}, "m")


INNOCENT = (
    *("logit_scale", "layers.0.layer_scale", "layers.0.layer_scale1.lambda1", "layers.0.lambda_1", "norm.scale"),
    *("layers.0.layer_scale_parameter", "attn.logit_scale", "self_attn.per_dim_scale", "altup.correct_output_scale"),
    *("quantizer.codevectors", "quantizer.layers.0.codebook.embed", "quant_conv.weight", "post_quant_conv.bias"),
    *(
        "self_attn.q_a_proj.weight",
        "self_attn.kv_b_proj.weight",
        "adapter.down.weight",
        "lora.weight",
        "codes",
        "indices",
    ),
    *(
        "word_embeddings.weight_scaling_factor",
        "softmax_scaling.scale",
        "decoder.scales",
        "vocoder.scale",
        "res_blocks",
    ),
    *("centroids", "layers.0.biases", "weight_g", "weight_v", "lab.scale", "blocks.0.scale", "upscale.weight"),
)


@pytest.mark.parametrize("name", INNOCENT)
def test_learned_scales_and_their_like_pass(name: str) -> None:
    module = name.rpartition(".")[0]
    beside = {f"{module}.weight": TensorSpec((8, 8), DTYPES["BF16"])}
    refuse_packed({name: TensorSpec((8,), DTYPES["F32"]), **beside}, {}, "m")


def test_eight_bit_floats_without_scales_and_integer_buffers_pass() -> None:
    refuse_packed(header({"weight": "F8_E4M3", "bias": "F8_E5M2", "position_ids": "I64", "mask": "BOOL"}), {}, "m")
    refuse_packed({"counter.weight": TensorSpec((1,), DTYPES["I64"])}, {}, "m")


def test_no_real_family_is_refused(families) -> None:
    assert len(families) >= 20
    for class_name, family in families.items():
        refuse_packed(family.header, family.config, class_name)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "'quantization_config' (gptq)"),
        ({"compression_config": {"format": "int-quantized"}}, "'compression_config' (int-quantized)"),
        ({"text_config": {"quantization_config": {"quant_method": "fp8"}}}, "'text_config.quantization_config' (fp8)"),
        ({"quantization_config": {"bits": 8}}, "'quantization_config' (method not named)"),
        ({"quantization_config": "int8"}, "'quantization_config' (method not named)"),
    ],
)
def test_a_configuration_that_speaks_of_quantisation_is_refused(config, said: str) -> None:
    with pytest.raises(UnsupportedError) as caught:
        refuse_packed(header({"weight": "BF16"}), config, "m")
    assert said in str(caught.value)
    assert "config.json" in str(caught.value)


def test_an_empty_quantization_config_passes() -> None:
    refuse_packed(
        header({"weight": "BF16"}), {"quantization_config": None, "text_config": {"quantization_config": {}}}, "m"
    )

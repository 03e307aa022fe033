"""Every kind of adapter on models of many families, compared with what peft merges it to.

peft adds and multiplies in float32, and we in float64 with one rounding at the end. An element of peft's is a sum of at
most five terms (the weight, and four products), each rounded; what it can be off by is a few units in the last place
of the largest of them, and these are no larger than some times the largest element of the merged tensor.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import IA3Config, LoraConfig

from cuvee.spec import DTYPES
from sources.adapter.adapters import MODELS, make, opened, read

UNIT = 2.0**-24
ODD = 37  # bytes; no multiple of an element, a row or a band


def lora(*modules: str, **options: Any) -> LoraConfig:
    """Configure LoRA of rank 4."""
    return LoraConfig(target_modules=list(modules), **{"r": 4, "lora_alpha": 6, **options})


def ia3(*modules: str, inputs: tuple[str, ...] = (), **options: Any) -> IA3Config:
    """Configure (IA)^3."""
    return IA3Config(target_modules=[*modules], feedforward_modules=[*inputs], **options)


PATTERNS = {
    "rank_pattern": {"q_proj": 2, "layers.1.mlp.up_proj": 3, "up_proj": 1},
    "alpha_pattern": {"^model.layers.0.*k_proj": 5, "v_proj": 1},
}
EXPERTS = ["mlp.experts.gate_up_proj", "experts.down_proj"]
CASES: dict[str, tuple[str, Any]] = {
    "linear, embedding, head": ("llama", lora("q_proj", "down_proj", "embed_tokens", modules_to_save=["lm_head"])),
    "scaled by the root of the rank": ("llama", lora("q_proj", "v_proj", use_rslora=True)),
    "patterns": ("llama", lora("q_proj", "k_proj", "v_proj", "up_proj", **PATTERNS)),
    "patterns and root": ("llama", lora("q_proj", "k_proj", "v_proj", "up_proj", use_rslora=True, **PATTERNS)),
    "magnitudes": ("llama", lora("q_proj", "k_proj", "embed_tokens", use_dora=True)),
    "tokens": ("llama", lora("q_proj", trainable_token_indices=[7, 3])),
    "tokens of two modules": (
        "llama",
        lora("q_proj", trainable_token_indices={"embed_tokens": [3, 1], "lm_head": [5]}),
    ),
    "orthogonal": ("llama", lora("q_proj", init_lora_weights="orthogonal")),
    "classifier": ("llama classifier", lora("q_proj", task_type="SEQ_CLS")),
    "transposed": ("gpt2", lora("c_attn", "c_proj", "c_fc")),
    "transposed, and not at last": ("gpt2, not tied", lora("attn.c_proj", "lm_head")),
    "transposed with magnitudes": ("gpt2", lora("c_attn", "attn.c_proj", "wte", use_dora=True)),
    "transposed, vectors": ("gpt2", ia3("c_attn", "attn.c_proj", "mlp.c_proj", inputs=("mlp.c_proj",))),
    "every bias": ("bert", lora("query", "word_embeddings", "dense", bias="all", task_type="SEQ_CLS")),
    "biases of both kinds": ("bert", lora("query", "dense", bias="lora_only", lora_bias=True)),
    "vectors on biases": ("bert", ia3("key", "value", "output.dense", inputs=("output.dense",), task_type="SEQ_CLS")),
    "encoder and decoder": ("t5", lora("q", "v", "wo", "shared")),
    "vectors": ("t5", ia3("k", "v", "wo", inputs=("wo",))),
    "experts kept apart": (
        "mixtral",
        lora("q_proj", "gate", target_parameters=EXPERTS, r=2, alpha_pattern={"experts.down_proj": 3, "gate": 5}),
    ),
    "experts kept apart, one parameter": ("mixtral", lora("q_proj", target_parameters=EXPERTS[1:], r=2)),
    "experts of two ranks": (
        "qwen3 moe",
        lora("q_proj", target_parameters=EXPERTS, r=2, rank_pattern={"experts.down_proj": 3}),
    ),
    "packed experts": ("gpt oss", lora("q_proj", target_parameters=EXPERTS, r=2)),
    "images": ("vit", lora("q_proj", "projection", "fc1", modules_to_save=["classifier"])),
    "images, magnitudes": ("vit", lora("q_proj", "projection", use_dora=True)),
    "convolutions": ("resnet", lora("convolution", modules_to_save=["classifier"])),
    "convolutions, magnitudes": ("resnet", lora("convolution", use_dora=True)),
    "convolutions, vectors on inputs": ("resnet", ia3("convolution", inputs=("convolution",))),
    "convolutions, vectors on outputs": ("resnet", ia3("convolution")),
    "sound": ("wav2vec2", lora("conv_layers.1.conv", "q_proj")),
    "sound, magnitudes": ("wav2vec2", lora("conv_layers.1.conv", "q_proj", use_dora=True)),
}


@pytest.mark.parametrize("case", CASES)
def test_tensors_are_what_peft_merges(case: str, tmp_path: Path) -> None:
    model, config = CASES[case]
    merged = make(tmp_path, MODELS[model], config)
    source = opened(f"{tmp_path / 'base'}+{tmp_path / 'adapter'}")
    base = opened(tmp_path / "base")
    assert source.header.keys() == merged.keys()
    changed = 0
    for name, expected in merged.items():
        found = read(source, name, ODD)
        atol = 16 * UNIT * float(expected.abs().max()) if expected.is_floating_point() else 0
        torch.testing.assert_close(found, expected, rtol=4 * UNIT, atol=atol, msg=lambda text, n=name: f"{n}: {text}")
        changed += not torch.equal(found, read(base, name))
    assert changed > 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_widened_before_it_is_merged(dtype: torch.dtype, tmp_path: Path) -> None:
    config = lora("q_proj", "embed_tokens", bias="none", modules_to_save=["lm_head"])
    merged = make(tmp_path, MODELS["llama"], config, dtype=dtype)
    source = opened(f"{tmp_path / 'base'}+{tmp_path / 'adapter'}")
    own = DTYPES["BF16" if dtype is torch.bfloat16 else "F16"]
    for name, expected in merged.items():
        spec = source.header[name]
        if any(word in name for word in ("q_proj", "embed_tokens", "lm_head")):
            assert (spec.dtype, spec.stored) == (DTYPES["F32"], own)
        else:
            assert (spec.dtype, spec.stored) == (own, None)
        atol = 16 * UNIT * float(expected.abs().max())
        torch.testing.assert_close(read(source, name, ODD).float(), expected, rtol=4 * UNIT, atol=atol)


def test_adapters_are_merged_one_after_the_other(tmp_path: Path) -> None:
    """The second one was trained on what the first one made; with magnitudes the order counts."""
    first = make(tmp_path / "one", MODELS["llama"], lora("q_proj", "k_proj"))
    again = lambda: MODELS["llama"]().from_pretrained(tmp_path / "one" / "merged")  # noqa: E731
    merged = make(tmp_path / "two", again, lora("q_proj", "up_proj", use_dora=True), seed=1)
    source = opened(f"{tmp_path}/one/base+{tmp_path}/one/adapter+{tmp_path}/two/adapter")
    assert any(not torch.equal(first[name], merged[name]) for name in merged)
    for name, expected in merged.items():
        atol = 32 * UNIT * float(expected.abs().max())
        torch.testing.assert_close(read(source, name), expected, rtol=8 * UNIT, atol=atol)

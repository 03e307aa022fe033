"""Tiny models of real families, remade from a seed: a base, what was trained from it, and relatives that merge badly.

The shapes and the files are those of transformers; the weights are drawn here, tensor by tensor, so that they depend on
nothing but seed, family, variant and name. Knows nothing about merging.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
import wordings
from numpy.typing import NDArray
from streams import stream
from transformers import (
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
)

__all__ = ["ADAPTERS", "FAMILIES", "LAYERS", "VARIANTS", "Family", "Variant", "make", "make_adapter"]

transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]

Config = Callable[[int, int, bool], PreTrainedConfig]
CONFIGS: Any = transformers  # the types of what its configurations take are not told

LAYERS, DEEP = 3, 4
WIDTH, HEADS, INNER, EXPERTS = 16, 4, 24, 3
SPREAD, STEP = 0.1, 0.02  # of a base's weights, and of what training changes
GRID = 1 / 128  # training that moves weights by few different amounts: many are equally long


@dataclass(frozen=True)
class Family:
    """An architecture in miniature.

    Attributes:
        config: makes the configuration, given the number of layers, of rows, and whether head and embedding are tied.
        auto: the class that makes its models.
        ties: whether head and embedding may be tied and untied.
        reads_text: whether it has a tokenizer.
        relays: whether its files may have the library's old names, or those it has in memory; experts lie one by one
            in the one and packed in the other.
        in_memory: its files have the names in memory, and a relaid variant the old ones.
        lacks: whether its models may do without biases, by settings of their configuration.
        stacks: whether the reference knows it as one stack of layers.
        adapts: names of the modules that adapters are put on.
    """

    config: Config
    auto: Any
    ties: bool = True
    reads_text: bool = True
    relays: bool = False
    in_memory: bool = False
    lacks: bool = False
    stacks: bool = True
    adapts: tuple[str, ...] = ("q_proj", "down_proj")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a model differs from its base.

    Attributes:
        trained: seed of the training; 0 is the base itself.
        layers: number of layers.
        vocabulary: name of its vocabulary.
        padding: rows of the embedding beyond the vocabulary.
        flipped: tied where the base is not, and the other way round.
        relaid: the file has the other names.
        coarse: training moved weights by few different amounts, and some tensors not at all.
        bare: has no biases, where the family may lack them.
    """

    trained: int = 0
    layers: int = LAYERS
    vocabulary: str = "plain"
    padding: int = 0
    flipped: bool = False
    relaid: bool = False
    coarse: bool = False
    bare: bool = False


VARIANTS: Mapping[str, Variant] = {
    "base": Variant(),
    "one": Variant(trained=1),
    "two": Variant(trained=2),
    "three": Variant(trained=3),
    "coarse": Variant(trained=4, coarse=True),
    "coarser": Variant(trained=5, coarse=True),
    "deep": Variant(trained=6, layers=DEEP),
    "flipped": Variant(trained=7, flipped=True),
    "padded": Variant(trained=8, padding=5),
    "longer": Variant(trained=9, vocabulary="longer"),
    "shuffled": Variant(trained=10, vocabulary="shuffled"),
    "relaid": Variant(trained=11, relaid=True),
    "bare": Variant(trained=12, bare=True),
    "barer": Variant(trained=13, bare=True),
}
ADAPTERS = ("adapter", "adapter-stable")


def _decoder(make_config: Callable[..., PreTrainedConfig], tied: bool = False, **extra: Any) -> Config:
    """Configure a decoder in the manner of LLaMA, with grouped keys and values."""

    def config(layers: int, rows: int, flipped: bool) -> PreTrainedConfig:
        return make_config(
            vocab_size=rows, hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=layers,
            num_attention_heads=HEADS, num_key_value_heads=2, max_position_embeddings=32, bos_token_id=1,
            eos_token_id=2, pad_token_id=0, tie_word_embeddings=tied != flipped, **extra,
        )  # fmt: skip

    return config


def _bert(layers: int, rows: int, flipped: bool) -> Any:
    return CONFIGS.BertConfig(
        vocab_size=rows, hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=HEADS,
        intermediate_size=INNER, max_position_embeddings=32, tie_word_embeddings=not flipped,
    )  # fmt: skip


def _gpt2(layers: int, rows: int, flipped: bool) -> Any:
    return CONFIGS.GPT2Config(
        vocab_size=rows, n_embd=WIDTH, n_layer=layers, n_head=HEADS, n_positions=32, n_inner=INNER,
        tie_word_embeddings=not flipped, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def _t5(layers: int, rows: int, flipped: bool) -> Any:
    return CONFIGS.T5Config(
        vocab_size=rows, d_model=WIDTH, d_kv=4, d_ff=INNER, num_layers=layers, num_decoder_layers=2, num_heads=HEADS,
        tie_word_embeddings=not flipped, decoder_start_token_id=0, feed_forward_proj="gated-gelu",
    )  # fmt: skip


def _vit(layers: int, rows: int, flipped: bool) -> Any:
    assert rows > 0
    assert not flipped
    return CONFIGS.ViTConfig(
        hidden_size=WIDTH, num_hidden_layers=layers, num_attention_heads=HEADS, intermediate_size=INNER, image_size=8,
        patch_size=4, num_labels=5,
    )  # fmt: skip


_MOE: Mapping[str, Any] = {
    "num_experts": EXPERTS,
    "moe_intermediate_size": INNER,
    "num_experts_per_tok": 2,
    "head_dim": 8,
}
_CAUSAL = AutoModelForCausalLM

FAMILIES: Mapping[str, Family] = {
    "llama": Family(_decoder(transformers.LlamaConfig), _CAUSAL),
    "mistral": Family(_decoder(transformers.MistralConfig), _CAUSAL),
    "qwen2": Family(_decoder(transformers.Qwen2Config, tied=True), _CAUSAL),
    "qwen3": Family(_decoder(transformers.Qwen3Config, tied=True, head_dim=8), _CAUSAL),
    "gemma": Family(_decoder(transformers.GemmaConfig, tied=True, head_dim=8), _CAUSAL, ties=False),
    "gemma2": Family(_decoder(transformers.Gemma2Config, tied=True, head_dim=8), _CAUSAL),
    "granite": Family(
        _decoder(transformers.GraniteConfig, attention_bias=True, mlp_bias=True), _CAUSAL, lacks=True
    ),
    "phi3": Family(_decoder(transformers.Phi3Config), _CAUSAL, ties=False, adapts=("qkv_proj", "down_proj")),
    "gpt2": Family(_gpt2, _CAUSAL, adapts=("c_attn", "c_fc")),
    "bert": Family(_bert, AutoModelForSequenceClassification, ties=False, adapts=("query", "value")),
    "bert-words": Family(_bert, AutoModelForMaskedLM, ties=False, adapts=("query", "value")),
    "mixtral": Family(
        _decoder(transformers.MixtralConfig, num_local_experts=EXPERTS), _CAUSAL, relays=True,
        adapts=("q_proj", "o_proj"),
    ),
    "qwen3-moe": Family(
        _decoder(transformers.Qwen3MoeConfig, **_MOE), _CAUSAL, relays=True, adapts=("q_proj", "o_proj")
    ),
    "t5": Family(_t5, AutoModelForSeq2SeqLM, stacks=False, ties=False, adapts=("q", "wo")),
    "vit": Family(
        _vit, AutoModelForImageClassification, ties=False, reads_text=False, relays=True, in_memory=True,
        adapts=("q_proj", "v_proj"),
    ),
}  # fmt: skip


def make(folder: Path, family: str, variant: str, dtype: str, seed: int) -> None:
    """Write a model.

    Args:
        folder: where to.
        family: a key of `FAMILIES`.
        variant: a key of `VARIANTS`.
        dtype: type of the weights on disk: ``float32``, ``bfloat16`` or ``float16``.
        seed: of the weights of the whole family.
    """
    kind, how = FAMILIES[family], VARIANTS[variant]
    words = wordings.VOCABULARIES[how.vocabulary]
    config = kind.config(how.layers, len(words) + how.padding, how.flipped)
    if how.bare:
        config.attention_bias = config.mlp_bias = False
    with torch.device("meta"):
        model = kind.auto.from_config(config)
    model = model.to_empty(device="cpu").to(getattr(torch, dtype))
    model.tie_weights()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(torch.from_numpy(_weights(family, how, name, tuple(weight.shape), seed)))
    model.save_pretrained(folder, save_original_format=how.relaid == kind.in_memory)
    if kind.reads_text:
        wordings.save(how.vocabulary, folder, template="padded" in variant)


def make_adapter(folder: Path, base: Path, family: str, name: str, seed: int) -> None:
    """Write an adapter of rank 2.

    Args:
        folder: where to.
        base: the model it was trained on.
        family: a key of `FAMILIES`.
        name: one of `ADAPTERS`.
        seed: of its factors.
    """
    import peft  # slow to import, and few configurations need it

    model = FAMILIES[family].auto.from_pretrained(base)
    config = peft.LoraConfig(
        r=2, lora_alpha=3, target_modules=list(FAMILIES[family].adapts), use_rslora=name == "adapter-stable"
    )
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():
        for key, weight in adapted.named_parameters():
            if "lora_" in key:
                weight.copy_(torch.from_numpy(0.3 * stream(seed, family, name, key).standard_normal(weight.shape)))
    adapted.save_pretrained(str(folder))


def _weights(family: str, how: Variant, name: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Draw a tensor: as the base has it, plus what training changed."""
    whole = (64, *shape[1:]) if 32 <= shape[0] < 64 else shape  # tables that differ in rows begin alike
    base = SPREAD * stream(seed, family, "base", name).standard_normal(whole)
    if "norm" in name.lower() or name.endswith("ln_f.weight"):
        base = base + 1
    if not how.trained:
        return base[: shape[0]]
    draws = stream(seed, family, str(how.trained), name)
    change = STEP * draws.standard_normal(whole)
    if how.coarse:
        base, change = np.round(base / GRID) * GRID, np.round(change / GRID) * GRID
        change = change * (draws.random() < 0.8)
    return (base + change)[: shape[0]]

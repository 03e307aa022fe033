"""Tiny models of real families, built from configurations with fixed seeds: no download, milliseconds each.

A family's models have all that makes its checkpoints hard to merge (tied heads, biases, packed experts, an encoder and
a decoder) and nothing that makes them large.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
    T5Config,
)

VOCABULARY = 96
TOKENS = torch.tensor([[5, 17, 40, 63], [80, 9, 33, 2]])
"""Two sequences that every family can read."""

ONE_FILE = "5GB"
SHARDS = "16KB"
"""Values of `save_pretrained(max_shard_size=...)` that give these models one file, or several."""

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()


@dataclass(frozen=True)
class Family:
    """An architecture in miniature.

    Attributes:
        config: makes the configuration, given whether head and embedding are tied.
        auto: the class that loads its checkpoints.
        embedding: name of the input embedding.
        head: name of the head that may be tied to it.
        generates: whether it generates text.
    """

    config: Callable[[bool], PreTrainedConfig]
    auto: Any
    embedding: str
    head: str = "lm_head.weight"
    generates: bool = True


def _decoder(cls: type[PreTrainedConfig], **extra: Any) -> Callable[[bool], PreTrainedConfig]:
    """Configure a decoder in the manner of LLaMA, with grouped keys and values."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return lambda tied: cls(**sizes, **extra, tie_word_embeddings=tied)


FAMILIES: Mapping[str, Family] = {
    "llama": Family(_decoder(LlamaConfig), AutoModelForCausalLM, "model.embed_tokens.weight"),
    "qwen2": Family(_decoder(Qwen2Config), AutoModelForCausalLM, "model.embed_tokens.weight"),
    "qwen3": Family(_decoder(Qwen3Config, head_dim=8), AutoModelForCausalLM, "model.embed_tokens.weight"),
    "mixtral": Family(_decoder(MixtralConfig, num_local_experts=4), AutoModelForCausalLM, "model.embed_tokens.weight"),
    "gpt2": Family(
        lambda tied: GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=16,
            n_layer=2,
            n_head=4,
            n_positions=32,
            bos_token_id=1,
            eos_token_id=2,
            tie_word_embeddings=tied,
        ),
        AutoModelForCausalLM,
        "transformer.wte.weight",
    ),
    "t5": Family(
        lambda tied: T5Config(
            vocab_size=VOCABULARY,
            d_model=16,
            d_kv=4,
            d_ff=24,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            tie_word_embeddings=tied,
        ),
        AutoModelForSeq2SeqLM,
        "shared.weight",
    ),
    "bert": Family(
        lambda tied: BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=24,
            max_position_embeddings=32,
            tie_word_embeddings=tied,
        ),
        AutoModelForMaskedLM,
        "bert.embeddings.word_embeddings.weight",
        head="cls.predictions.decoder.weight",
        generates=False,
    ),
}


def build(family: str, *, tied: bool, dtype: torch.dtype = torch.float32, expert: int = 0) -> PreTrainedModel:
    """Make a model.

    Args:
        family: a key of `FAMILIES`.
        tied: whether head and embedding are one tensor.
        dtype: of all its weights.
        expert: 0 is the base; any other number the base, changed a little in every weight, each in its own way.
    """
    chosen = FAMILIES[family]
    torch.manual_seed(0)
    model = chosen.auto.from_config(chosen.config(tied))
    with torch.no_grad():
        noise = torch.Generator().manual_seed(expert)
        for parameter in model.parameters():  # a tied weight is one parameter
            if expert:
                parameter += 0.05 * torch.randn(parameter.shape, generator=noise)
    return model.to(dtype).eval()


def save(model: PreTrainedModel, folder: Path, max_shard_size: str = ONE_FILE) -> Path:
    """Save a model as `transformers` does, and return the folder."""
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    return folder


def load(family: str, folder: Path, **options: Any) -> PreTrainedModel:
    """Load a checkpoint as a user does; every weight must be found, and no other."""
    model, info = FAMILIES[family].auto.from_pretrained(folder, output_loading_info=True, **options)
    wrong = {what: names for what, names in info.items() if names}
    assert not wrong, wrong
    return model.eval()


def outputs(model: PreTrainedModel) -> torch.Tensor:
    """Run a model once; return its logits in float32."""
    inputs = {"input_ids": TOKENS}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = TOKENS
    with torch.no_grad():
        return model(**inputs).logits.float()

"""Adapters that peft makes of tiny models, random in every tensor, and what peft merges them to."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import peft
import safetensors.torch
import torch
import transformers
from transformers import PreTrainedModel

from cuvee.sources.open import open_source
from cuvee.spec import Source
from models import TOKENS  # noqa: F401 - importing models quiets transformers

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
BERT = {key: SIZES[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")}
GPT2 = {
    "vocab_size": 40,
    "n_embd": 16,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

OPENED: list[Source] = []

Make = Callable[[], PreTrainedModel]

MODELS: Mapping[str, Make] = {
    "llama": lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES)),
    "llama classifier": lambda: transformers.LlamaForSequenceClassification(transformers.LlamaConfig(**SIZES)),
    "gpt2": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)),
    "gpt2, not tied": lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, tie_word_embeddings=False)),
    "bert": lambda: transformers.BertForSequenceClassification(
        transformers.BertConfig(**BERT, num_attention_heads=2, max_position_embeddings=32)
    ),
    "t5": lambda: transformers.T5ForConditionalGeneration(
        transformers.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=24, num_layers=2, num_heads=2)
    ),
    "mixtral": lambda: transformers.MixtralForCausalLM(transformers.MixtralConfig(**SIZES, num_local_experts=4)),
    "qwen3 moe": lambda: transformers.Qwen3MoeForCausalLM(
        transformers.Qwen3MoeConfig(**SIZES, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=8, head_dim=8)
    ),
    "gpt oss": lambda: transformers.GptOssForCausalLM(
        transformers.GptOssConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2, head_dim=8)
    ),
    "vit": lambda: transformers.ViTForImageClassification(
        transformers.ViTConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=16,
            patch_size=4,
        )
    ),
    "resnet": lambda: transformers.ResNetForImageClassification(
        transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], num_labels=3)
    ),
    "wav2vec2": lambda: transformers.Wav2Vec2Model(
        transformers.Wav2Vec2Config(
            vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            conv_dim=(8, 8), conv_kernel=(3, 3), conv_stride=(2, 2), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        )
    ),
}  # fmt: skip


def make(
    folder: Path, model: Make, config: Any, *, dtype: torch.dtype = torch.float32, seed: int = 0
) -> Mapping[str, torch.Tensor]:
    """Write a base, an adapter on it, and what peft merges them to in float32.

    Args:
        folder: gets ``base``, ``adapter`` and ``merged``.
        model: makes the base.
        config: of the adapter.
        dtype: element type that the base is stored in; it is widened before it is merged.
        seed: of all that is random.

    Returns:
        The merged model's tensors, as saved.
    """
    torch.manual_seed(seed)
    with warnings.catch_warnings(action="ignore"):  # peft warns of what it decides by itself
        base = model().to(dtype)
        base.save_pretrained(folder / "base")
        adapted = peft.get_peft_model(base.to(torch.float32), config)
        randomise(adapted)
        adapted.save_pretrained(folder / "adapter")
        adapted.merge_and_unload().save_pretrained(folder / "merged")
    return safetensors.torch.load_file(folder / "merged" / "model.safetensors")


def opened(reference: str | Path) -> Source:
    """Open a source; it is closed when the test is over."""
    OPENED.append(open_source(reference))
    return OPENED[-1]


def read(source: Source, name: str, step: int = 0) -> torch.Tensor:
    """Read a tensor in pieces of `step` bytes; all at once for 0."""
    spec = source.header[name]
    data = np.empty(spec.nbytes, np.uint8)
    for start in range(0, spec.nbytes, step or spec.nbytes or 1):
        source.read_into(data[start : start + (step or spec.nbytes)].data, name, start)
    return torch.from_numpy(data).view(getattr(torch, spec.dtype.torch_name)).reshape(spec.shape)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Change the tensors of an adapter."""
    file = folder / "adapter_model.safetensors"
    safetensors.torch.save_file(change(safetensors.torch.load_file(file)), file)


def reconfigure(folder: Path, **fields: object) -> None:
    """Change the configuration of an adapter."""
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def randomise(model: torch.nn.Module) -> None:
    """Make every tensor of an adapter random, as training would: what peft begins with is zeros and copies."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter += 0.3 * torch.randn_like(parameter)
                if "magnitude" in name:
                    parameter.abs_().add_(0.1)

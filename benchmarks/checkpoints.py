"""Checkpoints to measure with: decoders of a chosen size with random weights, a base and models fine-tuned from it.

    python benchmarks/checkpoints.py --out bench --billions 1.1 --models 3 --seed 0

Tensors are named and shaped as in Llama and stored as bfloat16; with ``--tensors N`` they are that many, equally large,
and named as in a mixture of experts. A model is the base plus a small random difference, so its differences take few
values, many of them equal, as those of real fine-tuned models do.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from inputs import place

from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement

BASE, DIFFERENCE = 0.02, 0.002  # standard deviations
BLOCK = 1 << 21  # elements drawn at a time
SHARD_BYTES = 5_000_000_000
HEAD = 128  # elements in a head of attention
EXPERTS, EXPERT_HIDDEN = 64, 64  # experts in a layer, columns of their matrices

Shapes = Mapping[str, tuple[int, ...]]


def config(billions: float) -> dict[str, object]:
    """Return the configuration of a decoder of about this many parameters (in 10^9), shaped like those in use."""
    hidden = max(round((billions * 1e9 / 0.12) ** (1 / 3) / HEAD), 1) * HEAD  # about hidden / 100 layers
    if abs(billions - 1.1) < 0.05:  # that of TinyLlama
        hidden, inner, layers, kv = 2048, 5632, 22, 2
    else:
        inner, kv = round(hidden * 2.75 / 256) * 256, max(hidden // HEAD // 4, 1)
        per_layer = hidden * (2 * hidden + 2 * kv * HEAD + 3 * inner)
        layers = max(math.floor((billions * 1e9 - 2 * 32000 * hidden) / per_layer), 1)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // HEAD,
        "num_key_value_heads": kv,
        "head_dim": HEAD,
        "vocab_size": 32000,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def shapes(of: Mapping[str, object]) -> Shapes:
    """Return name and shape of every tensor of a decoder with this configuration."""
    hidden, inner, vocabulary, layers, kv = (
        int(str(of[key]))
        for key in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers", "num_key_value_heads")
    )
    layer = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (kv * HEAD, hidden),
        "self_attn.v_proj": (kv * HEAD, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
    }
    names: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for i in range(layers):
        names |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return names | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def expert_config() -> dict[str, object]:
    """Return as much of the configuration of a mixture of experts as a merge looks at."""
    return {
        "architectures": ["Qwen3MoeForCausalLM"],
        "model_type": "qwen3_moe",
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def expert_shapes(billions: float, num_tensors: int) -> Shapes:
    """Return name and shape of that many tensors of a mixture of experts, equally large but for the last norm."""
    num_matrices = max(num_tensors - 1, 1)
    rows = max(round(billions * 1e9 / num_matrices / EXPERT_HIDDEN), 1)
    names: dict[str, tuple[int, ...]] = {}
    for i in range(num_matrices):
        expert, part = divmod(i, 3)
        layer, expert = divmod(expert, EXPERTS)
        name = f"model.layers.{layer}.mlp.experts.{expert}.{('gate', 'up', 'down')[part]}_proj.weight"
        names[name] = (EXPERT_HIDDEN, rows) if part == 2 else (rows, EXPERT_HIDDEN)
    return names | {"model.norm.weight": (EXPERT_HIDDEN,)}


def write(folder: Path, names: Shapes, settings: Mapping[str, object], seed: int, model: int) -> None:
    """Write one checkpoint: the base (model 0), or a model that differs a little from it everywhere."""
    entries = [(name, TensorSpec(shape, DTYPES["BF16"])) for name, shape in names.items()]
    with SafetensorsWriter(folder, entries, Arrangement(shard_bytes=SHARD_BYTES)) as writer:
        writer.add_file("config.json", json.dumps(settings).encode())
        for k, (name, spec) in enumerate(entries):
            for offset in range(0, spec.size, BLOCK):
                count = min(BLOCK, spec.size - offset)
                values = _normal([seed, k, offset], count) * np.float32(BASE)
                if model:
                    values += _normal([seed, k, offset, model], count) * np.float32(DIFFERENCE)
                upper = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 is the upper half of float32
                writer.write_at(name, 2 * offset, upper.view(np.uint8).data)


def _normal(key: list[int], count: int) -> np.ndarray:
    return np.random.Generator(np.random.SFC64(key)).standard_normal(count, np.float32)


def make(folder: Path, names: Shapes, settings: Mapping[str, object], models: Iterable[int], seed: int) -> None:
    """Write models that are not there yet, 0 being the base."""
    missing = [model for model in models if not (folder / f"m{model}").exists()]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(lambda model: write(folder / f"m{model}", names, settings, seed, model), missing))


def main() -> None:
    """Read the options, write, and print the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="folder; the models go into one below it")
    parser.add_argument("--billions", type=float, default=1.1, help="parameters of each model, in 10^9")
    parser.add_argument("--models", type=int, default=3, help="besides the base")
    parser.add_argument("--tensors", type=int, help="a mixture of experts with this many tensors")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    settings = expert_config() if options.tensors else config(options.billions)
    names = expert_shapes(options.billions, options.tensors) if options.tensors else shapes(settings)
    folder = place(options.out, options.billions, options.tensors, options.seed)
    make(folder, names, settings, range(options.models + 1), options.seed)
    print(folder)


if __name__ == "__main__":
    main()

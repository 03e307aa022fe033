"""Checkpoints to measure with: decoders of a chosen size with random weights, a base and models fine-tuned from it.

    python benchmarks/checkpoints.py --out bench --billions 1.1 --models 3 --seed 0

Tensors are named and shaped as in Llama and stored as bfloat16. A model is the base plus a small random difference, so
its differences take few values, many of them equal, as those of real fine-tuned models do.
"""

import argparse
import json
import math
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter

BASE, DIFFERENCE = 0.02, 0.002  # standard deviations
BLOCK = 1 << 21  # elements drawn at a time
SHARD_BYTES = 5_000_000_000
HEAD = 128  # elements in a head of attention

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


def write(folder: Path, names: Shapes, seed: int, model: int, settings: Mapping[str, object] | None = None) -> None:
    """Write one checkpoint: the base (model 0), or a model that differs a little from it everywhere."""
    entries = [(name, TensorSpec(shape, DTYPES["BF16"])) for name, shape in names.items()]
    with SafetensorsWriter(folder, entries, SHARD_BYTES) as writer:
        writer.add_file("config.json", json.dumps(settings or config(0.1)).encode())
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


def make(root: Path, billions: float, models: Iterable[int], seed: int) -> Path:
    """Write models of this size that are not there yet, 0 being the base; return their folder."""
    settings = config(billions)
    folder = root / f"{billions:g}B-{seed}"
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        missing = [model for model in models if not (folder / f"m{model}").exists()]
        list(pool.map(lambda model: write(folder / f"m{model}", shapes(settings), seed, model, settings), missing))
    return folder


def main() -> None:
    """Read the options and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--billions", type=float, default=1.1)
    parser.add_argument("--models", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(make(options.out, options.billions, range(options.models + 1), options.seed))


if __name__ == "__main__":
    main()

"""What the documentation's examples run on: a folder with small checkpoints, and a registry that forgets."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

import cuvee
from cuvee.methods.declare import Method
from cuvee.writers.save import save_state_dict

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
WORDS = {word: i for i, word in enumerate([*SPECIAL, *(f"word{i}" for i in range(5, 16))])}
TOKENIZER = {"version": "1.0", "model": {"type": "WordLevel", "vocab": WORDS, "unk_token": "<unk>"}}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False}


def shapes() -> dict[str, tuple[int, ...]]:
    """Names as a language model of three layers has them, with a fused projection."""
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (16, 8)}
    for i in range(3):
        found[f"model.layers.{i}.self_attn.qkv_proj.weight"] = (24, 8)
        found[f"model.layers.{i}.self_attn.o_proj.weight"] = (8, 8)
        found[f"model.layers.{i}.mlp.up_proj.weight"] = (32, 8)
        found[f"model.layers.{i}.mlp.down_proj.weight"] = (8, 32)
        found[f"model.layers.{i}.input_layernorm.weight"] = (8,)
    return found | {"model.norm.weight": (8,), "lm_head.weight": (16, 8)}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints `base`, `math`, `code` and `chat`."""
    folder = tmp_path_factory.mktemp("docs")
    generator = torch.Generator().manual_seed(0)
    base = {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes().items()}
    files = {"config.json": json.dumps(CONFIG).encode(), "tokenizer.json": json.dumps(TOKENIZER).encode()}
    for label in ("base", "math", "code", "chat"):
        spread = 0.0 if label == "base" else 0.02
        state = {n: (t + spread * torch.randn(t.shape, generator=generator)).bfloat16() for n, t in base.items()}
        state["model.rotary_emb.inv_freq"] = torch.linspace(1, 0.1, 4)
        save_state_dict(folder / label, state, files=files)
    return folder


@pytest.fixture
def with_models(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the checkpoints below `models` and adapters of `base` below `adapters`."""
    shutil.copytree(models, tmp_path / "models")
    for label in ("math", "code"):
        folder = tmp_path / "adapters" / label
        folder.mkdir(parents=True)
        name = "base_model.model.model.layers.0.self_attn.o_proj.lora_"
        factors = {f"{name}A.weight": torch.ones(2, 8), f"{name}B.weight": torch.ones(8, 2)}
        safetensors.torch.save_file(factors, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 1}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def norm_clipping(forget: None) -> Iterator[Method]:
    """The method of the example, declared for one test."""
    spec = importlib.util.spec_from_file_location("norm_clipping", ROOT / "examples" / "norm_clipping.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["norm_clipping"] = module  # where its annotations and docstring are looked up
    spec.loader.exec_module(module)
    yield cuvee.methods()["norm_clipping"]
    del sys.modules["norm_clipping"]

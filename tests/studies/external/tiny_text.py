"""Language models of random weights that know a few words, and questions to them."""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, T5Config, T5ForConditionalGeneration

from studies.external.tiny_clip import make_tokenizer

__all__ = ["KINDS", "WORDS", "declared", "make_model", "make_questions"]

WORDS = ["<pad>", "<unk>", "<bos>", "one", "two", "plus", "is", "big", "small", "gross", "klein", "?", "yes", "no",
         "ja", "nein", ":", ".", "x", "y", "<eos>"]  # fmt: skip
KINDS = {"t5": "AutoModelForSeq2SeqLM", "llama": "AutoModelForCausalLM"}


def make_model(folder: Path, which: str) -> PreTrainedModel:
    """Write a model with its tokenizer, and return it."""
    torch.manual_seed(0)
    numbers = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": len(WORDS) - 1}
    if which == "t5":
        config = T5Config(
            d_model=16,
            d_kv=8,
            d_ff=32,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
            dropout_rate=0.0,
            **numbers,
        )
        model: PreTrainedModel = T5ForConditionalGeneration(config)
    else:
        size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        model = LlamaForCausalLM(
            LlamaConfig(**size, **numbers, bos_token_id=2, tie_word_embeddings=True, initializer_range=0.2)
        )
    model.eval().save_pretrained(folder)
    make_tokenizer(WORDS, with_end=which == "t5").save_pretrained(folder)
    return model


def make_questions(folder: Path, sizes: Sequence[int] = (16, 8, 8)) -> None:
    """Write examples: is a thing big? In two languages, as a choice and as an answer to write."""
    words = {"english": ("big", "small", "yes", "no"), "german": ("gross", "klein", "ja", "nein")}
    for a in ("choose", "write"):
        for b, (big, small, yes, no) in words.items():
            for split, size in zip(("train", "validation", "test"), sizes, strict=True):
                path = folder / f"{a}-{b}" / f"{split}.jsonl"
                path.parent.mkdir(parents=True, exist_ok=True)
                rows = []
                for i in range(size):
                    label = (i // 2) % 2
                    text = f"{'x' if i % 2 else 'y'} is {(small, big)[label]}"
                    rows.append({"text": text, "label": label, "answers": {"text": [(no, yes)[label]]}})
                path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def declared(which: str) -> dict[str, object]:
    """Return what of a declaration differs from the tiny one of words."""
    task = {"prompt": "{text} . big ?", "choices": ["no", "yes"], "answer": "label"}
    return {
        "axes": ["task", "language"],
        "cells": {
            "grid": {"a": ["choose", "write"], "b": ["english", "german"]},
            "held_in": [["choose", "english"], ["write", "german"]],
        },
        "examples": {"validation": [16, "ours"], "test": [16, "ours"]},
        "folder": "texts",
        "networks": {
            which: {
                "what": "a model",
                "kind": KINDS[which],
                "parameters": [5000, "ours"],
                "tokens": [8, "ours"],
                "dtype": "float32",
                "bases": {"strong": {"path": "model"}},
            }
        },
        "training": {
            "rate": [1e-2, "ours"],
            "batch": [8, "ours"],
            "steps": [120, "ours"],
            "every": 40,
            "patience": 3,
            "tunings": ["full", "lora", "ia3"] if which == "t5" else ["full", "lora"],
            "lora": {"rank": 2, "alpha": 4},
            "targets": ["q", "v"] if which == "t5" else ["q_proj", "v_proj"],
        },
        "scoring": {
            "kind": "text-to-text",
            "files": "{a}-{b}/{split}.jsonl",
            "length": 16,
            "generate": 3,
            "tasks": {"choose": task, "write": {"prompt": "{text} ?", "target": "{answers.text.0}", "metric": "squad"}},
        },
        "studies": {
            "compositional": {
                "counts": [2],
                "draws": 1,
                "seeds": 1,
                "methods": ["linear", "task_arithmetic"],
                "multitask": "all",
            }
        },
    }

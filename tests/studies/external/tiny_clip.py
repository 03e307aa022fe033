"""A CLIP of random weights that knows a few words, and images of plain colours with a little noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

__all__ = ["CLASSES", "DOMAINS", "declared", "make_clip", "make_images"]

CLASSES: Mapping[str, Sequence[str]] = {"warm": ["red", "orange", "pink"], "cold": ["blue", "pink", "green"]}
"""Pink is in both, as bandage and nail are in two categories of DomainNet."""
COLOURS = {"red": (220, 20, 20), "orange": (240, 150, 10), "pink": (250, 170, 190), "blue": (20, 30, 220),
           "green": (20, 200, 40)}  # fmt: skip
DOMAINS = ("bright", "dark")
WORDS = ["<pad>", "<unk>", "a", "photo", "of", "the", *COLOURS, *DOMAINS, "warm", "cold", "<bos>", "<eos>"]


def make_tokenizer(words: Sequence[str], *, with_end: bool = True) -> PreTrainedTokenizerFast:
    """Make a tokenizer that knows words; the end has the largest number, as in CLIP, and stands after each text."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    end = ("<eos>", list(words).index("<eos>"))
    begin = ("<bos>", list(words).index("<bos>"))
    tokenizer.post_processor = TemplateProcessing(
        single="<bos> $A <eos>" if with_end else "<bos> $A", special_tokens=[begin, end]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", bos_token="<bos>", eos_token="<eos>"
    )


def make_clip(folder: Path) -> CLIPModel:
    """Write a CLIP and return it."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    numbers = {"vocab_size": len(WORDS), "eos_token_id": len(WORDS) - 1, "bos_token_id": len(WORDS) - 2,
               "pad_token_id": 0}  # fmt: skip
    config = CLIPConfig(
        text_config={**size, **numbers, "max_position_embeddings": 16},
        vision_config={**size, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    model = CLIPModel(config).eval()
    torch.nn.init.normal_(model.text_model.embeddings.token_embedding.weight)  # so that words differ
    model.save_pretrained(folder)
    make_tokenizer(WORDS).save_pretrained(folder)
    return model


def make_images(folder: Path, count: int = 4) -> None:
    """Write images and lists of every domain and split, as DomainNet has them."""
    generator = torch.Generator().manual_seed(0)
    for domain in DOMAINS:
        for split in ("train", "validation", "test"):
            lines = []
            for number, (name, colour) in enumerate(COLOURS.items()):
                for i in range(count):
                    path = folder / domain / name / f"{split}-{i}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    values = torch.tensor(colour) * (1.0 if domain == "bright" else 0.4)
                    noise = torch.randint(-10, 10, (20, 24, 3), generator=generator)
                    pixels = (values + noise).clamp(0, 255).byte()
                    Image.fromarray(pixels.numpy()).save(path)
                    lines.append(f"{path.relative_to(folder)} {number}\n")
            (folder / f"{domain}_{split}_fold.txt").write_text("".join(lines))


def declared(**scoring: object) -> dict[str, object]:
    """Return what of a declaration differs from the tiny one of words."""
    return {
        "axes": ["category", "domain"],
        "cells": {
            "grid": {"a": list(CLASSES), "b": list(DOMAINS)},
            "held_in": [["warm", "bright"], ["cold", "dark"]],
        },
        "examples": {"validation": [12, "ours"], "test": [12, "ours"]},
        "folder": "images",
        "networks": {
            "clip": {
                "what": "a CLIP",
                "kind": "CLIPModel",
                "parameters": [7000, "ours"],
                "tokens": [5, "ours"],
                "dtype": "float32",
                "bases": {"strong": {"path": "clip"}},
            }
        },
        "training": {
            "rate": [1e-2, "ours"],
            "batch": [8, "ours"],
            "steps": [40, "ours"],
            "every": 10,
            "patience": 3,
            "tunings": ["full", "lora"],
            "lora": {"rank": 2, "alpha": 4, "dropout": 0.1},
            "targets": ["vision_model.encoder.layers.0.self_attn.q_proj", "visual_projection"],
        },
        "scoring": {
            "kind": "image-classification",
            "prompt": "a photo of a {class}",
            "lists": "{b}_{split}_fold.txt",
            "label": "folder",
            "head": "shared",
            "classes": {key: list(value) for key, value in CLASSES.items()},
            **scoring,
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

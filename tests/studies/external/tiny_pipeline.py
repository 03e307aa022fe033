"""A latent diffusion model of random weights, as diffusers writes it."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from studies.external.tiny_clip import CLASSES, DOMAINS, WORDS, make_tokenizer

__all__ = ["SIZE", "declared", "make_pipeline"]

SIZE = 16


def make_pipeline(folder: Path) -> UNet2DConditionModel:
    """Write a pipeline and return its U-Net."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16, attention_head_dim=2,
    )  # fmt: skip
    coder = AutoencoderKL(
        block_out_channels=(4, 8), norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
    )  # fmt: skip
    numbers = {"vocab_size": len(WORDS), "eos_token_id": len(WORDS) - 1, "bos_token_id": len(WORDS) - 2,
               "pad_token_id": 0}  # fmt: skip
    size = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    reader = CLIPTextModel(CLIPTextConfig(**size, **numbers, max_position_embeddings=12))
    unet.save_pretrained(folder / "unet")
    coder.save_pretrained(folder / "vae")
    reader.save_pretrained(folder / "text_encoder")
    make_tokenizer(WORDS).save_pretrained(folder / "tokenizer")
    DDIMScheduler(num_train_timesteps=20, clip_sample=False).save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    return unet


def declared(**scoring: object) -> dict[str, object]:
    """Return what of a declaration differs from the tiny one of words; the judge is in the folder of all models."""
    return {
        "axes": ["category", "domain"],
        "cells": {"grid": {"a": list(CLASSES), "b": list(DOMAINS)}, "held_in": [["warm", "bright"], ["cold", "dark"]]},
        "metric": {"name": "joint", "what": "A test."},
        "examples": {"validation": [12, "ours"], "test": [12, "ours"]},
        "folder": "images",
        "networks": {
            "net": {
                "what": "a U-Net",
                "kind": "StableDiffusionPipeline",
                "parameters": [30000, "ours"],
                "tokens": [64, "ours"],
                "dtype": "float32",
                "bases": {"strong": {"path": "pipeline"}},
            }
        },
        "training": {
            "rate": [1e-2, "ours"],
            "batch": [4, "ours"],
            "steps": [4, "ours"],
            "tunings": ["full", "lora"],
            "lora": {"rank": 2, "alpha": 4},
            "targets": ["to_q", "to_k", "to_v"],
        },
        "scoring": {
            "kind": "image-generation",
            "prompt": "a {b} {class}",
            "judge": "judge",
            "judged_a": "a photo of a {class}",
            "judged_b": "the {b}",
            "lists": "{b}_{split}_fold.txt",
            "steps": 3,
            "guidance": 2.0,
            "count": 6,
            "size": SIZE,
            "classes": {key: list(value) for key, value in CLASSES.items()},
            **scoring,
        },
        "studies": {
            "compositional": {
                "tunings": ["lora"],
                "counts": [2],
                "draws": 1,
                "seeds": 1,
                "methods": ["linear", "task_arithmetic"],
                "multitask": "none",
            }
        },
    }

"""Tiny models with tokenizers, to be scored: saved as a user would have them."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    ViTConfig,
    ViTForImageClassification,
)

import models

WORDS = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, models.VOCABULARY))]


def tokenizer(*, starts: bool = True, cls: bool = False, **options: object) -> PreTrainedTokenizerFast:
    """Make a tokenizer of one token per word."""
    made = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = WhitespaceSplit()
    if cls:
        made.post_processor = TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 1), ("</s>", 2)]
        )
    ends = {"bos_token": "<s>", "eos_token": "</s>"} if starts else {}
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", **ends, **options)


def save(model: PreTrainedModel, folder: Path, spoken: PreTrainedTokenizerFast | None = None) -> Path:
    """Save a model with a tokenizer."""
    (spoken or tokenizer()).save_pretrained(folder)
    return models.save(model, folder)


def language_model(folder: Path, family: str = "llama", *, expert: int = 0, tied: bool = True) -> Path:
    """Save a tiny model of a family."""
    return save(models.build(family, tied=tied, expert=expert), folder)


def classifier(folder: Path, *, seed: int = 0) -> Path:
    """Save a tiny BERT that tells three labels apart."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=models.VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, id2label={0: "bad", 1: "fair", 2: "good"}, initializer_range=0.5,
    )  # fmt: skip
    return save(BertForSequenceClassification(config), folder, tokenizer(cls=True, pad_token="<pad>"))


def lines(path: Path, rows: list[dict[str, object]]) -> Path:
    """Write a table as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def text(path: Path, count: int, seed: int = 0) -> Path:
    """Write a text of random words."""
    drawn = torch.randint(4, models.VOCABULARY, (count,), generator=torch.Generator().manual_seed(seed))
    path.write_text(" ".join(f"w{i}" for i in drawn.tolist()))
    return path


def image_classifier(folder: Path) -> Path:
    """Save a tiny ViT that tells cats from dogs, and its image processor."""
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        id2label={0: "cat", 1: "dog"}, initializer_range=0.5,
    )  # fmt: skip
    models.save(ViTForImageClassification(config), folder)
    settings = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 8, "width": 8}, "do_resize": False,
        "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder

"""A BERT of a few thousand random weights, in a folder as transformers writes it, to stand in for a real one."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

__all__ = ["write_tiny_bert"]

MARKS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = "abcdefghijklmnopqrstuvwxyzı.:'-"


def write_tiny_bert(folder: Path) -> Path:
    """Write it: word pieces are letters; it has a pooler and the buffer of old versions, as the real one has."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: i for i, piece in enumerate((*MARKS, *LETTERS, *(f"##{letter}" for letter in LETTERS)))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    tokenizer.save(str(folder / "tokenizer.json"))
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
    )
    (folder / "config.json").write_text(json.dumps({**config.to_dict(), "_name_or_path": "somewhere"}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = BertModel(config).state_dict()
    buffers = {"embeddings.position_ids": torch.arange(48)[None]}
    save_file({**weights, **buffers}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder

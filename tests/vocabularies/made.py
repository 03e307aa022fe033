"""Tokenizers of every kind, trained on a few words with the tokenizers library, and models for them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    BertTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    T5Tokenizer,
)

ENGLISH = ["the quick brown fox jumps over the lazy dog", "lower lowest newer newest wider", "hello world again"] * 2
GERMAN = ["der schnelle braune fuchs springt", "hallo welt immer wieder", "hello newest world the dog"] * 2
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
PLAIN = ["<unk>", "<s>", "</s>"]


def byte_level(words: Sequence[str], size: int = 285) -> Tokenizer:
    """BPE over bytes, as GPT-2's."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=PLAIN, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(words, trainer)
    return made


def bpe(words: Sequence[str], size: int = 60) -> Tokenizer:
    """BPE over characters, a sign for spaces, as Llama's."""
    made = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    made.decoder = decoders.Metaspace(prepend_scheme="always")
    made.train_from_iterator(words, trainers.BpeTrainer(vocab_size=size, special_tokens=PLAIN, show_progress=False))
    return made


def unigram(words: Sequence[str], size: int = 60) -> Tokenizer:
    """Pieces with scores, as T5's."""
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=PLAIN, unk_token="<unk>", show_progress=False)
    made.train_from_iterator(words, trainer)
    return made


def word_piece(words: Sequence[str], size: int = 70) -> Tokenizer:
    """Pieces of words, as BERT's."""
    made = Tokenizer(models.WordPiece(unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=PLAIN, show_progress=False)
    made.train_from_iterator(words, trainer)
    return made


KINDS: Mapping[str, Callable[[Sequence[str]], Tokenizer]] = {
    "byte-level BPE": byte_level,
    "BPE": bpe,
    "Unigram": unigram,
    "WordPiece": word_piece,
}
CLASSES: Mapping[str, type[PreTrainedTokenizerBase]] = {
    "byte-level BPE": GPT2Tokenizer,
    "BPE": LlamaTokenizer,
    "Unigram": T5Tokenizer,
    "WordPiece": BertTokenizer,
}


def words_only(words: Sequence[str]) -> Tokenizer:
    """Whole words, numbered as given, after the special tokens."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate([*PLAIN, *words])}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def tokenizer(
    made: Tokenizer, added: Sequence[str | AddedToken] = (), special: Sequence[str] = (), template: str | None = None
) -> PreTrainedTokenizerFast:
    """Give a tokenizer more tokens, and make it one of transformers."""
    made.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in [*PLAIN, *special]])
    made.add_tokens([AddedToken(word) if isinstance(word, str) else word for word in added])
    fast = PreTrainedTokenizerFast(tokenizer_object=made, **SPECIAL)
    fast.chat_template = template
    return fast


def save_model(
    folder: Path,
    fast: PreTrainedTokenizerBase | None,
    rows: int,
    *,
    seed: int = 0,
    width: int = 4,
    tied: bool = False,
    dtype: torch.dtype = torch.float32,
    **config: Any,
) -> dict[str, torch.Tensor]:
    """Save what there is of a model of tokens: embedding, head with a bias, and one matrix; return its tensors."""
    noise = torch.Generator().manual_seed(seed)
    shapes = {"model.embed_tokens.weight": (rows, width), "model.layers.0.mlp.up_proj.weight": (3, width)}
    if not tied:
        shapes |= {"lm_head.weight": (rows, width), "lm_head.bias": (rows,)}
    tensors = {name: torch.randn(shape, generator=noise).to(dtype) for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    said = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": rows,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": tied,
    }
    (folder / "config.json").write_text(json.dumps({**said, **config}))
    if fast is not None:
        fast.save_pretrained(folder)
    return tensors

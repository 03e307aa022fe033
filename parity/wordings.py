"""Small vocabularies, and tokenizers that are made of them. Knows nothing about models."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

__all__ = ["TEMPLATES", "VOCABULARIES", "save"]

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
PAIRS = ("th", "in", "er", "an")
MORE = ("ou", "st", "qu")
ADDED = ("<|user|>", "<|model|>")
SPACE = "Ġ"

VOCABULARIES: Mapping[str, Sequence[str]] = {
    "plain": (*SPECIAL, SPACE, *LETTERS, *PAIRS, "<|user|>"),
    "longer": (*SPECIAL, SPACE, *LETTERS, *PAIRS, "<|user|>", *MORE, "<|model|>"),
    "shuffled": (*SPECIAL, *LETTERS[::-1], SPACE, "<|model|>", *PAIRS[2:], *MORE[:1]),
}

TEMPLATES: Mapping[str, str] = {
    "plain": "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}",
    "other": "{% for message in messages %}<|user|>{{ message['content'] }}</s>{% endfor %}",
}


def save(name: str, folder: Path, *, template: bool = False) -> None:
    """Write a tokenizer.

    Args:
        name: a key of `VOCABULARIES`.
        folder: where to.
        template: give it a chat template as well.
    """
    words = VOCABULARIES[name]
    merges = [(word[0], word[1]) for word in words if len(word) == 2]
    ordinary = {word: index for index, word in enumerate(words) if word not in ADDED}
    ordinary |= {word: index for index, word in enumerate(words) if word in ADDED}
    tokenizer = Tokenizer(BPE(ordinary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE)
    tokenizer.decoder = decoders.Metaspace(replacement=SPACE)
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
    present = [word for word in ADDED if word in words]
    if present:
        fast.add_special_tokens({"additional_special_tokens": present})
    if template:
        fast.chat_template = TEMPLATES["other" if name == "shuffled" else "plain"]
    fast.save_pretrained(folder)
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]

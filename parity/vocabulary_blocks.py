"""Draws what a configuration says of vocabularies: tokenizer blocks, and chat templates."""

from typing import Any

from case import Cast, Document
from wordings import TEMPLATES

__all__ = ["add_vocabulary"]

TOKENS = ("th", "a", "<|model|>", "qu", "<s>", "<|user|>")
NEW = ("<new>", "<|tool|>")
BUILT_IN = ("chatml", "alpaca", "llama3", "mistral", "exaone")


def add_vocabulary(cast: Cast, document: Document) -> None:
    """Write a tokenizer block or its older form, and perhaps a chat template, into a document of the models form."""
    names = [one["model"] for one in document["models"]]
    if (base := document.get("base_model")) and base not in names:
        names.append(base)
    rng = cast.rng
    weights = (5, 3 if base else 0, 3, 1)  # without a base model the reference takes any for it (quirk Q4)
    source = rng.choices(("union", "base", rng.choice(names), None), weights)[0]
    if cast.often(0.25):
        document["tokenizer_source"] = source or "union"
    else:
        block: dict[str, Any] = {"source": source} if source else {}
        if cast.often(0.5):
            block["tokens"] = _tokens(cast, names)
        if cast.often(0.7 if any("/flipped-" in name for name in names) else 0.3):
            block["pad_to_multiple_of"] = rng.choice((4, 8, 16))
        document["tokenizer"] = block
    if cast.often(0.4):
        document["chat_template"] = rng.choice(("auto", rng.choice(BUILT_IN), TEMPLATES["other"]))


def _tokens(cast: Cast, names: list[str]) -> dict[str, Any]:
    rng, entries = cast.rng, {}
    for token in rng.sample(TOKENS, rng.randint(1, 2)):
        entry: dict[str, Any] = {"source": _source(cast, names, token)}
        if cast.often(0.4):
            entry["force"] = cast.often(0.8)
        entries[token] = entry
    if cast.often(0.3):
        entries[rng.choice(NEW)] = {"source": _source(cast, names, None)}
    return entries


def _source(cast: Cast, names: list[str], token: str | None) -> Any:
    name, kind = cast.rng.choice(names), cast.rng.random()
    if token is not None and kind < 0.4:
        return name
    if kind < 0.6:
        return {"kind": "zero"}
    if kind < 0.8:
        return {"kind": "model_token", "model": name, "token": "er"}
    return {"kind": "model_token", "model": name, "token_id": cast.rng.randint(4, 20)}

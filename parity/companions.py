"""Compares what stands beside the weights: configuration, tokenizer, chat template."""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from jinja2 import TemplateError
from tokenizers import Tokenizer
from transformers import AutoTokenizer

__all__ = ["compare_configs", "compare_tokenizers", "order_of"]

UNTOLD = ("transformers_version", "_name_or_path")
# What the reference leaves as the donor has it when layers are stacked, and what stands for the layers that there are.
STACKED = ("layer_types", "num_hidden_layers", "depth")
TALK = (
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Who?"},
    {"role": "assistant", "content": "Me."},
    {"role": "user", "content": "Why?"},
)
TEXTS = ("the quick brown fox", "inner than a <|user|> question", "<s>other</s>", "zz<|model|>er")


def compare_configs(reference: Path, ours: Path, donors: Sequence[Path], donor_is_settled: bool) -> str | None:
    """Compare ``config.json``.

    Args:
        reference: folder that the reference wrote.
        ours: folder that cuvee wrote.
        donors: the models, the one first that ours comes from.
        donor_is_settled: whether the reference has to take it from that one too (quirk Q4: else it takes any).

    Returns:
        The keys that differ; None if none does.
    """
    theirs, own = _json(reference / "config.json"), _json(ours / "config.json")
    differing = {key for key in {*theirs, *own} - set(UNTOLD) if _plain(theirs.get(key)) != _plain(own.get(key))}
    given = _json(donors[0] / "config.json") if donors else {}
    differing -= {key for key in STACKED if key in given and theirs.get(key) == given[key]}
    if theirs.get("dtype") == given.get("dtype"):
        differing.discard("dtype")  # the reference leaves it though types are mixed, and others written
    if not own.get("tie_word_embeddings", True) and theirs.get("tie_word_embeddings") is not False:
        differing.discard("tie_word_embeddings")  # ours says so where a head is written; the reference never does
    if not donor_is_settled and differing:
        given = [_json(folder / "config.json") for folder in donors]
        differing = {
            key
            for key in differing
            if own.get(key) != given[0].get(key) or theirs.get(key) not in [each.get(key) for each in given]
        }
    if not differing:
        return None
    said = ", ".join(f"{key}: {theirs.get(key)!r} became {own.get(key)!r}" for key in sorted(differing))
    return f"config.json differs from the reference's: {said}"


def compare_tokenizers(
    reference: Path, ours: Path, *, ids_are_settled: bool, base_is_settled: bool, template_is_settled: bool
) -> str | None:
    """Compare what two folders' tokenizers know and do.

    Args:
        reference: folder that the reference wrote.
        ours: folder that cuvee wrote.
        ids_are_settled: whether the same tokens have to have the same numbers (quirk Q4: a union's need not).
        base_is_settled: whether the tokenizer that the union begins with is (quirk Q4: without a base it is any), whose
            merges decide how text is cut.
        template_is_settled: whether the chat template is: with that tokenizer, or by the configuration.
    """
    there, here = ((folder / "tokenizer.json").exists() for folder in (reference, ours))
    if there != here:
        return f"tokenizer.json is {'missing' if there else 'there, and not in the reference'}"
    if not there:
        return None
    theirs, own = (_tokenizer(folder).backend_tokenizer for folder in (reference, ours))
    one, two = theirs.get_vocab(with_added_tokens=True), own.get_vocab(with_added_tokens=True)
    if set(one) != set(two):
        return f"tokens differ: missing {sorted(set(one) - set(two))}, added {sorted(set(two) - set(one))}"
    if ids_are_settled and one != two:
        moved = sorted(token for token in one if one[token] != two[token])
        return f"numbers of tokens differ: {moved[0]!r} is {one[moved[0]]} in the reference and {two[moved[0]]} in ours"
    for text in TEXTS if base_is_settled else ():
        if theirs.encode(text).tokens != own.encode(text).tokens:
            return (
                f"{text!r} becomes {theirs.encode(text).tokens} in the reference and {own.encode(text).tokens} in ours"
            )
    return _compare_special(reference, ours, template_is_settled)


def order_of(reference: Path, ours: Path) -> list[int] | None:
    """Return, for each row of the reference's tables, ours that belongs to the same token; None if they are the same.

    Rows beyond the vocabulary keep their place.
    """
    files = [folder / "tokenizer.json" for folder in (reference, ours)]
    if not all(file.exists() for file in files):
        return None
    one, two = (Tokenizer.from_file(str(file)).get_vocab(with_added_tokens=True) for file in files)
    if one == two or set(one) != set(two):
        return None
    return [two[token] for token, _ in sorted(one.items(), key=lambda pair: pair[1])]


def _compare_special(reference: Path, ours: Path, template_is_settled: bool) -> str | None:
    one, two = _json(reference / "tokenizer_config.json"), _json(ours / "tokenizer_config.json")
    for key in ("bos_token", "eos_token", "pad_token", "unk_token"):
        if _content(one.get(key)) != _content(two.get(key)):
            return f"{key} is {one.get(key)!r} in the reference and {two.get(key)!r} in ours"
    theirs, own = _template(reference, one), _template(ours, two)
    if template_is_settled and theirs != own and _spoken(reference, theirs) != _spoken(ours, own):
        return f"the chat template is {theirs!r} in the reference and {own!r} in ours"
    return None


def _template(folder: Path, config: Mapping[str, Any]) -> str | None:
    file = folder / "chat_template.jinja"
    text = file.read_text() if file.exists() else config.get("chat_template")
    return text.strip() if isinstance(text, str) else None


def _spoken(folder: Path, template: str | None) -> str | None:
    """Return what a template makes of a conversation, with a system's part if it takes one; None if of none."""
    if template is None:
        return None
    tokenizer = _tokenizer(folder)
    for talk in (TALK, TALK[1:]):
        with suppress(TemplateError):
            said = str(tokenizer.apply_chat_template(list(talk), chat_template=template, tokenize=False))
            # White space between turns, and whether a turn ends in a token, differ from the formats' own descriptions.
            return "".join(said.replace(tokenizer.eos_token or " ", "").split())
    return None


def _tokenizer(folder: Path) -> Any:
    """Load a tokenizer; of the configuration, which transformers may be unable to read, it needs a kind alone."""
    with TemporaryDirectory() as alone:
        for file in folder.iterdir():
            if file.suffix in (".json", ".txt", ".jinja"):
                shutil.copy(file, alone)
        config = _json(folder / "config.json")
        (Path(alone) / "config.json").write_text(json.dumps({"model_type": config.get("model_type")}))
        return AutoTokenizer.from_pretrained(alone)


def _plain(value: Any) -> Any:
    return value.removeprefix("torch.") if isinstance(value, str) else value


def _content(token: Any) -> Any:
    return token.get("content") if isinstance(token, Mapping) else token


def _json(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    values: dict[str, Any] = json.loads(file.read_text())
    return values

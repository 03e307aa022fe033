"""The files of a tokenizer that is made: those of its owner, changed where the vocabulary or the template has."""

from collections.abc import Collection, Mapping
from typing import Any

from cuvee.errors import PlanError
from cuvee.sources.strict_json import shown
from cuvee.tokenizers.reading import (
    ADDED,
    CONFIG,
    EXTRA,
    NAMED,
    SPECIALS,
    TOKENIZER,
    VOCABULARIES,
    as_json,
)
from cuvee.tokenizers.templates import JINJA, KEY, LEGACY
from cuvee.tokenizers.vocabulary import Made

__all__ = ["tokenizer_files"]

DECODER = "added_tokens_decoder"
MERGES = "merges.txt"
OF_OTHERS = ("tekken.json",)  # a whole tokenizer in another library's format


def tokenizer_files(made: Made, template: str | None = None) -> dict[str, bytes]:
    """Return the files of a vocabulary's tokenizer; those of its owner, byte by byte, where nothing changes.

    Args:
        made: the vocabulary.
        template: another chat template, which is put where transformers 5 keeps it; older places are cleared.

    Raises:
        PlanError: tokens have to be left out of a tokenizer whose model cannot do without them.
    """
    owner = made.owner
    files, settings = dict(owner.files), dict(owner.settings)
    if made.flags or made.lost:
        files, settings = _changed(made)
    if template is not None and template.strip() != (owner.template or "").strip():
        files.pop(LEGACY, None)
        files[JINJA] = template.encode()
        settings.pop(KEY, None)
    if settings != owner.settings:
        files[CONFIG] = as_json(settings)
    return files


def _changed(made: Made) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of a vocabulary that differs from its owner's, and what ``tokenizer_config.json`` is to say."""
    owner = made.owner
    files = {name: data for name, data in owner.files.items() if name not in OF_OTHERS}
    lost = {token for token in made.lost if token not in made.numbers}
    content = dict(owner.content)
    if made.lost:
        content["model"] = _without(content["model"], made.lost, owner.place)
        for name in (*VOCABULARIES, MERGES):
            files.pop(name, None)  # tokenizer.json says it all
    numbers = {token: number for token, number in made.numbers.items() if token in made.flags or token in owner.added}
    in_order = sorted(numbers.items(), key=lambda each: each[1])
    flags = {token: made.flags.get(token) or owner.flags[token] for token in numbers}
    content["added_tokens"] = [{"id": number, "content": token, **flags[token]} for token, number in in_order]
    files[TOKENIZER] = as_json(content)
    settings = _renamed(owner.settings, lost)
    if DECODER in settings:
        settings[DECODER] = {str(number): {"content": token, **flags[token]} for token, number in in_order}
    if SPECIALS in files:
        files[SPECIALS] = as_json(_renamed(owner.specials, lost))
    if ADDED in files:
        files[ADDED] = as_json(dict(in_order))
    return files, settings


def _without(model: Mapping[str, Any], lost: Collection[str], place: str) -> dict[str, Any]:
    """Return a tokenizer's model without some tokens, and without what makes them."""
    left = dict(model)
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        left["vocab"] = [piece for piece in vocabulary if piece[0] not in lost]
    else:
        left["vocab"] = {token: number for token, number in vocabulary.items() if token not in lost}
    unknown = _text(model.get("unk_token"))
    number = model.get("unk_id")
    if unknown in lost or (isinstance(number, int) and number >= len(left["vocab"])):
        raise PlanError(
            f"the tokenizer of {place} needs its token for what is unknown ({shown(unknown or number)}), for which the "
            "model has no row. Take another model's tokenizer.",
            ("tokenizer", "source"),
        )
    if isinstance(model.get("merges"), list):
        left["merges"] = [merge for merge in model["merges"] if not _makes(merge, model, lost)]
    return left


def _makes(merge: Any, model: Mapping[str, Any], lost: Collection[str]) -> bool:
    """Say whether a merge of BPE (a pair, or two words in one text) uses or makes a token that is left out."""
    pair = merge.split(" ", 1) if isinstance(merge, str) else merge
    if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(part, str) for part in pair):
        return False  # whoever loads the tokenizer refuses it
    first, second = pair
    prefix = str(model.get("continuing_subword_prefix") or "")
    return first in lost or second in lost or first + second.removeprefix(prefix) in lost


def _renamed(settings: Mapping[str, Any], lost: Collection[str]) -> dict[str, Any]:
    """Return settings that name no special token that is left out."""
    kept = dict(settings)
    for key in NAMED:
        if _text(kept.get(key)) in lost:
            del kept[key]
    for key in EXTRA:
        if isinstance(kept.get(key), list):
            kept[key] = [each for each in kept[key] if _text(each) not in lost]
        elif isinstance(kept.get(key), Mapping):
            kept[key] = {name: each for name, each in kept[key].items() if _text(each) not in lost}
    return kept


def _text(value: Any) -> str | None:
    """Return the text of a token that may be written with its flags."""
    text = value.get("content") if isinstance(value, Mapping) else value
    return text if isinstance(text, str) else None

"""A model's tokenizer, read from the files beside its weights as plain JSON. Makes nothing."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cuvee.errors import FormatError, SourceError
from cuvee.sources.strict_json import MAX_JSON_BYTES, parse_object, shown
from cuvee.spec import File
from cuvee.tokenizers.conversion import converted
from cuvee.tokenizers.templates import JINJA, LEGACY, template_in

__all__ = [
    "ADDED",
    "CONFIG",
    "EXTRA",
    "FILES",
    "FLAGS",
    "NAMED",
    "SPECIALS",
    "TOKENIZER",
    "VOCABULARIES",
    "Added",
    "Tokenizer",
    "as_json",
    "read_tokenizer",
]

TOKENIZER, CONFIG, SPECIALS, ADDED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
VOCABULARIES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt", "tekken.json")
FILES = frozenset(
    {TOKENIZER, CONFIG, SPECIALS, ADDED, JINJA, LEGACY, "merges.txt", "source.spm", "target.spm", *VOCABULARIES}
)
"""Files of a tokenizer, of those that travel with weights."""
NAMED = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
EXTRA = ("additional_special_tokens", "extra_special_tokens")
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
"""What can be said of an added token, and what holds where nothing is."""

MOST = 1 << 24
"""Numbers of tokens are below this: a hostile one must not make us allocate by its word."""

Added = Mapping[str, Any]
"""What a tokenizer says of an added token: `FLAGS`."""


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A tokenizer.

    Attributes:
        place: what to call it in messages.
        files: its files, by name.
        content: ``tokenizer.json``.
        settings: ``tokenizer_config.json``; empty if there is none.
        specials: ``special_tokens_map.json``; empty if there is none.
        ordinary: token to number, of the tokens of its model.
        added: token to number, of added tokens, in order of their numbers; some may be ordinary as well.
        flags: what is said of each added token.
        template: its chat template, if it has one.
    """

    place: str
    files: Mapping[str, bytes]
    content: Mapping[str, Any]
    settings: Mapping[str, Any]
    specials: Mapping[str, Any]
    ordinary: Mapping[str, int]
    added: Mapping[str, int]
    flags: Mapping[str, Added]
    template: str | None

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """Token to number, of all tokens."""
        return {**self.ordinary, **self.added}

    @cached_property
    def tokens(self) -> Mapping[int, str]:
        """Number to token, of all tokens."""
        return {number: token for token, number in self.numbers.items()}


def read_tokenizer(sidecars: Mapping[str, File], place: str) -> Tokenizer | None:
    """Read the tokenizer that travels with a model's weights.

    Args:
        sidecars: the files beside the weights.
        place: what to call the model in messages.

    Returns:
        The tokenizer; None if the model has none.

    Raises:
        SourceError: a file cannot be read.
        FormatError: a file is not what a tokenizer's is.
        MissingLibraryError: only other libraries' files are there, and transformers is not installed.
    """
    files = {name: _read(file) for name, file in sidecars.items() if name in FILES}
    if TOKENIZER not in files:
        if not any(name in files for name in VOCABULARIES):
            return None
        config = {name: _read(sidecars[name]) for name in ("config.json",) if name in sidecars}
        files[TOKENIZER] = converted(files | config, place)
    content = parse_object(files[TOKENIZER], f"{place}: {TOKENIZER}")
    settings, specials, beside = (
        parse_object(files[name], f"{place}: {name}") if name in files else {} for name in (CONFIG, SPECIALS, ADDED)
    )
    ordinary = _ordinary(content.get("model"), place)
    flags, added = _added(content, settings, beside, place)
    _add_named(ordinary, flags, added, settings, specials)
    return Tokenizer(
        place=place,
        files=files,
        content=content,
        settings=settings,
        specials=specials,
        ordinary=ordinary,
        added=dict(sorted(added.items(), key=lambda each: each[1])),
        flags=flags,
        template=template_in(files, settings, place),
    )


def _read(file: File) -> bytes:
    """Read one file."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SourceError(f"{file} cannot be read: {error.strerror}.") from error
    if len(data) > MAX_JSON_BYTES:
        raise FormatError(f"{file} has {len(data):,} bytes; a tokenizer's file of at most {MAX_JSON_BYTES:,} is read.")
    return data


def _ordinary(model: object, place: str) -> Mapping[str, int]:
    """Return the vocabulary of a tokenizer's model: an object, or, of Unigram, a list of pieces with scores."""
    vocabulary = model.get("vocab") if isinstance(model, Mapping) else None
    if isinstance(vocabulary, list) and all(_is_piece(piece) for piece in vocabulary):
        pieces, vocabulary = vocabulary, {}
        for number, piece in enumerate(pieces):
            vocabulary.setdefault(piece[0], number)
    if not isinstance(vocabulary, dict) or not all(
        type(number) is int and 0 <= number < MOST for number in vocabulary.values()
    ):
        raise FormatError(
            f"{place}: {TOKENIZER} has no vocabulary that can be read: its 'model' is "
            f"{shown(model.get('type') if isinstance(model, Mapping) else model)}; expected BPE, WordPiece, WordLevel "
            "or Unigram with a 'vocab' of tokens and numbers."
        )
    return vocabulary


def _is_piece(piece: object) -> bool:
    """Say whether a value is a piece of Unigram: a text and its score."""
    return isinstance(piece, list) and bool(piece) and isinstance(piece[0], str)


def _added(
    content: Mapping[str, Any], settings: Mapping[str, Any], beside: Mapping[str, Any], place: str
) -> tuple[dict[str, Added], dict[str, int]]:
    """Return what is said of added tokens, and their numbers; ``tokenizer.json`` comes first."""
    own = content.get("added_tokens")
    stated: list[tuple[object, object, Mapping[str, Any]]] = [
        (each.get("content"), each.get("id"), each) if isinstance(each, Mapping) else (None, None, {})
        for each in (own if isinstance(own, list) else ())
    ]
    decoder = settings.get("added_tokens_decoder") or {}
    for number, each in decoder.items() if isinstance(decoder, Mapping) else ():
        if isinstance(each, Mapping) and number.isdecimal() and number.isascii():
            stated.append((each.get("content"), int(number[:20]), each))
    stated += [(token, number, {}) for token, number in beside.items()]
    flags: dict[str, Added] = {}
    numbers: dict[str, int] = {}
    for token, number, said in stated:
        if not isinstance(token, str) or type(number) is not int or not 0 <= number < MOST:
            raise FormatError(f"{place}: the added token {shown(token)} has the number {shown(number)}.")
        if token not in numbers:
            numbers[token] = number
            flags[token] = {flag: bool(said.get(flag, default)) for flag, default in FLAGS.items()}
    return flags, numbers


def _add_named(
    ordinary: Mapping[str, int],
    flags: dict[str, Added],
    numbers: dict[str, int],
    settings: Mapping[str, Any],
    specials: Mapping[str, Any],
) -> None:
    """Add special tokens that are named and have no number: whoever loads the tokenizer gives them the next ones."""
    following = max([*ordinary.values(), *numbers.values()], default=-1) + 1
    for token in _named(settings, specials):
        if token not in ordinary and token not in numbers:
            numbers[token], flags[token] = following, {**FLAGS, "normalized": False, "special": True}
            following += 1


def _named(*settings: Mapping[str, Any]) -> Iterable[str]:
    """Return the special tokens that settings name, in the order in which they are added."""
    named: list[Any] = []
    for said in settings:
        named += [said.get(key) for key in NAMED]
        for key in EXTRA:
            more = said.get(key)
            named += list(more.values()) if isinstance(more, Mapping) else more if isinstance(more, list) else []
    texts = (each.get("content") if isinstance(each, Mapping) else each for each in named)
    return dict.fromkeys(text for text in texts if isinstance(text, str) and text)


def as_json(value: object) -> bytes:
    """Write JSON as a tokenizer's file, UTF-8."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()

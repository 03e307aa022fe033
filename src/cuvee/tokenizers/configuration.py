"""What a configuration says about the vocabulary: its size, and the numbers of special tokens."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from cuvee.architectures.tied import TEXT_CONFIGS
from cuvee.tokenizers.reading import Tokenizer
from cuvee.tokenizers.vocabulary import Made

__all__ = ["renumbering", "resettled", "untied"]

SIZE, TIE = "vocab_size", "tie_word_embeddings"
_NUMBERS = re.compile(r"(?:\w+_)?token_(?:ids?|index)|(?:begin_)?suppress_tokens")

Renumber = Callable[[int], int | None]


def renumbering(old: Tokenizer, made: Made) -> Renumber:
    """Return what gives a number of a tokenizer's token the number that the token has in the output; None for none.

    A number of no token stays as it is, where the output has as many.
    """

    def renumber(number: int) -> int | None:
        token = old.tokens.get(number)
        if token is not None:
            return made.numbers.get(token)
        return number if number < made.size else None

    return renumber


def resettled(
    config: Mapping[str, Any],
    renumber: Renumber,
    sizes: tuple[int, int] | None = None,
    instead: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Return a configuration for another vocabulary.

    Args:
        config: ``config.json`` or ``generation_config.json``.
        renumber: old to new number.
        sizes: the vocabulary's size as the configuration states it, and what it shall be; None for a file that states
            none.
        instead: the configuration of the model whose tokenizer it is: it says which tokens stand for those that the
            output lacks.

    Returns:
        The configuration, and what was changed, in words.
    """
    words: dict[str, None] = {}
    found = _resettled(config, renumber, sizes, instead or {}, words)
    if sizes and config and SIZE not in words:
        found[SIZE] = sizes[1]
    return found, [word for word in words if word != SIZE]


def untied(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration that says that head and embedding are tensors of their own."""
    parts = {key: untied(value) for key, value in config.items() if isinstance(value, dict) and TIE in value}
    return {**config, **parts, TIE: False}


def _resettled(
    config: Mapping[str, Any],
    renumber: Renumber,
    sizes: tuple[int, int] | None,
    instead: Mapping[str, Any],
    words: dict[str, None],
) -> dict[str, Any]:
    """Change one level, and what is below; note in `words` what was changed."""
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and (key.endswith("_config") or key in TEXT_CONFIGS):
            inner = instead.get(key)
            changed[key] = _resettled(value, renumber, sizes, inner if isinstance(inner, Mapping) else {}, words)
        elif sizes and key == SIZE and value == sizes[0]:
            changed[key] = sizes[1]
            words[SIZE] = None
        elif _NUMBERS.fullmatch(key):
            changed[key] = _renumbered(value, renumber, instead.get(key))
            if changed[key] != value:
                words[f"{key} is {changed[key]}, not {value}"] = None
        else:
            changed[key] = value
    return changed


def _renumbered(value: Any, renumber: Renumber, instead: Any) -> Any:
    """Return the new number, or numbers, of special tokens; `instead`, or nothing, where the output has none."""
    if type(value) is int and value >= 0:
        number = renumber(value)
        return instead if number is None and type(instead) is int else number
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        numbers = [renumber(each) for each in value]
        return [number for number in numbers if number is not None] or (instead if isinstance(instead, list) else None)
    return value

"""How well a model that continues text predicts one: the negative log-likelihood of each token, over sliding windows.

A text is one row of tokens, t1 … tN; before it stands the token with which the tokenizer lets a text begin (or, if it
has none, end), if there is such a token. A window shows the model at most `window` tokens. The first one scores all
that it shows but its first token; each further one moves on by `stride` and scores the `stride` tokens at its end, for
which those before them are context. So every token is scored once, with `window - stride` tokens of context at least,
but for those of the first window; without a token to begin with, t1 is not scored. (Sliding windows: Baevski and Auli,
"Adaptive Input Representations for Neural Language Modeling", ICLR 2019, section 4.4.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cuvee.evaluate.data import Text
from cuvee.evaluate.subject import Subject

if TYPE_CHECKING:
    import torch

__all__ = ["Losses", "Window", "context_of", "losses", "made_for", "too_short", "windows"]

LONGEST = 1024
"""Tokens in a window by default: fewer where the model was made for fewer."""
LENGTHS = "max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"


@dataclass(frozen=True, slots=True)
class Window:
    """Tokens shown to the model at once.

    Attributes:
        begin: index of the first one.
        end: of the one after the last.
        scored: how many at the end are scored.
    """

    begin: int
    end: int
    scored: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """How well a text was predicted, window by window.

    Attributes:
        nats: negative log-likelihood of each window's scored tokens together, float64.
        tokens: how many those are.
        bytes: how many bytes of UTF-8 they stand for.
        settled: window and stride, as they were.
    """

    nats: NDArray[np.float64]
    tokens: NDArray[np.int64]
    bytes: NDArray[np.int64]
    settled: Mapping[str, object]


def windows(length: int, window: int, stride: int) -> Iterator[Window]:
    """Yield the windows over a row of tokens.

    Args:
        length: how many tokens there are, at least 2; the first one is never scored.
        window: how many are shown at most, at least 2.
        stride: by how many a window moves on, less than `window`.

    Example:
        >>> [(each.begin, each.end, each.scored) for each in windows(10, 6, 3)]
        [(0, 6, 5), (3, 9, 3), (4, 10, 1)]
    """
    end = min(window, length)
    yield Window(0, end, end - 1)
    while end < length:
        before, end = end, min(end + stride, length)
        yield Window(max(0, end - window), end, end - before)


def context_of(subject: Subject, settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return window and stride: as asked, or for 0 as long as the model was made for, and half of that."""
    window = settings["window"] or min(LONGEST, made_for(subject) or LONGEST)
    return window, settings["stride"] or max(window // 2, 1)


def made_for(subject: Subject) -> int | None:
    """Return how many tokens a model was made for, as its configuration says; None where it does not say."""
    config = subject.config
    inner = config.get("text_config")
    known = [each for part in (config, inner if isinstance(inner, dict) else {}) for each in map(part.get, LENGTHS)]
    return min((each for each in known if isinstance(each, int) and each > 1), default=None)


def too_short(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Say what is wrong with window, stride and text for a model whose weights are not read yet, if anything is."""
    window, stride = context_of(subject, settings)
    most = made_for(subject)
    if most is not None and window > most:
        if subject.has_position_table:
            return f"window={window} is more than the {most} positions that the model has; give {most} at most."
        subject.note(f"Shown {window} tokens at a time: the model was made for no more than {most}.")
    if window < 2:
        return f"window={window} leaves nothing to predict a token from; give 2 at least."
    if stride >= window:
        return f"stride={stride} leaves no context in a window of {window} tokens; give a smaller one."
    if len(_tokens(subject, settings["text"])[0]) < 2:
        return f"{settings['text'].path} has no token that could be predicted from another."
    return ""


def losses(subject: Subject, settings: Mapping[str, Any], limit: int | None) -> Losses:
    """Measure a model on a text.

    Args:
        subject: a model that continues text.
        settings: ``text``, ``window``, ``stride`` and ``batch``.
        limit: how many windows, at most.
    """
    import torch

    tokens, starts = _tokens(subject, settings["text"])
    window, stride = context_of(subject, settings)
    chosen = list(windows(len(tokens), window, stride))[:limit]
    row = torch.tensor(tokens)
    found: list[float] = []
    with torch.inference_mode():
        for group in _batches(chosen, settings["batch"]):
            shown = torch.stack([row[each.begin : each.end] for each in group]).to(subject.device)
            logits = subject.network(input_ids=shown, attention_mask=torch.ones_like(shown), use_cache=False).logits
            found += [_nats(logits[i], shown[i], each.scored) for i, each in enumerate(group)]
    return Losses(
        nats=np.array(found),
        tokens=np.array([each.scored for each in chosen]),
        bytes=np.array([starts[each.end] - starts[each.end - each.scored] for each in chosen]),
        settled={"window": window, "stride": stride},
    )


def _nats(logits: "torch.Tensor", tokens: "torch.Tensor", scored: int) -> float:
    """Add up the negative log-likelihood of the last `scored` tokens, in float64."""
    import torch

    predicted = logits[-scored - 1 : -1].float()
    each = torch.nn.functional.cross_entropy(predicted, tokens[-scored:], reduction="none")
    return float(each.double().sum())


def _batches(chosen: Sequence[Window], size: int) -> Iterator[Sequence[Window]]:
    """Yield windows in groups; all are of one length, as the last one reaches back."""
    for first in range(0, len(chosen), size):
        yield chosen[first : first + size]


def _tokens(subject: Subject, text: Text) -> tuple[list[int], list[int]]:
    """Return a text's tokens, and at which byte each begins, and the text ends; only fast tokenizers know that."""
    tokenizer = subject.tokenizer
    start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    encoded = tokenizer(text.text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast, verbose=False)
    tokens: list[int] = list(encoded["input_ids"])
    places = [first for first, _ in encoded["offset_mapping"][1:]] if tokenizer.is_fast else [0] * (len(tokens) - 1)
    starts = [0] * bool(tokens) + _bytes_at(text.text, places) + [len(text.text.encode())]
    return ([start, *tokens], [0, *starts]) if start is not None else (tokens, starts)


def _bytes_at(text: str, places: Sequence[int]) -> list[int]:
    """Return how many bytes stand before each of some letters, which are in order."""
    found, at, before = [], 0, 0
    for place in places:
        before += len(text[at:place].encode())
        at = max(at, place)
        found.append(before)
    return found

"""Texts as vectors: the last hidden states of a model, pooled over the text's tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from cuvee.evaluate.data import Row, word_in
from cuvee.evaluate.subject import Subject

if TYPE_CHECKING:
    import torch

__all__ = ["Pooling", "embed", "silent"]

Pooling = Literal["mean", "first", "last"]
"""Which hidden state stands for a text: the mean over its tokens (padding left out), that of its first token (``[CLS]``
of BERT and its like), or of its last."""


def silent(subject: Subject, rows: Sequence[Row], *columns: str) -> str:
    """Say which text has no token, if one has none; no weight is read."""
    for row in rows:
        for column in columns:
            if not subject.tokenizer(word_in(row, column), verbose=False)["input_ids"]:
                return f"{row.place}: '{column}' has no token for the model."
    return ""


def embed(subject: Subject, texts: Sequence[str], pooling: Pooling, batch: int) -> "torch.Tensor":
    """Return a vector of length 1 for each text, (texts, width) float32 on the CPU.

    What lies above the last hidden states (a head, a pooler) is not used.
    """
    import torch

    network = subject.network.base_model
    if network.config.is_encoder_decoder:
        network = network.get_encoder()
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for first in range(0, len(texts), batch):
            inputs = subject.encode(texts[first : first + batch])
            states = network(**inputs).last_hidden_state.float()
            found.append(_pooled(states, inputs["attention_mask"], pooling).cpu())
    return torch.nn.functional.normalize(torch.cat(found), dim=-1)


def _pooled(states: "torch.Tensor", mask: "torch.Tensor", pooling: Pooling) -> "torch.Tensor":
    """Return one hidden state per text; padding is on the right."""
    if pooling == "first":
        return states[:, 0]
    if pooling == "last":
        return states[range(len(states)), mask.sum(1) - 1]
    weights = mask.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)

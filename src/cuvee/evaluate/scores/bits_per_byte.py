"""Bits per byte of a text."""

from collections.abc import Mapping, Sequence
from math import log
from typing import Annotated, Any

from cuvee.evaluate.data import Text
from cuvee.evaluate.declare import Count, Limit, score
from cuvee.evaluate.likelihood import losses, too_short
from cuvee.evaluate.measure import Measure, bootstrapped
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper
from cuvee.plugins.signature import Range

__all__ = ["bits_per_byte"]

PAPER = Paper(
    title="The Pile: An 800GB Dataset of Diverse Text for Language Modeling",
    authors="Leo Gao, Stella Biderman, Sid Black, Laurence Golding, Travis Hoppe, Charles Foster, Jason Phang, "
    "Horace He, Anish Thite, Noa Nabeshima, Shawn Presser, Connor Leahy",
    venue="arXiv",
    year=2020,
    url="https://arxiv.org/abs/2101.00027",
)


def _suits(subject: Subject, settings: Mapping[str, Any]) -> str:
    """Verify that it is known which bytes a token stands for."""
    if not subject.tokenizer.is_fast:
        return "the model's tokenizer does not tell which bytes a token stands for; it needs a tokenizer.json."
    return too_short(subject, settings)


@score(models=("causal",), suits=_suits, paper=PAPER)
def bits_per_byte(
    subject: Subject,
    limit: Limit,
    *,
    text: Text,
    window: Annotated[int, Range(0, 1_000_000)] = 0,
    stride: Annotated[int, Range(0, 1_000_000)] = 0,
    batch: Count = 1,
) -> Sequence[Measure]:
    """Bits that a model needs for a byte of a text; lower is better, and tokenizers do not matter.

    The negative log-likelihood of the tokens, in bits, over the bytes of UTF-8 that they stand for::

        -1/(B ln 2) sum_i ln p(t_i | the tokens before it in its window)

    Args:
        text: file of UTF-8 text, taken as one document.
        window: tokens shown to the model at a time; 0 is what it was made for, 1024 at most.
        stride: tokens by which a window moves on, and which it scores; 0 is half a window. The smaller, the more
            context each token has, and the longer it takes.
        batch: windows at a time.
    """
    found = losses(subject, {"text": text, "window": window, "stride": stride, "batch": batch}, limit)
    return [
        bootstrapped(
            "bits per byte",
            len(found.nats),
            lambda chosen: float(found.nats[chosen].sum() / (max(found.bytes[chosen].sum(), 1) * log(2))),
            counted=int(found.bytes.sum()),
            unit="bytes",
            is_better_high=False,
            settled=found.settled,
        )
    ]

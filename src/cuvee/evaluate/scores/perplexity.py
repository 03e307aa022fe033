"""Perplexity of a text."""

from collections.abc import Sequence
from math import exp, inf
from typing import Annotated

from cuvee.evaluate.data import Text
from cuvee.evaluate.declare import Count, Limit, score
from cuvee.evaluate.likelihood import losses, too_short
from cuvee.evaluate.measure import Measure, bootstrapped
from cuvee.evaluate.subject import Subject
from cuvee.plugins.paper import Paper
from cuvee.plugins.signature import Range

__all__ = ["perplexity"]

PAPER = Paper(
    title="Perplexity - a measure of the difficulty of speech recognition tasks",
    authors="F. Jelinek, R. L. Mercer, L. R. Bahl, J. K. Baker",
    venue="Journal of the Acoustical Society of America",
    year=1977,
    url="https://doi.org/10.1121/1.2016299",
)


@score(models=("causal",), suits=too_short, paper=PAPER)
def perplexity(
    subject: Subject,
    limit: Limit,
    *,
    text: Text,
    window: Annotated[int, Range(0, 1_000_000)] = 0,
    stride: Annotated[int, Range(0, 1_000_000)] = 0,
    batch: Count = 1,
) -> Sequence[Measure]:
    """Perplexity of a text per token; lower is better.

    exp of the mean negative log-likelihood of the N tokens that are scored, each counted once::

        exp(-1/N sum_i ln p(t_i | the tokens before it in its window))

    Only models with the same tokenizer can be compared: with longer tokens there are fewer of them. `bits_per_byte`
    compares all.

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
            "perplexity",
            len(found.nats),
            lambda chosen: _exp(found.nats[chosen].sum() / found.tokens[chosen].sum()),
            counted=int(found.tokens.sum()),
            unit="tokens",
            is_better_high=False,
            settled=found.settled,
        )
    ]


def _exp(nats: float) -> float:
    """Return e to some nats; infinite where that is beyond all numbers, as of a model that is broken."""
    try:
        return exp(nats)
    except OverflowError:
        return inf

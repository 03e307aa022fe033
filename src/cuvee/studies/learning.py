"""The loop that the built-in suites train with. Knows no network and no data."""

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cuvee.tensors.framework import single_threaded

__all__ = ["fit"]

WARM_UP = 0.1  # share of the steps over which the learning rate rises


def fit(
    parameters: Iterable[Tensor], loss_of: Callable[[int], Tensor], *, num_steps: int, rate: float, decay: float = 0.0
) -> None:
    """Train parameters in place with AdamW, on one thread.

    Args:
        parameters: what to train; those that need no gradient are left alone.
        loss_of: the loss of a step's batch, by the step's number from 0; a scalar.
        num_steps: number of batches.
        rate: the largest learning rate; it rises linearly, then falls along a cosine to zero.
        decay: AdamW's weight decay.
    """
    trained = [each for each in parameters if each.requires_grad]
    optimizer = torch.optim.AdamW(trained, weight_decay=decay)
    with single_threaded():
        for step in range(num_steps):
            optimizer.param_groups[0]["lr"] = rate * _schedule((step + 1) / (num_steps + 1))
            loss = loss_of(step)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def _schedule(progress: float) -> float:
    """Rise linearly, then fall along a cosine to zero."""
    return min(1.0, progress / WARM_UP) * (1 + math.cos(math.pi * progress)) / 2

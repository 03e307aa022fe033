"""The loop that experts of declared suites are trained with: AdamW at a constant rate, with patience."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from cuvee.studies.external.declaration import TrainingRecipe

__all__ = ["fit"]


def fit(
    parameters: Iterable[Tensor],
    loss_of: Callable[[], Tensor],
    recipe: TrainingRecipe,
    num_steps: int,
    *,
    validate: Callable[[], float],
    keep: Callable[[], None],
) -> int:
    """Train parameters in place.

    Args:
        parameters: what to train.
        loss_of: the loss of the next batch; a scalar.
        recipe: rate, decay, and after how many validations without gain it ends.
        num_steps: number of batches, at most.
        validate: score on validation examples; larger is better. Asked only where the recipe has patience.
        keep: called at what is the best so far; where the recipe has no patience, at the end.

    Returns:
        Number of batches that it took.
    """
    optimizer = torch.optim.AdamW(parameters, lr=recipe.rate.value or 0.0, weight_decay=recipe.decay)
    best, waited = float("-inf"), 0
    for step in range(1, num_steps + 1):
        loss = loss_of()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        if recipe.patience is not None and (step % recipe.every == 0 or step == num_steps):
            score = validate()
            if score > best:
                best, waited = score, 0
                keep()
            else:
                waited += 1
            if waited >= max(1, recipe.patience):
                return step
    if recipe.patience is None:
        keep()
    return num_steps

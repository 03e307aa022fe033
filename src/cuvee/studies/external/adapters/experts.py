"""How any adapter trains an expert or a multitask model: all weights, or an adapter of peft's."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from cuvee.studies.adapters import Adapted
from cuvee.studies.external.adapters.fitting import fit
from cuvee.studies.external.adapters.hosted import Hosted
from cuvee.studies.external.declaration import TrainingRecipe
from cuvee.studies.seeds import generator_for, seed_for
from cuvee.studies.suite import Trained, Training

__all__ = ["drawn", "few", "train_expert"]

Example = TypeVar("Example")


def drawn(parts: Sequence[Sequence[Example]], count: int, generator: torch.Generator) -> list[Example]:
    """Draw a batch of examples: each of a cell at random, so that cells count the same however many they have.

    Args:
        parts: examples by cell.
        count: how many to draw.
        generator: on the CPU.
    """
    cells = torch.randint(len(parts), (count,), generator=generator).tolist()
    shares = torch.rand(count, generator=generator, dtype=torch.float64).tolist()
    return [parts[cell][int(share * len(parts[cell]))] for cell, share in zip(cells, shares, strict=True)]


def few(examples: Sequence[Example], shots: int | None) -> Sequence[Example]:
    """Return so many examples, the same ones whenever they are asked for: files are often sorted by class."""
    if shots is None or shots >= len(examples):
        return examples
    order = torch.randperm(len(examples), generator=generator_for(0, f"{shots} of {len(examples)}")).tolist()
    return [examples[i] for i in sorted(order[:shots])]


def train_expert(
    hosted: Hosted,
    training: Training,
    recipe: TrainingRecipe,
    num_examples: int,
    *,
    loss_of: Callable[[nn.Module], Tensor],
    validate: Callable[[], float],
) -> Trained:
    """Train a network that has the weights of its start, and return the best that it was by validation.

    Args:
        hosted: the network; its own copy, which is changed.
        training: what to train.
        recipe: how.
        num_examples: how many it sees at most.
        loss_of: the loss of the next batch, by the network, whose dropout is on.
        validate: score of the network on validation examples of what it is trained on.

    Raises:
        MissingLibraryError: peft is not installed, and an adapter is asked for.
    """
    network, adapted, found = hosted.module, None, list[Trained]()
    if training.tuning == "full":
        hosted.freeze_others()
    else:
        lora = recipe.lora
        adapted = Adapted(
            network,
            training.tuning,
            recipe.targets,
            recipe.inputs,
            seed_for(training.seed, "adapter"),
            int(lora.get("rank", 8)),
            int(lora["alpha"]) if "alpha" in lora else None,
            lora.get("dropout", 0.0),
        )

    def loss() -> Tensor:
        network.train()
        return loss_of(network)

    def score() -> float:
        network.eval()
        return validate()

    def keep() -> None:
        found[:] = [adapted.trained() if adapted else hosted.trained()]

    parameters = adapted.parameters if adapted else [each for each in network.parameters() if each.requires_grad]
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed_for(training.seed, f"dropout {training.role}"))
        steps = num_examples // int(recipe.batch.value or 1)
        fit(parameters, loss, recipe, max(1, steps), validate=score, keep=keep)
    network.eval()
    return Trained(tensors={n: t.cpu() for n, t in found[0].tensors.items()}, files=found[0].files)

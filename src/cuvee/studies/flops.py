"""Floating-point operations of trainings and merges, counted by formulas, so that they hold for any machine.

A forward pass is counted by the suite; a training step takes three times as much (the backward pass twice the forward
one). Merges are counted per parameter, in the way of the table of "Realistic Evaluation" (arXiv 2409.18314): n models
of d parameters. A method that has no formula here has none in the reports either.
"""

from collections.abc import Callable, Mapping

from cuvee.studies.registry import find_suite
from cuvee.studies.runner.jobs import Score
from cuvee.studies.runner.statements import Mixture
from cuvee.studies.suite import Training

__all__ = ["merge_flops", "scoring_flops", "training_flops"]

BACKWARD = 2
FORMULAS: Mapping[str, Callable[[int], float]] = {
    "linear": lambda n: n,
    "slerp": lambda _: 6 + 3,
    "mlerp": lambda n: 2 * n + 2 + n + 1,
    "task_arithmetic": lambda n: 2 * n + 2,
    "dare_linear": lambda n: 5 * n + 2,
    "ties": lambda n: 3 * n + 6 * n + 3,
    "dare_ties": lambda n: 3 * n + 6 * n + 3,
}
"""Operations per parameter; of TIES with its selection, of DARE with its mask, which is 3 for each model of its 5."""


def merge_flops(method: str, num_models: int, num_parameters: int) -> float | None:
    """Return the operations of a merge, or None where there is no formula."""
    formula = FORMULAS.get(method)
    return None if formula is None else formula(num_models) * num_parameters


def training_flops(suite: str, training: Training) -> float:
    """Return the operations of a training, without that of what it starts from."""
    found = find_suite(suite)
    forward = found.about.architectures[training.architecture].flops
    return (1 + BACKWARD) * forward * found.num_examples(training)


def scoring_flops(job: Score) -> float:
    """Return the operations of a score: forward passes of every example, of each model of a mixture."""
    about = find_suite(job.suite).about
    models = len(job.model.models) if isinstance(job.model, Mixture) else 1
    examples = about.examples.get(job.split, 0) * len(job.cells)
    return models * examples * about.architectures[job.architecture].flops

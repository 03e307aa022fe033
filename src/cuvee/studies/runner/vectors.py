"""Task vectors, measured and treated: how often models want to move an entry in opposite directions. Pure functions."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch

from cuvee.studies.suite import Weights

__all__ = ["agreeing", "flipped", "sign_conflict"]

LAYER = re.compile(r"\.(\d+)\.")


def sign_conflict(models: Sequence[Weights], base: Weights, density: float) -> Mapping[str, float]:
    """Return the share of entries whose sign models disagree about, in all and per layer.

    An entry counts if at least one trimmed task vector is not zero there; it is in conflict if two have opposite signs
    (Yadav et al., "TIES-Merging", 2023, section 3).

    Args:
        models: state dicts.
        base: of equal names and shapes.
        density: share of each task vector's entries that is kept, the largest by magnitude over the whole model.

    Returns:
        Shares in [0, 1] by ``"all"`` and by the number of the layer, as text, where names have one.
    """
    trimmed = [_trimmed(model, base, density) for model in models]
    moved: dict[str, int] = defaultdict(int)
    conflicting: dict[str, int] = defaultdict(int)
    for name in base:
        up = torch.stack([each[name] > 0 for each in trimmed]).any(0)
        down = torch.stack([each[name] < 0 for each in trimmed]).any(0)
        found = LAYER.search(name)
        for part in ("all", *([found[1]] if found else [])):
            moved[part] += int((up | down).sum())
            conflicting[part] += int((up & down).sum())
    return {part: conflicting[part] / moved[part] for part in moved if moved[part]}


def agreeing(model: Weights, base: Weights, references: Sequence[Weights], density: float) -> Weights:
    """Return a model whose task vector is trimmed, and has no sign that contradicts that of the references' sum.

    Args:
        model, base: state dicts.
        references: whose task vectors' sum says the signs.
        density: share of the entries that is kept first, the largest by magnitude over the whole model.
    """
    kept = _trimmed(model, base, density)
    sums = {name: torch.stack([each[name] - value for each in references]).sum(0) for name, value in base.items()}
    return {name: base[name] + torch.where(delta * sums[name] < 0, 0.0, delta) for name, delta in kept.items()}


def flipped(model: Weights, base: Weights, share: float, *, largest: bool) -> Weights:
    """Return a model with the signs of a share of its task vector's entries turned; equal magnitudes go by their order.

    Args:
        model, base: state dicts.
        share: of the entries of all tensors that training changed, in [0, 1].
        largest: turn the largest by magnitude, else the smallest.
    """
    names = [name for name, value in model.items() if not torch.equal(value, base[name])]
    if not names:
        return model
    deltas = torch.cat([(model[name] - base[name]).flatten() for name in names])
    order = deltas.abs().sort(descending=largest, stable=True).indices
    turned = order[: round(share * len(order))]
    deltas[turned] = -deltas[turned]
    sizes: list[int] = [model[name].numel() for name in names]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    changed = {
        name: base[name] + deltas[start : start + size].view_as(base[name])
        for name, start, size in zip(names, starts, sizes, strict=True)
    }
    return {name: changed.get(name, value) for name, value in model.items()}


def _trimmed(model: Weights, base: Weights, density: float) -> Weights:
    """Return a task vector without its smallest entries, counted over the tensors that training changed."""
    deltas = {name: model[name] - value for name, value in base.items()}
    changed = torch.cat([delta.abs().flatten() for delta in deltas.values() if bool(delta.any())] or [torch.zeros(1)])
    least = changed.sort(descending=True).values[max(round(density * len(changed)), 1) - 1]
    return {name: torch.where(delta.abs() >= least, delta, 0.0) for name, delta in deltas.items()}

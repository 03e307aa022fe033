"""State dicts that are hard to merge in pieces: sizes that no grid divides, and entries of equal magnitude everywhere.

Also what it takes to compare merges of them byte by byte.
"""

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from cuvee.execute.merged import open_sources
from cuvee.execute.run import execute
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.writers.memory import MemoryWriter

Weights = dict[str, torch.Tensor]


def models(cell: int, dtype: torch.dtype, count: int = 4) -> list[Weights]:
    """Make a base and models near it.

    Args:
        cell: elements in a cell of the grid. The tensors take from a part of one to three and a bit.
        dtype: bfloat16 comes with task vectors of few distinct magnitudes, as half-precision fine-tuning leaves them;
            other types with smooth ones.
        count: how many, the base included; it comes first.
    """
    side = round(cell**0.5)
    shapes = {
        "embed.weight": (3 * side, round(1.09 * side)),
        "layers.0.weight": (2 * side + 3, side + 1),
        "layers.0.bias": (cell + cell // 7,),
        "layers.1.weight": (3, side // 2 + 1, side),
        "layers.1.bias": (cell // 3,),
        "scalar": (),
        "one": (1,),
        "empty": (0, 7),
        "narrow": (37, 1),
    }
    generator = torch.Generator().manual_seed(3)
    base = {name: torch.randn(shape, generator=generator) / 8 for name, shape in shapes.items()}
    others = [
        {name: tensor + _delta(tensor.shape, dtype, generator) for name, tensor in base.items()}
        for _ in range(count - 1)
    ]
    return [
        {
            **{name: tensor.to(dtype) for name, tensor in model.items()},
            "steps": torch.tensor([i, 2, 3]),
            "mask": torch.ones(5, 3, dtype=torch.bool),
        }
        for i, model in enumerate([base, *others])
    ]


def _delta(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    smooth = torch.randn(shape, generator=generator)
    delta = (smooth * 2).round().clamp(-3, 3) if dtype == torch.bfloat16 else smooth
    # In tensors and rows of a few elements, task vectors could cancel out exactly, which some methods refuse.
    return (delta if delta.numel() > 64 else delta.abs() + 1) / 64


def merged(recipe: Mapping[str, Any], limits: Limits, shuffle: int | None = None) -> Weights:
    """Merge in memory, the plan's rows in any order."""
    with open_sources() as sources:
        plan = make_plan([sources.resolve(Recipe.of(recipe))])
        if shuffle is not None:
            rows = list(plan.rows)
            random.Random(shuffle).shuffle(rows)
            plan = replace(plan, rows=rows)
        writer = MemoryWriter(list(plan.outputs[0].items()))
        execute(plan, [writer], budget_of(plan, limits))
    return writer.tensors()


def assert_same_bytes(one: Weights, other: Weights) -> None:
    """Compare bit by bit: -0.0 is not 0.0, and a tolerance has no place here."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        twin = other[name]
        assert (tensor.dtype, tensor.shape) == (twin.dtype, twin.shape), name
        differing = (tensor.reshape(-1).view(torch.uint8) != twin.reshape(-1).view(torch.uint8)).sum()
        assert not differing, f"{name}: {differing} of {tensor.nbytes} bytes differ"

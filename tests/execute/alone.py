"""Merges in strips, and with every row by itself, which are to be the same."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch

from cuvee.execute.merged import open_sources
from cuvee.execute.report import Report
from cuvee.execute.run import execute
from cuvee.plan import plan as plans
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.planner import make_plan
from cuvee.plan.strips import Strip
from cuvee.recipe.recipe import Recipe
from cuvee.writers.memory import MemoryWriter
from end_to_end.uneven import Weights, assert_same_bytes

__all__ = ["assert_same_as_alone", "assert_within_a_step", "merged", "merged_alone"]

WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def merged(*recipes: Mapping[str, Any], workers: int = 1, kept: bool = True) -> tuple[list[Weights], Report]:
    """Merge as one run, in memory, with room to keep all that is read again, or none."""
    with open_sources() as sources:
        plan = make_plan([sources.resolve(Recipe.of(recipe)) for recipe in recipes])
        writers = [MemoryWriter(list(outputs.items())) for outputs in plan.outputs]
        budget = budget_of(plan, Limits(workers=workers))
        report = execute(plan, writers, budget if kept else replace(budget, keep_bytes=0))
    return [writer.tensors() for writer in writers], report


def merged_alone(*recipes: Mapping[str, Any]) -> tuple[list[Weights], Report]:
    """Merge with every row by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "strips_of", lambda rows, domains: [Strip.of(row, domains) for row in rows])
        return merged(*recipes)


def assert_same_as_alone(*recipes: Mapping[str, Any]) -> None:
    """Compare bytes and notes of merges in strips and with every row by itself."""
    expected, report = merged_alone(*recipes)
    for workers, kept in ((1, True), (3, False)):
        found, other = merged(*recipes, workers=workers, kept=kept)
        for one, two in zip(found, expected, strict=True):
            assert_same_bytes(one, two)
        assert (other.bytes_written, other.notes) == (report.bytes_written, report.notes)


def assert_within_a_step(one: Weights, other: Weights) -> None:
    """Compare, and let each element be one unit in the last place away."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        whole = WHOLE[tensor.element_size()]
        steps = tensor.reshape(-1).view(whole).long() - other[name].reshape(-1).view(whole).long()
        assert not (steps.abs() > 1).any(), name

"""The merge of the adapters' task vectors, with what is known of each tensor before one is read.

Task vectors are the adapters on a base of zeros. So any method merges them, and rules hold for them by their names.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property

from cuvee.execute.adapter.opening import Opened, task_vectors
from cuvee.execute.forecast import torch_jobs
from cuvee.execute.merged import Merged, open_sources
from cuvee.methods.registry import find_method
from cuvee.plan.limits import InTorch, strip_memory
from cuvee.plan.plan import Plan
from cuvee.plan.rows import Job
from cuvee.plan.strips import Strip
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.product import TILE_STEP, band_of
from cuvee.sources.adapter.recent import PRODUCTS
from cuvee.spec import Source

__all__ = ["Known", "coefficients", "memory_of_factors", "merge_with_base", "vectors_of"]


class Known:
    """A merge that is read tensor by tensor, and what its plan says of each.

    Args:
        merged: the merge.

    Attributes:
        merged: the same.
    """

    def __init__(self, merged: Merged) -> None:
        self.merged = merged
        self._strips: dict[str, list[Strip]] = {}
        self._jobs: dict[str, Job] = {}
        for strip in merged.plan.strips:
            for row in strip.rows:
                for view in row.jobs[0].outputs:
                    self._strips.setdefault(view.name, []).append(strip)
                    self._jobs.setdefault(view.name, row.jobs[0])

    @property
    def plan(self) -> Plan:
        """The merge's plan."""
        return self.merged.plan

    def job(self, name: str) -> Job | None:
        """Return what is done to a tensor; None where a rule leaves it out."""
        return self._jobs.get(name)

    def memory(self, name: str) -> int:
        """Return the bytes that a thread takes to read a tensor, beside what its sources take."""
        return max((strip_memory(strip, 1, self._in_torch) for strip in self._strips.get(name, ())), default=0)

    def needs_torch(self, names: Collection[str]) -> bool:
        """Say whether reading one of these tensors computes in torch."""
        strips = [strip for name in names for strip in self._strips.get(name, ())]
        return any(self._in_torch(strip.joined, job) for strip in strips for job in strip.joined.jobs)

    @cached_property
    def _in_torch(self) -> InTorch:
        return torch_jobs(self.merged.plan)


def vectors_of(recipe: Recipe, opened: Sequence[Opened], stack: ExitStack) -> Known:
    """Return the merge of the adapters' task vectors.

    Args:
        recipe: what to merge, and how.
        opened: the adapters.
        stack: closes what is opened.

    Raises:
        PlanError: adapters differ in the shape of a tensor.
    """
    sources, zeros = task_vectors(opened, stack)
    rules = [rule for rule in recipe.tensors if not rule.skip]
    methods = [find_method(recipe.method), *(find_method(rule.method) for rule in rules if rule.method)]
    needs = any(method.operands != "weights" for method in methods) or any(rule.copy == BASE for rule in rules)
    inner = replace(recipe, models=sources, base=zeros if needs else None, output=Output())
    return Known(_merge(inner, "the merge of the adapters"))


def merge_with_base(recipe: Recipe, models: Mapping[str, Source], base: Source) -> Known:
    """Return the merge of some tensors of models, with their base."""
    inner = replace(recipe, models=models, base=base, output=Output())
    return Known(_merge(inner, "whole tensors of adapters"))


def _merge(recipe: Recipe, name: str) -> Merged:
    return Merged(open_sources().resolve(recipe), name)


def coefficients(job: Job) -> Mapping[str, float] | None:
    """Return the factor on each model of a job that is a weighted sum; None if it is not."""
    if job.method.combination is None:
        return None
    return dict(zip(job.labels, job.method.combination(job.parameters, len(job.labels)), strict=True))


def memory_of_factors(opened: Sequence[Opened], modules: Collection[str]) -> tuple[int, int]:
    """Return the bytes that reading task vectors of modules takes: once for all threads, and of each thread.

    Once for all: the factors as float32, and the products that were asked for last. Of each: a product of its own that
    was not kept, and some bands of it, for each adapter.
    """
    shared = own = 0
    for each in opened:
        sizes = {
            part.module: (part, [each.folder.header[name] for name in (part.a, part.b)])
            for module, part in each.factors.items()
            if module in modules
        }
        products = [0]
        for part, specs in sizes.values():
            width = max(spec.size // part.rank for spec in specs)
            products.append(8 * part.rank * (width + TILE_STEP) + 5 * 8 * width * band_of(width))
            shared += 4 * sum(spec.size for spec in specs)
        own += max(products)
        shared += sum(sorted(products, reverse=True)[:PRODUCTS])
    return shared, own

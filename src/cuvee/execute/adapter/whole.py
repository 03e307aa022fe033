"""The merged tensors that adapters have as a whole: heads that were trained, biases, norms.

They are weights and no task vectors. With a base they are merged as in a merge of the models, and an adapter that lacks
one has the base's. Without a base, a weighted sum whose factors add up to 1 needs none; all else does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isclose

import numpy as np

from cuvee.errors import RecipeError, UnsupportedError
from cuvee.execute.adapter.opening import Opened
from cuvee.execute.adapter.tasks import Count, Task
from cuvee.execute.adapter.vectors import Known, coefficients, merge_with_base
from cuvee.plan.rows import CELL
from cuvee.recipe.recipe import Recipe
from cuvee.sources.adapter.matching import Matcher
from cuvee.sources.part import Part
from cuvee.sources.strict_json import shown
from cuvee.spec import Source, TensorSpec
from cuvee.tensors.widen import widened
from cuvee.writers.adapter import ROOT
from cuvee.writers.spool import Spool

__all__ = ["WholeTensor", "Wholes", "whole_tensors"]

ReadInto = Callable[[memoryview, str, int], None]
BLOCK = 4 << 20  # bytes read at a time
RUN = 32 * CELL  # elements that a worker is given at a time
COMPARED = 1 << 18  # elements compared at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeTensor:
    """A tensor that the output has as a whole.

    Attributes:
        name: in the output's file.
        spec: its specification.
        inner: its name where it is read.
        read_into: reads it.
        cost: bytes that reading it takes.
        memory: bytes of memory that a thread takes to read it.
    """

    name: str
    spec: TensorSpec
    inner: str
    read_into: ReadInto
    cost: int
    memory: int

    def tasks(self, spool: Spool) -> Sequence[Task]:
        """Return the work of reading it and writing it to a spool."""
        width = self.spec.dtype.bits // 8
        starts = range(0, self.spec.nbytes, RUN * width)
        memory = self.memory + 2 * min(BLOCK, self.spec.nbytes)
        return [
            Task(name=self.name, memory=memory, do=partial(self._move, spool, start, start + RUN * width))
            for start in starts
        ]

    def _move(self, spool: Spool, start: int, stop: int, count: Count) -> None:
        for offset in range(start, min(stop, self.spec.nbytes), BLOCK):
            data = memoryview(bytearray(min(BLOCK, stop - offset, self.spec.nbytes - offset)))
            self.read_into(data, self.inner, offset)
            spool.write_at(self.name, offset, data)
            count(len(data) * self.cost // self.spec.nbytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wholes:
    """What there is to do about whole tensors.

    Attributes:
        tensors: what the output has.
        checks: compare copies of the base's tensors that adapters bring along.
        sources: merges that are read: their methods may have something to say.
        cost: bytes that the checks read.
    """

    tensors: Sequence[WholeTensor]
    checks: Sequence[Task]
    sources: Sequence[Known]
    cost: int


def whole_tensors(
    recipe: Recipe, opened: Sequence[Opened], base: Source | None, vectors: Known, modules: Collection[str]
) -> Wholes:
    """Say what is to be done with whole tensors, from headers alone.

    Args:
        recipe: what to merge, and how.
        opened: the adapters.
        base: their base, or None.
        vectors: the merge of their task vectors.
        modules: those that the output has factors of.

    Raises:
        RecipeError: a tensor needs a base that is not named.
        UnsupportedError: a tensor is whole in some adapters and low-rank in others.
    """
    stored = list(dict.fromkeys(name for each in opened for name in each.whole))
    _refuse_mixed(stored, opened)
    copies, checks, cost = _grounds(opened, base, modules)
    if not stored:
        return Wholes(tensors=copies, checks=checks, sources=(), cost=cost)
    if base is None:
        for name in stored:
            _require_no_base(name, opened, vectors)
        known, own = vectors, {name: name for name in stored}
    else:
        matcher = Matcher(base.header, base.reference)
        own = {name: matcher.find(name) or name for name in stored}
        names = list(own.values())
        models = {each.label: Part(each.adapted, names) for each in opened if each.adapted is not None}
        known = merge_with_base(recipe, models, Part(base, names))
    merged = known.merged
    tensors = [
        WholeTensor(
            name=_in_file(name, modules),
            spec=merged.header[inner],
            inner=inner,
            read_into=merged.read_into,
            cost=merged.cost(inner),
            memory=known.memory(inner) + (0 if base is None else base.memory),
        )
        for name, inner in own.items()
        if inner in merged.header
    ]
    return Wholes(tensors=[*copies, *tensors], checks=checks, sources=(known,), cost=cost)


def _in_file(name: str, modules: Collection[str]) -> str:
    """Return what the output's file calls a tensor of the base: PEFT wraps the modules that have factors."""
    module, _, leaf = name.rpartition(".")
    return f"{ROOT}{module}.base_layer.{leaf}" if module in modules else f"{ROOT}{name}"


def _refuse_mixed(stored: Sequence[str], opened: Sequence[Opened]) -> None:
    """Refuse tensors that adapters change in two ways."""
    factors = [each.factors for each in opened]
    for name in stored:
        module, _, leaf = name.rpartition(".")
        if any(module in own and (leaf == "weight" or (leaf == "bias" and own[module].bias)) for own in factors):
            raise UnsupportedError(
                f"{shown(name)} is a whole tensor in some of the adapters, and low-rank in others. Merge the models "
                "themselves: leave out adapter: true."
            )


def _grounds(
    opened: Sequence[Opened], base: Source | None, modules: Collection[str]
) -> tuple[Sequence[WholeTensor], Sequence[Task], int]:
    """Return the tensors below factors, which adapters hold as copies of their base's, and what verifies that.

    Where the base is there and has the same, they are left to it.
    """
    first: dict[str, tuple[Opened, str]] = {}
    checks, cost = [], 0
    for each in opened:
        for name, stored in each.grounds.items():
            own = _Copy(each.folder.header[stored], each.folder.read_into, stored, f"adapter '{each.label}'")
            if name in first:
                other, theirs = first[name]
                known = _Copy(other.folder.header[theirs], other.folder.read_into, theirs, f"'{other.label}'")
            elif base is not None:
                inner = Matcher(base.header, base.reference).find(name) or name
                known = _Copy(base.header[inner], base.read_into, inner, base.reference)
            else:
                first[name] = each, stored
                continue
            first.setdefault(name, (each, stored))
            checks.append(Task(name=name, memory=24 * COMPARED, do=partial(_require_same, name, own, known)))
            cost += own.spec.nbytes + known.spec.nbytes
    copies = [
        WholeTensor(
            name=_in_file(name, modules),
            spec=each.folder.header[stored],
            inner=stored,
            read_into=each.folder.read_into,
            cost=each.folder.header[stored].nbytes,
            memory=each.folder.memory,
        )
        for name, (each, stored) in first.items()
        if base is None and name.removesuffix(".weight") in modules
    ]
    return copies, checks, cost


@dataclass(frozen=True, slots=True)
class _Copy:
    """A tensor that should be a copy of another one."""

    spec: TensorSpec
    read_into: ReadInto
    name: str
    where: str

    def floats(self, start: int, stop: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        """Read elements as float32."""
        width = self.spec.dtype.bits // 8
        data = np.empty((stop - start) * width, np.uint8)
        self.read_into(data.data, self.name, start * width)
        return widened(data, self.spec.dtype)


def _require_same(name: str, own: _Copy, known: _Copy, count: Count) -> None:
    """Refuse a copy of the base's tensor that is none."""
    same = own.spec.shape == known.spec.shape
    for start in range(0, own.spec.size if same else 0, COMPARED):
        stop = min(start + COMPARED, own.spec.size)
        same = same and np.array_equal(own.floats(start, stop), known.floats(start, stop))
        count((stop - start) * (own.spec.dtype.bits + known.spec.dtype.bits) // 8)
    if not same:
        raise UnsupportedError(
            f"{own.where} has a {shown(name)} of its own below its factors, which differs from that of {known.where}. "
            "Merge the models themselves: leave out adapter: true."
        )


def _require_no_base(name: str, opened: Sequence[Opened], vectors: Known) -> None:
    """Refuse to merge a tensor without the base it needs."""
    lacking = [each.label for each in opened if name not in each.whole]
    job = vectors.job(name)
    if job is None:  # a rule leaves it out
        return
    shares: Mapping[str, float] | None = coefficients(job)
    if lacking or shares is None or not isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        reason = (
            f"which '{lacking[0]}' lacks" if lacking else f"and method '{job.method.name}' merges it relative to a base"
        )
        raise RecipeError(
            f"the adapters have {shown(name)} as a whole, {reason}. Name the base: 'base', or BASE+ADAPTER.", ("base",)
        )

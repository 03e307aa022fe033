"""The merged factors of every module: what each takes, from headers, and how they are made.

Where the method is a weighted sum, the sum of c_i s_i B_i A_i is one product: [c_1 s_1 B_1, c_2 s_2 B_2, ...] times
[A_1; A_2; ...]. Where it is not, the merged task vector is read block by block from a merge of the task vectors, and
factored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cuvee.errors import MergeError, RecipeError, UnsupportedError
from cuvee.execute.adapter.opening import Opened
from cuvee.execute.adapter.vectors import Known, coefficients, memory_of_factors
from cuvee.plan.modules import ModulePlan
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.folder import Factors
from cuvee.sources.strict_json import shown
from cuvee.spec import Source
from cuvee.tensors.lowrank import LowRankFactors, factor_product, factor_rows, memory_of, memory_of_product
from cuvee.tensors.widen import widened
from cuvee.writers.adapter import ModuleFactors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pair = tuple[NDArray[np.float32], NDArray[np.float32]]

__all__ = ["Cut", "ModuleMerge", "module_merges"]

Parts = Sequence[tuple[Opened, Factors]]
READING = 2  # blocks' memory that reading a block of rows takes: in float32 and float64, and which are finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What one module lost to a rank.

    Attributes:
        module: its name.
        rank: the rank it has.
        error: Frobenius norm of what is missing, relative to that of the merged task vector.
        norm: Frobenius norm of the merged task vector.
    """

    module: str
    rank: int
    error: float
    norm: float


def module_merges(opened: Sequence[Opened], vectors: Known, output: Output) -> Sequence[ModuleMerge]:
    """Say what is to be done with every module of which something is left, from headers alone.

    Args:
        opened: the adapters.
        vectors: the merge of their task vectors.
        output: what the recipe says of ranks.

    Raises:
        RecipeError: a method needs a rank, and none is given.
        UnsupportedError: a module is an embedding in some adapters only.
    """
    factors = [(each, each.factors) for each in opened]
    found = []
    for module in dict.fromkeys(name for _, own in factors for name in own):
        parts = [(each, own[module]) for each, own in factors if module in own]
        merge = ModuleMerge(module, parts, vectors, output)
        if not merge.is_empty:
            found.append(merge)
    return found


class ModuleMerge:
    """The merge of one module's factors.

    Args:
        module: its name.
        parts: the adapters that have factors of it.
        vectors: the merge of their task vectors.
        output: what the recipe says of ranks.

    Attributes:
        module: its name.
        is_empty: nothing is left of it: a rule leaves it out, or every adapter has the weight 0.
    """

    def __init__(self, module: str, parts: Parts, vectors: Known, output: Output) -> None:
        self.module = module
        self._name = f"{module}.weight"
        self._parts, self._vectors, self._output = parts, vectors, output
        self._shapes = _Shapes(*parts[0], parts)
        self._job = vectors.job(self._name)
        self._shares = None if self._job is None else coefficients(self._job)
        self._terms = [(each, part, (self._shares or {}).get(each.label, 0.0)) for each, part in parts]
        self._terms = [term for term in self._terms if term[2]]
        self.is_empty = self._job is None or (self._shares is not None and not self._terms)
        if self._job is not None and self._shares is None:
            self._require_rank(self._job.method.name)

    @property
    def is_factored(self) -> bool:
        """The method is no weighted sum: what it makes is read as a matrix, and factored."""
        return self._shares is None

    @property
    def has_bias(self) -> bool:
        """An adapter adds to the module's bias, and the merge does."""
        return any(part.bias for _, part in self._parts) and self._vectors.job(f"{self.module}.bias") is not None

    @property
    def plan(self) -> ModulePlan:
        """What becomes of it, known from headers."""
        assert self._job is not None
        parts = self._parts if self.is_factored else [(each, part) for each, part, _ in self._terms]
        return ModulePlan(
            module=self.module,
            shape=self._shapes.whole,
            method=self._job.method.name,
            ranks={each.label: part.rank for each, part in parts},
            way=self._way,
            rank=self._rank,
            rank_is_known=self._way == "joined" or self._output.error is None,
            bytes_read=sum(each.folder.header[name].nbytes for each, part in parts for name in part.names),
            memory=self._memory,
        )

    def run(self) -> tuple[ModuleFactors, Cut | None]:
        """Merge; return the factors, and what was lost if they were cut to a rank.

        Raises:
            MergeError: a number is not finite.
        """
        left, right, cut = self._factored() if self.is_factored else self._summed()
        _require_finite(self._name, left, right)
        bias = read_floats(self._vectors.merged, f"{self.module}.bias") if self.has_bias else None
        return self._shapes.module(left, right, bias), cut

    @property
    def _joined_rank(self) -> int:
        return sum(part.rank for _, part, _ in self._terms)

    @property
    def _way(self) -> Literal["joined", "cut", "factored"]:
        if self.is_factored:
            return "factored"
        rank = self._output.rank
        return "joined" if self._output.error is None and (rank is None or rank >= self._joined_rank) else "cut"

    @property
    def _rank(self) -> int:
        """Return the rank of the result, or what it is at most."""
        if self._way == "joined":
            return self._joined_rank
        most = min(self._shapes.flat) if self._way == "factored" else min(*self._shapes.flat, self._joined_rank)
        return min(self._output.rank or most, most)

    @property
    def _memory(self) -> int:
        rows, width = self._shapes.flat
        copies = 5 * (rows + width) * self._rank  # as they are written, and which are finite
        if self.is_factored:
            reading = self._vectors.memory(self._name) + memory_of_factors(*self._of_parts)[1]
            return memory_of((rows, width), self._rank, READING) + reading + copies
        bias = self._vectors.memory(f"{self.module}.bias") if self.has_bias else 0
        joined = 20 * (rows + width) * self._joined_rank
        if self._way == "cut":
            joined = max(
                joined, 4 * (rows + width) * self._joined_rank + memory_of_product(rows, width, self._joined_rank)
            )
        return joined + copies + bias

    @property
    def _of_parts(self) -> tuple[Sequence[Opened], Sequence[str]]:
        return [each for each, _ in self._parts], [self.module]

    def _summed(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Cut | None]:
        """Add up weighted products, in their factors."""
        left, right = _joined(self._terms)
        cut = None
        if self._way == "cut":
            _require_finite(self._name, left, right)
            found = factor_product(left.astype(np.float64), right.astype(np.float64), **self._wanted)
            left, right = found.left, found.right
            cut = self._lost(found)
        # The sum was made as PEFT has it, (out, in).
        return (right.T, left.T, cut) if self._shapes.crossed else (left, right, cut)

    def _factored(self) -> tuple[NDArray[np.float32], NDArray[np.float32], Cut | None]:
        """Factor what the method makes of the task vectors."""
        merged, (rows, width) = self._vectors.merged, self._shapes.flat
        found = factor_rows(
            lambda first, last: _rows(merged, self._name, first, last, width), (rows, width), **self._wanted
        )
        return found.left, found.right, self._lost(found)

    def _lost(self, found: LowRankFactors) -> Cut | None:
        """Return what was lost; None where the rank is as large as that of any matrix of this shape."""
        rank = found.left.shape[1]
        if rank >= min(self._shapes.flat):
            return None
        return Cut(module=self.module, rank=rank, error=found.error, norm=found.norm)

    @property
    def _wanted(self) -> Mapping[str, Any]:
        return {"rank": self._output.rank, "error": self._output.error}

    def _require_rank(self, method: str) -> None:
        """Refuse to factor a matrix without a rank."""
        if self._output.rank is not None or self._output.error is not None:
            return
        ranks = [part.rank for _, part in self._parts]
        raise RecipeError(
            f"{self._name}: method '{method}' is no weighted sum, so what it makes of adapters of rank "
            f"{', '.join(map(str, ranks))} has a rank of up to {min(self._shapes.flat)}. Say which rank to keep: "
            f"output: {{adapter: true, rank: {sum(ranks)}}}, or error: 0.1.",
            ("output", "rank"),
        )


class _Shapes:
    """How a module's factors lie, and how its weight does: crossed where that is stored (in, out)."""

    def __init__(self, first: Opened, part: Factors, parts: Parts) -> None:
        header = first.folder.header
        self._a, self._b = header[part.a].shape, header[part.b].shape
        self._is_embedding = part.is_embedding
        flag = first.folder.configuration.fan_in_fan_out
        self.crossed = part.is_embedding or (flag and len(self._a) == 2)
        if any(other.is_embedding != part.is_embedding for _, other in parts):
            raise UnsupportedError(
                f"{shown(part.module)} is an embedding in some of the adapters only; expected adapters of one base."
            )

    @property
    def whole(self) -> tuple[int, int]:
        """Outputs and inputs of the module, further axes joined with these."""
        return self._b[0], int(np.prod(self._a[1:]))

    @property
    def flat(self) -> tuple[int, int]:
        """Rows and width of the weight, its other axes joined."""
        return self.whole[::-1] if self.crossed else self.whole

    def module(
        self, left: NDArray[np.float32], right: NDArray[np.float32], bias: NDArray[np.float32] | None
    ) -> ModuleFactors:
        """Return factors of the weight as PEFT has them."""
        b, a = (right.T, left.T) if self.crossed else (left, right)
        rank = a.shape[0]
        return ModuleFactors(
            np.ascontiguousarray(a).reshape(rank, *self._a[1:]),
            np.ascontiguousarray(b).reshape(self._b[0], rank, *self._b[2:]),
            self._is_embedding,
            bias,
        )


def _joined(terms: Sequence[tuple[Opened, Factors, float]]) -> Pair:
    """Return the factors of a weighted sum of products, (out, ranks) and (ranks, in)."""
    left, right = [], []
    for each, part, share in terms:
        a, b = each.floats(part.a), each.floats(part.b)
        scaled = b.reshape(b.shape[0], -1).astype(np.float64) * (share * part.scaling)
        left.append(scaled.astype(np.float32))
        right.append(a.reshape(a.shape[0], -1))
    return np.concatenate(left, axis=1), np.concatenate(right)


def _require_finite(name: str, *factors: NDArray[Any]) -> None:
    """Refuse factors that are not finite."""
    if not all(bool(np.isfinite(each).all()) for each in factors):
        raise MergeError(
            f"{name}: the merged factors are not finite: an adapter holds NaN or infinite numbers, or the weights are "
            "too large. Look at the adapters with cuvee diff."
        )


def _rows(source: Source, name: str, first: int, last: int, width: int) -> NDArray[np.float64]:
    """Read rows of a float32 tensor, its other axes joined."""
    data = np.empty((last - first, width), np.float32)
    source.read_into(data.reshape(-1).view(np.uint8).data, name, first * width * 4)
    _require_finite(name, data)
    return data.astype(np.float64)


def read_floats(source: Source, name: str) -> NDArray[np.float32]:
    """Read a whole tensor as float32, in its shape."""
    spec = source.header[name]
    data = np.empty(spec.nbytes, np.uint8)
    source.read_into(data.data, name)
    return widened(data, spec.dtype).reshape(spec.shape)

"""The merged factors of every module.

Where the method is a weighted sum, the sum of c_i s_i B_i A_i is one product: [c_1 s_1 B_1, c_2 s_2 B_2, ...] times
[A_1; A_2; ...]. Where it is not, the merged task vector is read block by block from a merge of the task vectors, and
factored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cuvee.errors import MergeError, RecipeError, UnsupportedError
from cuvee.execute.adapter.opening import Opened
from cuvee.execute.merged import Merged
from cuvee.plan.rows import Job
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.folder import Factors
from cuvee.sources.strict_json import shown
from cuvee.spec import Source
from cuvee.tensors.lowrank import LowRankFactors, factor_product, factor_rows
from cuvee.tensors.widen import widened
from cuvee.writers.adapter import ModuleFactors

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Cut", "coefficients", "job_of", "merge_modules", "read_floats"]


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


def coefficients(job: Job) -> Mapping[str, float] | None:
    """Return the factor on each model of a job that is a weighted sum; None if it is not."""
    if job.method.combination is None:
        return None
    return dict(zip(job.labels, job.method.combination(job.parameters, len(job.labels)), strict=True))


def job_of(merged: Merged, name: str) -> Job:
    """Return what is done to a tensor."""
    return next(row.jobs[0] for row in merged.plan.rows if name in {view.name for view in row.jobs[0].outputs})


def merge_modules(
    opened: Sequence[Opened], merged: Merged, output: Output
) -> tuple[dict[str, ModuleFactors], Sequence[Cut]]:
    """Merge the factors of every module.

    Args:
        opened: the adapters.
        merged: the merge of their task vectors.
        output: what the recipe says of ranks.

    Returns:
        Module to factors, and what was lost in those that were cut to a rank.

    Raises:
        RecipeError: a method needs a rank, and none is given.
        MergeError: a number is not finite.
    """
    modules: dict[str, ModuleFactors] = {}
    cuts: list[Cut] = []
    for module in dict.fromkeys(name for each in opened for name in each.factors):
        if f"{module}.weight" not in merged.header:  # a rule leaves it out
            continue
        parts = [(each, each.factors[module]) for each in opened if module in each.factors]
        made, cut = _merge_module(module, parts, merged, output)
        if made is not None:
            modules[module] = made
        if cut is not None:
            cuts.append(cut)
    return modules, cuts


def _merge_module(
    module: str, parts: Sequence[tuple[Opened, Factors]], merged: Merged, output: Output
) -> tuple[ModuleFactors | None, Cut | None]:
    """Merge the factors of one module; None where nothing is left of it."""
    name = f"{module}.weight"
    shares, wanted = coefficients(job_of(merged, name)), {"rank": output.rank, "error": output.error}
    shapes = _Shapes(*parts[0], parts)
    factors: LowRankFactors | None = None
    if shares is None:
        _require_rank(name, parts, merged, output)
        flat = shapes.flat
        factors = factor_rows(lambda first, last: _rows(merged, name, first, last, flat[1]), flat, **wanted)  # type: ignore[arg-type]
        left, right = factors.left, factors.right
    else:
        terms = [(each, part, shares.get(each.label, 0.0)) for each, part in parts]
        terms = [term for term in terms if term[2]]
        if not terms:
            return None, None
        left, right = _joined(terms)
        if output.error is not None or (output.rank or left.shape[1]) < left.shape[1]:
            _require_finite(name, left, right)
            factors = factor_product(left.astype(np.float64), right.astype(np.float64), **wanted)  # type: ignore[arg-type]
            left, right = factors.left, factors.right
        if shapes.crossed:  # the sum was made as PEFT has it, (out, in)
            left, right = right.T, left.T
    _require_finite(name, left, right)
    bias = None
    if any(part.bias for _, part in parts):
        bias = read_floats(merged, f"{module}.bias")
    cut = Cut(module=module, rank=left.shape[1], error=factors.error, norm=factors.norm) if factors else None
    return shapes.module(left, right, bias), cut


class _Shapes:
    """How a module's factors lie, and how its weight does: crossed where that is stored (in, out)."""

    def __init__(self, first: Opened, part: Factors, parts: Sequence[tuple[Opened, Factors]]) -> None:
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
    def flat(self) -> tuple[int, int]:
        """Rows and width of the weight, its other axes joined."""
        width = int(np.prod(self._a[1:]))
        return (width, self._b[0]) if self.crossed else (self._b[0], width)

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


def _joined(terms: Sequence[tuple[Opened, Factors, float]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the factors of a weighted sum of products, (out, ranks) and (ranks, in)."""
    left, right = [], []
    for each, part, share in terms:
        a, b = each.folder.floats(part.a), each.folder.floats(part.b)
        scaled = b.reshape(b.shape[0], -1).astype(np.float64) * (share * part.scaling)
        left.append(scaled.astype(np.float32))
        right.append(a.reshape(a.shape[0], -1))
    return np.concatenate(left, axis=1), np.concatenate(right)


def _require_rank(name: str, parts: Sequence[tuple[Opened, Factors]], merged: Merged, output: Output) -> None:
    """Refuse to factor a matrix without a rank."""
    if output.rank is not None or output.error is not None:
        return
    together = sum(part.rank for _, part in parts)
    full = min(merged.header[name].shape[0], int(np.prod(merged.header[name].shape[1:])))
    raise RecipeError(
        f"{name}: method '{job_of(merged, name).method.name}' is no weighted sum, so what it makes of adapters of rank "
        f"{', '.join(str(part.rank) for _, part in parts)} has a rank of up to {full}. Say which rank to keep: output: "
        f"{{adapter: true, rank: {together}}}, or error: 0.1.",
        ("output", "rank"),
    )


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

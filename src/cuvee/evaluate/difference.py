"""How far apart two sources are, tensor by tensor, in bounded memory.

Reads both sources once, a cell of `CELL` elements at a time. Elements are widened to float64 and summed cell by cell in
order, by one thread, so the numbers do not depend on the machine's memory or cores. Knows no files and prints nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from math import inf, isfinite, nan, sqrt
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cuvee.architectures.layers import depth_of, layer_of, stacks
from cuvee.architectures.tied import tied_names
from cuvee.spec import DType, Source, TensorSpec
from cuvee.tensors.framework import torch

__all__ = ["CELL", "Status", "Sums", "TensorDifference", "by_layer", "difference", "total"]

CELL = 1 << 18
"""Elements compared and summed at a time; a part of the definition of every sum, not a setting."""

Status = Literal["compared", "equal", "unequal", "shape", "dtype", "only_a", "only_b"]
"""What could be said of a tensor: ``compared`` element by element; ``equal`` or ``unequal`` bytes of integers and the
like; ``shape`` or ``dtype`` too different to compare; or stored by one source only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Sums over elements of which all measures are made; those of several tensors add up.

    Elements that are NaN or infinite on either side are left out of all sums and counted.

    Attributes:
        size: number of elements compared.
        squared_a: sum of squares of a's elements.
        squared_b: the same of b's.
        squared_difference: sum of squares of a - b.
        product: sum of a times b.
        same_sign: number of elements with equal sign, zero being a sign of its own (and -0.0 zero).
        largest: largest absolute difference.
        non_finite: number of elements left out.
        identical: whether all bytes are equal, element types included.
    """

    size: int = 0
    squared_a: float = 0.0
    squared_b: float = 0.0
    squared_difference: float = 0.0
    product: float = 0.0
    same_sign: int = 0
    largest: float = 0.0
    non_finite: int = 0
    identical: bool = True

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(
            size=self.size + other.size,
            squared_a=self.squared_a + other.squared_a,
            squared_b=self.squared_b + other.squared_b,
            squared_difference=self.squared_difference + other.squared_difference,
            product=self.product + other.product,
            same_sign=self.same_sign + other.same_sign,
            largest=max(self.largest, other.largest),
            non_finite=self.non_finite + other.non_finite,
            identical=self.identical and other.identical,
        )

    @property
    def distance(self) -> float:
        """L2 norm of a - b."""
        return sqrt(self.squared_difference)

    @property
    def relative_distance(self) -> float:
        """L2 norm of a - b over that of a; 0 where both norms are 0, infinite where only a's is."""
        if self.squared_difference == 0:
            return 0.0
        return sqrt(self.squared_difference) / sqrt(self.squared_a) if self.squared_a else inf

    @property
    def cosine(self) -> float:
        """Cosine of the angle between a and b, in [-1, 1]; NaN where one of them is zero, empty or overflows."""
        norms = sqrt(self.squared_a) * sqrt(self.squared_b)
        if not norms or not isfinite(norms):
            return nan
        return max(-1.0, min(1.0, self.product / norms)) if self.squared_difference else 1.0

    @property
    def sign_agreement(self) -> float:
        """Share of elements with equal sign, in [0, 1]; NaN where none was compared."""
        return self.same_sign / self.size if self.size else nan


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """What two sources have under one name.

    Attributes:
        name: the tensor.
        status: what could be compared.
        a: specification in the first source, or None.
        b: specification in the second source, or None.
        sums: the comparison, if `status` is ``compared``.
    """

    name: str
    status: Status
    a: TensorSpec | None
    b: TensorSpec | None
    sums: Sums | None = None


def difference(a: Source, b: Source) -> Iterator[TensorDifference]:
    """Compare two sources, tensor by tensor.

    A tied weight that one source stores under one name and the other under two is compared under both.

    Args:
        a: the reference, for relative distances.
        b: the other source.

    Yields:
        The tensors of `a` in stored order, then those only `b` has. Memory: one cell of each and some copies of it in
        float64, under 20 MB.

    Raises:
        SourceError: bytes cannot be read.
    """
    in_a = {**tied_names(a.header, a.config, a.shared, b.header), **{name: name for name in a.header}}
    in_b = {**tied_names(b.header, b.config, b.shared, a.header), **{name: name for name in b.header}}
    for name in dict.fromkeys([*a.header, *b.header]):
        if name not in in_b:
            yield TensorDifference(name=name, status="only_a", a=a.header[name], b=None)
        elif name not in in_a:
            yield TensorDifference(name=name, status="only_b", a=None, b=b.header[name])
        else:
            yield _compare(name, _Tensor(a, in_a[name]), _Tensor(b, in_b[name]))


def total(differences: Iterable[TensorDifference]) -> Sums:
    """Add up all tensors that were compared."""
    return reduce(Sums.__add__, (found.sums for found in differences if found.sums is not None), Sums())


def by_layer(differences: Iterable[TensorDifference]) -> Mapping[str, Sums]:
    """Add up the tensors of each layer.

    Args:
        differences: what `difference` yields.

    Returns:
        Stack and index of the layer (``"model.layers.3"``) to its sums, in the order of the tensors but layers in
        order of their index; what stands outside layers is under ``"before the layers"`` and ``"after the layers"``,
        first and last.
    """
    compared = [found for found in differences if found.sums is not None]
    counts = stacks(found.name for found in compared)
    places = {stack: place for place, stack in enumerate(counts)}
    groups: dict[tuple[int, int, str], list[TensorDifference]] = {}
    for found in compared:
        layer = layer_of(found.name)
        if layer is not None:
            key = places[layer.stack], layer.index, f"{layer.stack}.{layer.index}".lstrip(".")
        elif depth_of(found.name, counts) == 0:
            key = -1, 0, "before the layers"
        else:
            key = len(counts), 0, "after the layers"
        groups.setdefault(key, []).append(found)
    return {key[-1]: total(groups[key]) for key in sorted(groups)}


class _Tensor:
    """A tensor of a source, read a cell at a time into one buffer.

    Args:
        source: where it is stored.
        name: under which name.
    """

    def __init__(self, source: Source, name: str) -> None:
        self.source = source
        self.name = name
        self.spec = source.header[name]
        self._buffer = np.empty(min(CELL, self.spec.size) * -(-self.spec.dtype.bits // 8), np.uint8)

    def cell(self, start: int) -> NDArray[np.uint8]:
        """Return the bytes of the cell that begins at element `start`; valid until the next call."""
        offset = start * self.spec.dtype.bits // 8
        end = min(start + CELL, self.spec.size) * self.spec.dtype.bits // 8
        data = self._buffer[: end - offset]
        self.source.read_into(data.data, self.name, offset)
        return data


def _compare(name: str, a: _Tensor, b: _Tensor) -> TensorDifference:
    """Compare two tensors as far as their specifications allow."""

    def found(status: Status, sums: Sums | None = None) -> TensorDifference:
        return TensorDifference(name=name, status=status, a=a.spec, b=b.spec, sums=sums)

    if a.spec.shape != b.spec.shape:
        return found("shape")
    cells = range(0, a.spec.size, CELL)
    if a.spec.dtype.kind == b.spec.dtype.kind == "float":
        parts = (_sums(a.cell(start), a.spec.dtype, b.cell(start), b.spec.dtype) for start in cells)
        return found("compared", reduce(Sums.__add__, parts, Sums(identical=a.spec.dtype == b.spec.dtype)))
    if a.spec.dtype != b.spec.dtype:
        return found("dtype")
    return found("equal" if all(np.array_equal(a.cell(start), b.cell(start)) for start in cells) else "unequal")


def _sums(bytes_a: NDArray[np.uint8], dtype_a: DType, bytes_b: NDArray[np.uint8], dtype_b: DType) -> Sums:
    """Compare one cell."""
    identical = dtype_a == dtype_b and np.array_equal(bytes_a, bytes_b)
    a = _widen(bytes_a, dtype_a)
    b = a if identical else _widen(bytes_b, dtype_b)
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.all():
        a, b = a[finite], b[finite]
    with np.errstate(over="ignore", invalid="ignore"):  # F64 alone can overflow; its sums are infinite or NaN then
        apart = a - b
        return Sums(
            size=a.size,
            squared_a=float(np.sum(a * a)),
            squared_b=float(np.sum(b * b)),
            squared_difference=float(np.sum(apart * apart)),
            product=float(np.sum(a * b)),
            same_sign=int(np.count_nonzero(np.sign(a) == np.sign(b))),
            largest=float(np.max(np.abs(apart), initial=0.0)),
            non_finite=finite.size - a.size,
            identical=identical,
        )


def _widen(data: NDArray[np.uint8], dtype: DType) -> NDArray[np.float64]:
    """Widen raw elements to float64, exactly; torch knows the types numpy lacks (bfloat16 and 8-bit floats)."""
    wide: NDArray[np.float64] = torch.from_numpy(data).view(getattr(torch, dtype.torch_name)).to(torch.float64).numpy()
    return wide

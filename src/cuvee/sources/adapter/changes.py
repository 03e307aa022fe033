"""What an adapter does to the elements of one tensor. Knows arrays and positions; no name, no file.

Elements arrive as float64 and leave as float64; they are rounded once, by whoever asked. A change is asked for *spans*,
runs of elements that it makes in one go, so that memory stays bounded whatever was asked for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from cuvee.errors import SourceError
from cuvee.sources.adapter.product import TILE_STEP, Product, band_of
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Load = Callable[[], NDArray[np.float32]]

__all__ = ["SPAN", "AddProduct", "AddVector", "Change", "Magnitudes", "Multiply", "ReplaceRows", "spans"]

SPAN = 1 << 16
"""Elements that are made in one go where nothing else decides it."""

Axis = Literal["rows", "columns"]


class Change(Protocol):
    """Something done to the elements of one tensor.

    Attributes:
        readings: how often the tensor is read, in all, when each of its elements is asked for once.
    """

    @property
    def readings(self) -> int: ...  # noqa: D102

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a run of elements into those that `apply` takes."""
        ...

    def apply(self, values: Floats, start: int) -> Floats:
        """Change elements of one span.

        Args:
            values: the elements, (span,); may be changed.
            start: flat index of the first.
        """
        ...

    @property
    def memory(self) -> int:
        """Bytes that `apply` takes."""
        ...


def spans(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a run of elements at multiples of SPAN."""
    while start < stop:
        end = min((start // SPAN + 1) * SPAN, stop)
        yield start, end
        start = end


class _Anywhere:
    """A change that treats each element by itself."""

    memory = 2 * 8 * SPAN
    readings = 1

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a run of elements into those that `apply` takes."""
        return spans(start, stop)


class AddVector(_Anywhere):
    """A scaled vector is added.

    Args:
        vector: loads it, (elements,).
        scaling: what it is multiplied by.
    """

    def __init__(self, vector: Load, scaling: float) -> None:
        self._vector, self._scaling = vector, scaling

    def apply(self, values: Floats, start: int) -> Floats:
        """Change elements of one span."""
        part = self._vector().reshape(-1)[start : start + len(values)]
        values += self._scaling * part.astype(np.float64)
        return values


class Multiply(_Anywhere):
    """Rows or columns are multiplied by numbers of their own.

    Args:
        vector: loads the numbers.
        shape: the tensor's. Its first axis is rows, its second columns, further ones go with the column.
        axis: what has numbers of its own.
        groups: along columns: rows come in so many groups of equal size, each with numbers of its own.
    """

    def __init__(self, vector: Load, shape: Sequence[int], axis: Axis, groups: int = 1) -> None:
        self._vector, self._axis, self._groups = vector, axis, groups
        self._rows = shape[0]
        self._columns = shape[1] if len(shape) > 1 else 1
        self._each = int(np.prod(shape[2:], dtype=np.int64))

    def apply(self, values: Floats, start: int) -> Floats:
        """Change elements of one span."""
        places = np.arange(start, start + len(values)) // self._each
        rows, columns = np.divmod(places, self._columns)
        index = rows if self._axis == "rows" else rows // (self._rows // self._groups) * self._columns + columns
        values *= self._vector().reshape(-1)[index]
        return values


class ReplaceRows(_Anywhere):
    """Some rows are replaced.

    Args:
        rows: loads them, (number of indices, width).
        indices: which they are.
        width: elements of a row.
    """

    def __init__(self, rows: Load, indices: Sequence[int], width: int) -> None:
        self._rows, self._width = rows, width
        self._order = np.argsort(np.asarray(indices, np.int64))
        self._sorted = np.asarray(indices, np.int64)[self._order]

    def apply(self, values: Floats, start: int) -> Floats:
        """Change elements of one span."""
        stop, width = start + len(values), self._width
        first, last = np.searchsorted(self._sorted, [start // width, -(-stop // width)])
        for row, place in zip(self._sorted[first:last].tolist(), self._order[first:last].tolist(), strict=True):
            begin, end = max(row * width, start), min((row + 1) * width, stop)
            values[begin - start : end - start] = self._rows()[place, begin - row * width : end - row * width]
        return values


@dataclass(frozen=True, kw_only=True)
class Magnitudes:
    """What the norms of a sum's rows or columns are made (DoRA).

    Attributes:
        values: loads the wanted norms.
        axis: what has the norms.
        ground: reads elements of the tensor from one index to another, before any change.
        what: the tensor, for messages.
    """

    values: Load
    axis: Axis
    ground: Callable[[int, int], Floats]
    what: str


class AddProduct:
    """A scaled product of two factors is added; then, with DoRA, rows or columns get the norms that they are to have.

    Norms are taken of the whole tensor when the first element is asked for, which reads it once more.

    Args:
        product: returns the product of the factors, made or kept.
        shape: (batch, rows, width) of the tensor.
        scaling: what the product is multiplied by.
        rank: terms of the product's sums.
        magnitudes: for DoRA.

    Attributes:
        kept: bytes that the product takes as long as it is kept.
    """

    def __init__(
        self,
        product: Callable[[], Product],
        shape: tuple[int, int, int],
        scaling: float,
        rank: int,
        magnitudes: Magnitudes | None = None,
    ) -> None:
        self._product = product
        self.kept = 8 * shape[0] * rank * (shape[2] + TILE_STEP)
        self._batches, self._rows, self._width = shape
        self._band = band_of(self._width)
        self._scaling = scaling
        self._magnitudes = magnitudes
        self._lock = threading.Lock()
        self._norms: Floats | None = None

    @property
    def readings(self) -> int:
        """One, and one for norms."""
        return 1 if self._magnitudes is None else 2

    @property
    def memory(self) -> int:
        """Some bands, and the norms."""
        norms = self._rows + self._width if self._magnitudes else 0
        return 8 * (5 * self._band * self._width + norms)

    def spans(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Cut a run of elements at the ends of bands."""
        size, band = self._rows * self._width, self._band * self._width
        while start < stop:
            batch, inside = divmod(start, size)
            end = min(batch * size + min((inside // band + 1) * band, size), stop)
            yield start, end
            start = end

    def apply(self, values: Floats, start: int) -> Floats:
        """Change elements of one span, all of one band."""
        self._sum(values, start)
        if self._magnitudes is None:
            return values
        factors, places = self._factors(self._magnitudes), np.arange(start, start + len(values))
        values *= factors[places // self._width if self._magnitudes.axis == "rows" else places % self._width]
        return values

    def _sum(self, values: Floats, start: int) -> Floats:
        """Add the product to elements of one band."""
        width = self._width
        batch, inside = divmod(start, self._rows * width)
        first_row, first = divmod(inside, width)
        last_row, last = divmod(inside + len(values) - 1, width)
        columns = (first, last + 1) if first_row == last_row else (0, width)
        product = self._product().of_band(batch, first_row // self._band, *columns, self._scaling)
        begin = first_row % self._band
        rows = product[begin : begin + last_row - first_row + 1]
        if rows.size == len(values):
            values.reshape(rows.shape)[:] += rows
        else:
            values += rows.reshape(-1)[first : first + len(values)]
        return values

    def _factors(self, magnitudes: Magnitudes) -> Floats:
        """Return what rows or columns are multiplied by; found once."""
        with self._lock:
            if self._norms is None:
                self._norms = self._measured(magnitudes)
            return self._norms

    def _measured(self, magnitudes: Magnitudes) -> Floats:
        """Take the norms of the sum, band by band."""
        size = self._rows * self._width
        squares = np.zeros(self._rows if magnitudes.axis == "rows" else self._width)
        for start, stop in self.spans(0, size):
            band = self._sum(magnitudes.ground(start, stop), start).reshape(-1, self._width) ** 2
            if magnitudes.axis == "columns":
                squares += band.sum(axis=0)
            else:
                squares[start // self._width : stop // self._width] = band.sum(axis=1)
        if not squares.all():
            raise SourceError(
                f"{magnitudes.what}: {magnitudes.axis[:-1]} {int(np.argmin(squares != 0))} is all zero with the "
                "adapter added, and DoRA cannot give it a norm. The adapter does not fit this base."
            )
        wanted = magnitudes.values().reshape(-1).astype(np.float64)
        factors: Floats = wanted / np.sqrt(squares)
        return factors

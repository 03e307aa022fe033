"""What two models of equal names and shapes differ by: norms in one reading, rows of matrices as often as wanted."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cuvee.digest import Digests
from cuvee.errors import MergeError, PlanError
from cuvee.execute.adapter.tasks import Count, Task
from cuvee.sources.strict_json import shown
from cuvee.spec import Fetching, Source
from cuvee.tensors.widen import widened

__all__ = ["READING", "Difference"]

PIECE = 1 << 18  # elements read at a time where shapes do not matter
PIECES = 64  # that a worker is given at a time
PER_ELEMENT = 48  # bytes that reading an element of both takes: as stored, in float32, in float64, subtracted, squared
READING = 3
"""Bytes of memory that `rows` takes for each byte of the rows in float64, these included: both models' in float32, one
in float64, and the difference."""


class Difference:
    """A base and a fine-tuned model. Any number of threads may read at once.

    Args:
        base: the base.
        finetuned: what was trained from it.

    Attributes:
        base: the same.
        finetuned: the same.
        digests: of what was read of each, by label.

    Raises:
        PlanError: they differ in names or shapes.
    """

    def __init__(self, base: Source, finetuned: Source) -> None:
        self.base, self.finetuned = base, finetuned
        self.digests = {"base": Digests(base.header), "finetuned": Digests(finetuned.header)}
        self._squares: dict[tuple[str, int], float] = {}
        for one, other in ((base, finetuned), (finetuned, base)):
            for name, spec in one.header.items():
                if name not in other.header or other.header[name].shape != spec.shape:
                    found = other.header[name].shape if name in other.header else "nothing"
                    raise PlanError(
                        f"{shown(name)} has shape {spec.shape} in {one.reference}, and {found} in {other.reference}; "
                        "expected a base and a model that was trained from it."
                    )

    @property
    def memory(self) -> int:
        """Bytes that a thread takes for reading itself, whatever it reads."""
        return self.base.memory + self.finetuned.memory

    def cost(self, name: str) -> int:
        """Return the bytes that reading a tensor of both takes."""
        return self.base.cost(name) + self.finetuned.cost(name)

    def fetch(self) -> None:
        """Have at hand what lies elsewhere.

        Raises:
            SourceError: it cannot be had.
        """
        for source in (self.base, self.finetuned):
            if isinstance(source, Fetching):
                source.fetch(source.header)

    def measures(self) -> Sequence[Task]:
        """Return the work of taking norms and digests; each tensor of both is read once."""
        step = PIECE * PIECES
        return [
            Task(
                name=name,
                memory=self.memory + PER_ELEMENT * min(PIECE, spec.size),
                do=partial(self._measure, name, start, min(start + step, spec.size)),
            )
            for name, spec in self.base.header.items()
            for start in range(0, spec.size, step)
        ]

    def norms(self) -> Mapping[str, float]:
        """Return the norm of each tensor's difference, exactly 0 where it is equal; what `measures` does is done.

        Of tensors whose elements are no floating-point numbers it is NaN where they differ.
        """
        totals = dict.fromkeys(self.base.header, 0.0)
        for name, start in sorted(self._squares):
            totals[name] += self._squares[name, start]
        return {name: total**0.5 for name, total in totals.items()}

    def rows(self, name: str, first: int, last: int, count: Count) -> NDArray[np.float64]:
        """Return rows of the difference of a matrix.

        Raises:
            MergeError: a weight is not finite.
        """
        width = self.base.header[name].shape[1]
        ours, theirs = (self._floats(each, name, first * width, last * width) for each in (self.base, self.finetuned))
        difference = (theirs.astype(np.float64) - ours).reshape(last - first, width)
        if not np.isfinite(difference).all():
            raise MergeError(f"{name}: a weight is NaN or infinite; see which with cuvee diff.")
        count(self.cost(name) * (last - first) // self.base.header[name].shape[0])
        return difference

    def check_unchanged(self) -> None:
        """Verify that neither has changed since.

        Raises:
            SourceError: one has; names it.
        """
        self.base.check_unchanged()
        self.finetuned.check_unchanged()

    def _measure(self, name: str, start: int, stop: int, count: Count) -> None:
        """Take the sum of squares of a run of elements, piece by piece."""
        spec, theirs_spec = self.base.header[name], self.finetuned.header[name]
        are_floats = spec.dtype.kind == theirs_spec.dtype.kind == "float"
        total, equal = 0.0, True
        for first, last in _pieces(start, stop):
            ours = self._read(self.base, name, first, last, "base")
            theirs = self._read(self.finetuned, name, first, last, "finetuned")
            if are_floats:
                wide = widened(theirs, theirs_spec.dtype).astype(np.float64)
                total += float(np.sum((wide - widened(ours, spec.dtype)) ** 2))
            else:
                equal &= bool(np.array_equal(ours, theirs))
            count(self.cost(name) * (last - first) // spec.size)
        self._squares[name, start] = total if are_floats else 0.0 if equal else float("nan")

    def _floats(self, source: Source, name: str, start: int, stop: int) -> NDArray[np.float32]:
        return widened(self._read(source, name, start, stop), source.header[name].dtype)

    def _read(self, source: Source, name: str, start: int, stop: int, label: str = "") -> NDArray[np.uint8]:
        bits = source.header[name].dtype.bits
        data = np.empty((stop - start) * bits // 8, np.uint8)
        source.read_into(data.data, name, start * bits // 8)
        if label:
            self.digests[label].add(name, start * bits // 8, data.data)
        return data


def _pieces(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield runs of elements that make up a longer run."""
    for first in range(start, stop, PIECE):
        yield first, min(first + PIECE, stop)

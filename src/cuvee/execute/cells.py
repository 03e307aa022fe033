"""One cell of one strip: from raw bytes to merged bytes, or to a part of an answer."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cuvee.errors import CuveeError, MergeError, NonFiniteError
from cuvee.methods.declare import Draws
from cuvee.plan.rows import Job
from cuvee.plan.strips import Strip
from cuvee.spec import DType
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.convert import first_lost, first_non_finite, from_bytes, to_bytes
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Block, Operand, TaskVector
from cuvee.tensors.passes import Array, Pass, Position, advance
from cuvee.tensors.random import Key

__all__ = ["Cell", "part_of", "told"]

Bytes = NDArray[np.uint8]
Note = Callable[[str, str], None]


def part_of(data: Bytes | None, dtype: DType, first: int, size: int) -> Bytes | None:
    """Return the bytes of `size` elements from element `first` on, or of fewer at the end."""
    return None if data is None else data[first * dtype.bits // 8 : (first + size) * dtype.bits // 8]


class _ApartError(Exception):
    """A method has something to say about one of several rows: it has to be asked about each by itself."""


class Cell:
    """The raw elements of one cell, for all jobs of its strip.

    Args:
        strip: the strip.
        start: the cell's first element within the strip.
        size: elements in it.
        raw: for each input of the strip, the cell's bytes; None where no job under way reads it.
        note: takes a tensor's name and a sentence about it.
    """

    def __init__(self, strip: Strip, start: int, size: int, raw: Sequence[Bytes | None], note: Note) -> None:
        self.strip = strip
        self.start = start
        self.size = size
        self._raw = raw
        self._note = note
        self._blocks: dict[tuple[int, int, bool], Block] = {}

    def run(self, j: int, answers: list[object], passes_known: int, out: Bytes | None) -> Pass | None:
        """Do a job as far as the answers lead.

        Args:
            j: which of the strip's jobs.
            answers: what is known of the job's domain.
            passes_known: how many of the answers took a pass, and were no sample.
            out: takes the merged bytes, if it comes to that; None for a piece of a sample, where it must not.

        Returns:
            The pass that the job asks for, or None when it has merged.

        Raises:
            MergeError: the method failed; names the tensor.
            NonFiniteError: a weight is NaN or infinite, or the result is.
        """
        job = self.strip.joined.jobs[j]
        rows = self._rows(j)
        try:
            result = self._advance(j, answers, rows)
        except _ApartError:
            self._run_apart(j, out)
            return None
        if isinstance(result, Pass):
            if self.strip.stands_apart(j):  # it has not declared that it asks
                self._run_apart(j, out)
                return None
            if result.kind != "sample" and passes_known >= (declared := job.method.passes(job.parameters)):
                raise MergeError(
                    f"{self.name}: method '{job.method.name}' asks for more passes than it declares ({declared})."
                )
            return replace(result, measure=partial(self._measure, j, answers, result))
        if out is None:
            raise MergeError(
                f"{self.name}: method '{job.method.name}' asked cells different questions; passes may not depend "
                "on the elements of a cell."
            )
        if job.moves and isinstance(result, Block):
            out[:] = result.data
        else:
            self._store(job, result, rows, out)
        return None

    def _run_apart(self, j: int, out: Bytes | None) -> None:
        """Merge rows one by one, which need not know of each other."""
        place = 0
        for cell in self._alone():
            cell.run(j, [], 0, part_of(out, cell.strip.joined.jobs[j].dtype, place, cell.size))
            place += cell.size

    def _alone(self) -> "Iterator[Cell]":
        """Make a cell of each row."""
        strip, place = self.strip, 0
        for row in strip.rows:
            raw = zip(self._raw, row.inputs, strict=True)
            inputs = [part_of(data, item.spec.dtype, place, row.size) for data, item in raw]
            own = [replace(each, size=row.size, cells=1) if each.scope == "tensor" else each for each in strip.domains]
            alone = replace(strip, joined=replace(row, width=strip.joined.width), rows=(row,), domains=own)
            yield Cell(alone, 0, row.size, inputs, self._note)
            place += row.size

    @property
    def name(self) -> str:
        """Name of the tensor, or of the first of several, for messages."""
        return self.strip.joined.name

    @property
    def made_tensors(self) -> bool:
        """Whether an input was widened to a torch tensor."""
        return any("tensor" in vars(block) for block in self._blocks.values())

    def _rows(self, j: int) -> int:
        """Return how many rows the operands have: those of the tensor, for a method that looks at rows, else one."""
        row = self.strip.joined
        by_rows = self.strip.domains[j].by_rows or row.jobs[j].method.locality != "block"
        return self.size // row.width if by_rows else 1

    def _advance(self, j: int, answers: list[object], rows: int) -> object:
        """Run the job's method; an error of its own is told with the tensor's name."""
        job, whole = self.strip.joined.jobs[j], self.strip.domains[j].whole
        operands, wanted = self._operands(job, rows), self._wanted(j)
        try:
            return advance(job.method.function, answers, whole, operands, *wanted, **job.parameters)
        except (NonFiniteError, _ApartError):  # an input's error has a name already
            raise
        except Exception as error:
            if self.strip.stands_apart(j):
                raise _ApartError from error
            self._find_fault(j, answers)
            raise told(self.name, job, error) from error

    def _measure(self, j: int, answers: list[object], asked: Pass) -> Array:
        """Take the cell's part of a pass; an error of the method is told with the tensor's name."""
        try:
            return asked.measure()
        except NonFiniteError:
            raise
        except Exception as error:
            self._find_fault(j, answers)
            raise told(self.name, self.strip.joined.jobs[j], error) from error

    def _find_fault(self, j: int, answers: list[object]) -> None:
        """After a method has failed for several rows at once: let it fail for the one it failed for."""
        if len(self.strip.rows) > 1:
            for cell in self._alone():
                found = cell._advance(j, answers, 1)
                if isinstance(found, Pass):
                    cell._measure(j, answers, found)

    def _operands(self, job: Job, rows: int) -> list[Operand]:
        """Make the operands of a job's models."""
        # What is only copied may hold anything: masks of minus infinity are not a fault.
        models = [self._block(i, rows, checked=not job.method.any_dtype) for i in job.operands]
        if job.base is None:
            return list(models)
        base = self._block(job.base, rows)
        return [TaskVector(model, base) for model in models]

    def _block(self, i: int, rows: int, *, checked: bool = True) -> Block:
        """Return an input's block; jobs share it, so that it is widened once."""
        key = (i, rows, checked)
        if key not in self._blocks:
            item, raw = self.strip.joined.inputs[i], self._raw[i]
            assert raw is not None
            # Not a method of the cell: a block that holds its cell is a cycle, which frees its memory much later.
            widen = partial(_widen, self.strip, i, self.start) if checked else from_bytes
            self._blocks[key] = Block(raw, item.spec.dtype, rows, widen)
        return self._blocks[key]

    def _wanted(self, j: int) -> list[object]:
        """Make what else the method takes: its position, its draws."""
        row, domain = self.strip.joined, self.strip.domains[j]
        job = row.jobs[j]
        available: dict[str, Callable[[], object]] = {
            "position": lambda: Position(
                shape=job.outputs[0].shape if job.method.locality != "block" else (),
                size=domain.size,
                whole=domain.whole,
                note=partial(self._say, j),
            ),
            "draws": lambda: Draws(self._keys(j), row.start + self.start),
        }
        return [available[name]() for name in job.method.wants]

    def _keys(self, j: int) -> list[Key]:
        """Make each model's key to the draws of the strip's tensors."""
        rows, job = self.strip.rows, self.strip.joined.jobs[j]
        streams = [row.jobs[j].stream for row in rows]
        return [Key.of(job.seed, label, streams, rows[0].size if len(rows) > 1 else None) for label in job.labels]

    def _say(self, j: int, text: str) -> None:
        """Note what the method says of the tensor."""
        if self.strip.stands_apart(j):
            raise _ApartError
        self._note(self.name, text)

    def _store(self, job: Job, result: object, rows: int, out: Bytes) -> None:
        """Add the base to a merged task vector, and round the result into its output bytes."""
        base = None if job.base is None else self._block(job.base, rows)
        if isinstance(result, Block):  # copied, in another type
            result = weighted_sum([result], [1.0])
        store = getattr(result, "store", None)
        if store is None or not store(base, job.dtype, out):
            self._store_tensor(job, result, base, out)

    def _store_tensor(self, job: Job, result: object, base: Block | None, out: Bytes) -> None:
        """Do what `_store` does in torch, and say what is wrong where something is."""
        merged = result if isinstance(result, torch.Tensor) else getattr(result, "tensor", None)
        if merged is None or merged.numel() != self.size:
            found = f"{tuple(merged.shape)}" if merged is not None else type(result).__name__
            raise MergeError(
                f"{self.name}: method '{job.method.name}' returned {found}; expected {self.size} elements as float32."
            )
        if base is not None:
            merged = base.tensor + merged
        if not job.method.any_dtype and (at := first_non_finite(merged)) is not None:
            raise self._refused(job, merged, at, "comes of finite inputs; lower the weights or the scale")
        stored = to_bytes(merged, job.dtype, out)
        if (at := first_lost(merged, stored, job.dtype)) is not None:
            raise self._refused(job, merged, at, f"does not fit into {job.dtype}; choose a wider output dtype")

    def _refused(self, job: Job, merged: "torch.Tensor", at: int, cause: str) -> NonFiniteError:
        """Make the error about one element of a result."""
        ((row, place, _),) = self.strip.pieces(self.start + at, 1)
        return NonFiniteError(
            f"{row.name}: method '{job.method.name}' gives {float(merged.reshape(-1)[at])} at flat index "
            f"{row.start + place}, which {cause}. Models: {', '.join(job.labels)}."
        )


def told(name: str, job: Job, error: Exception) -> MergeError:
    """Make the error that tells of a method's own, with the tensor's name."""
    failed = f"method '{job.method.name}' failed: {type(error).__name__}: "
    return MergeError(f"{name}: {'' if isinstance(error, CuveeError) else failed}{error}")


def _widen(strip: Strip, i: int, start: int, data: Bytes, dtype: DType) -> "torch.Tensor":
    """Widen a cell of an input, whose first element is `start` of the strip; refuse it if it is not finite."""
    wide = from_bytes(data, dtype)
    if (at := first_non_finite(wide)) is not None:
        value = float(data.view(np.float64)[at] if dtype.name == "F64" else wide[at])
        cause = "float32 arithmetic cannot hold it" if np.isfinite(value) else "A merge would spread it"
        ((row, place, _),) = strip.pieces(start + at, 1)
        item = row.inputs[i]
        raise NonFiniteError(
            f"{item.describe()} is {value} at flat index {item.view.start + place}. {cause}: "
            "repair that model, or give a rule for this tensor (copy it from another model, or skip it)."
        )
    return wide

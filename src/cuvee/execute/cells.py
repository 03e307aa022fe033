"""One cell of one row: from raw bytes to merged bytes, or to a part of an answer."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cuvee.errors import CuveeError, MergeError, NonFiniteError
from cuvee.methods.declare import Draws
from cuvee.plan.rows import Domain, Input, Job, Row
from cuvee.spec import DType
from cuvee.tensors.algebra import weighted_sum
from cuvee.tensors.convert import first_lost, first_non_finite, from_bytes, to_bytes
from cuvee.tensors.framework import torch
from cuvee.tensors.operands import Block, Operand, TaskVector
from cuvee.tensors.passes import Pass, Position, advance
from cuvee.tensors.random import Key

__all__ = ["Cell"]

Bytes = NDArray[np.uint8]
Note = Callable[[str, str], None]


class Cell:
    """The raw elements of one cell, for all jobs of its row.

    Args:
        row: the row.
        start: the cell's first element within the row.
        size: elements in it.
        raw: for each input of the row, the cell's bytes; None where no job under way reads it.
        note: takes a tensor's name and a sentence about it.
    """

    def __init__(self, row: Row, start: int, size: int, raw: Sequence[Bytes | None], note: Note) -> None:
        self.row = row
        self.start = start
        self.size = size
        self._raw = raw
        self._note = note
        self._blocks: dict[tuple[int, int, bool], Block] = {}

    def run(self, job: Job, domain: Domain, answers: list[object], passes_known: int, out: Bytes | None) -> Pass | None:
        """Do a job as far as the answers lead.

        Args:
            job: one of the row's jobs.
            domain: the job's.
            answers: what is known of the domain.
            passes_known: how many of the answers took a pass, and were no sample.
            out: takes the merged bytes, if it comes to that; None for a piece of a sample, where it must not.

        Returns:
            The pass that the job asks for, or None when it has merged.

        Raises:
            MergeError: the method failed; names the tensor.
            NonFiniteError: a weight is NaN or infinite, or the result is.
        """
        rows = self._rows(job, domain)
        result = self._advance(job, domain, answers, rows)
        if isinstance(result, Pass):
            if result.kind != "sample" and passes_known >= (declared := job.method.passes(job.parameters)):
                raise MergeError(
                    f"{self.row.name}: method '{job.method.name}' asks for more passes than it declares ({declared})."
                )
            return result
        if out is None:
            raise MergeError(
                f"{self.row.name}: method '{job.method.name}' asked cells different questions; passes may not depend "
                "on the elements of a cell."
            )
        if isinstance(result, Block) and result.dtype == job.dtype:
            out[:] = result.data
        else:
            self._store(job, result, rows, out)
        return None

    @property
    def made_tensors(self) -> bool:
        """Whether an input was widened to a torch tensor."""
        return any("tensor" in vars(block) for block in self._blocks.values())

    def _rows(self, job: Job, domain: Domain) -> int:
        """Return how many rows the operands have: those of the tensor, for a method that looks at rows, else one."""
        by_rows = domain.scope == "row" or job.method.locality != "block"
        return self.size // self.row.width if by_rows else 1

    def _advance(self, job: Job, domain: Domain, answers: list[object], rows: int) -> object:
        """Run the job's method; an error of its own is told with the tensor's name."""
        operands, wanted = self._operands(job, rows), self._wanted(job, domain)
        try:
            return advance(job.method.function, answers, domain.whole, operands, *wanted, **job.parameters)
        except NonFiniteError:  # an input's, which has a name already
            raise
        except CuveeError as error:
            raise MergeError(f"{self.row.name}: {error}") from error
        except Exception as error:
            cause = f"method '{job.method.name}' failed: {type(error).__name__}: {error}"
            raise MergeError(f"{self.row.name}: {cause}") from error

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
            item, raw = self.row.inputs[i], self._raw[i]
            assert raw is not None
            # Not a method of the cell: a block that holds its cell is a cycle, which frees its memory much later.
            widen = partial(_widen, item, item.view.start + self.start) if checked else from_bytes
            self._blocks[key] = Block(raw, item.spec.dtype, rows, widen)
        return self._blocks[key]

    def _wanted(self, job: Job, domain: Domain) -> list[object]:
        """Make what else the method takes: its position, its draws."""
        start = self.row.start + self.start
        available: dict[str, Callable[[], object]] = {
            "position": lambda: Position(
                tensor=self.row.name,
                start=start,
                shape=job.outputs[0].shape,
                size=domain.size,
                whole=domain.whole,
                note=lambda text: self._note(self.row.name, text),
            ),
            "draws": lambda: Draws([Key.of(job.seed, label, job.stream) for label in job.labels], start),
        }
        return [available[name]() for name in job.method.wants]

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
                f"{self.row.name}: method '{job.method.name}' returned {found}; expected {self.size} elements as "
                "float32."
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
        return NonFiniteError(
            f"{self.row.name}: method '{job.method.name}' gives {float(merged.reshape(-1)[at])} at flat index "
            f"{self.row.start + self.start + at}, which {cause}. Models: {', '.join(job.labels)}."
        )


def _widen(item: Input, start: int, data: Bytes, dtype: DType) -> "torch.Tensor":
    """Widen a cell of an input, whose first element is `start` of its tensor; refuse it if it is not finite."""
    wide = from_bytes(data, dtype)
    if (at := first_non_finite(wide)) is not None:
        value = float(data.view(np.float64)[at] if dtype.name == "F64" else wide[at])
        cause = "float32 arithmetic cannot hold it" if np.isfinite(value) else "A merge would spread it"
        raise NonFiniteError(
            f"{item.describe()} is {value} at flat index {start + at}. {cause}: "
            "repair that model, or give a rule for this tensor (copy it from another model, or skip it)."
        )
    return wide

"""What a plan is made of: rows, the jobs done on them, and the domains their passes are taken over.

Values only: the planner decides them, the executor carries them out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

from cuvee.methods.declare import Method
from cuvee.spec import DType, Source, TensorSpec, View

__all__ = ["CELL", "Domain", "Input", "Job", "Row", "fuse", "used"]

CELL = 1 << 19
"""Elements in a cell of the grid that passes are added up over. Part of the numerics: changing it changes last bits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """A piece of a source that a row reads.

    Attributes:
        source: where it is read.
        label: what the recipe calls that source, for messages.
        view: the piece.
        spec: the whole tensor's specification.
    """

    source: Source
    label: str
    view: View
    spec: TensorSpec

    @property
    def nbytes(self) -> int:
        """Bytes in the piece."""
        return self.view.size * self.spec.dtype.bits // 8

    @property
    def cost(self) -> int:
        """Bytes that are read when the piece is read once, from wherever they are kept."""
        return self.source.cost(self.view.name) * self.view.size // max(self.spec.size, 1)

    def describe(self) -> str:
        """Name file, tensor and model, for messages."""
        return f"{self.source.locate(self.view.name)}: tensor '{self.view.name}' of model '{self.label}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What the passes of some jobs are taken over together.

    Attributes:
        scope: the whole ``"model"``, a ``"tensor"``, each ``"row"``, or each ``"column"`` of one tensor.
        size: elements in it; in one row, or column, if those are the scope.
        cells: cells of the grid in it.
    """

    scope: Literal["model", "tensor", "row", "column"]
    size: int
    cells: int

    @property
    def by_rows(self) -> bool:
        """Whether cells hold whole rows, and operands lie in rows."""
        return self.scope in ("row", "column")

    @property
    def whole(self) -> bool:
        """Whether each cell holds its domains entirely, so that passes need no reading of their own."""
        return self.scope == "row" or self.cells <= 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one variant does with a row.

    Attributes:
        variant: which of the merges made together.
        method: the method.
        parameters: its parameters, as plain values; per-model ones as lists in the order of `operands`.
        operands: indices into the row's inputs, one per model in the recipe's order.
        base: index of the base among the row's inputs, for task vectors, else None.
        labels: the models' labels.
        domain: index of the domain its passes are taken over.
        dtype: element type written.
        outputs: where the merged elements go.
        seed: the recipe's.
        stream: name that random draws go by: the tensor's, or that of the tensor it is a copy of.
        moves: it moves raw elements as they are, and computes nothing.
        reason: why this is not the recipe's own method, or an empty string.
        compare: indices of inputs that should equal the first operand, byte by byte; the run says so if they do not.
    """

    variant: int
    method: Method
    parameters: Mapping[str, Any]
    operands: Sequence[int]
    base: int | None
    labels: Sequence[str]
    domain: int
    dtype: DType
    outputs: Sequence[View]
    seed: int
    stream: str
    moves: bool
    reason: str
    compare: Sequence[int] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One piece of the output, independent of all others but for whole-model passes.

    Attributes:
        name: output tensor.
        start: flat index of the row's first element in that tensor.
        size: elements in the row.
        cell: elements in a cell of its grid.
        width: elements along its last axis; where columns are merged each by itself, along all but the first.
        inputs: what is read, each once for all jobs.
        jobs: what is done with it, one per variant.
    """

    name: str
    start: int
    size: int
    cell: int
    width: int
    inputs: Sequence[Input]
    jobs: Sequence[Job]

    @property
    def cells(self) -> int:
        """Number of cells."""
        return ceil(self.size / self.cell) if self.size else 0


def used(job: Job) -> list[int]:
    """Return the indices of the inputs that a job reads, each once."""
    return list(dict.fromkeys([*job.operands, *([] if job.base is None else [job.base]), *job.compare]))


def fuse(first: Row, second: Row) -> Row:
    """Make one row of two variants' rows for the same tile; inputs that they share are read once."""
    inputs = list(first.inputs)
    places = {}
    for i, item in enumerate(second.inputs):
        same = [j for j, other in enumerate(inputs) if other.source is item.source and other.view == item.view]
        places[i] = same[0] if same else len(inputs)
        if not same:
            inputs.append(item)
        elif item.label not in inputs[same[0]].label.split("/"):
            inputs[same[0]] = replace(inputs[same[0]], label=f"{inputs[same[0]].label}/{item.label}")
    jobs = [
        replace(
            job,
            operands=tuple(places[i] for i in job.operands),
            base=None if job.base is None else places[job.base],
            compare=tuple(places[i] for i in job.compare),
        )
        for job in second.jobs
    ]
    return replace(first, inputs=tuple(inputs), jobs=(*first.jobs, *jobs))

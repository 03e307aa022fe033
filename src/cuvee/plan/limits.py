"""How a run uses the machine, and what memory it will take. Nothing here changes a bit of the result."""

import os
from dataclasses import dataclass, field

from cuvee.errors import RecipeError
from cuvee.plan.planner import Plan, used
from cuvee.plan.rows import Job, Row

__all__ = ["Limits", "cells_per_block", "peak_memory"]

BUFFERS = 96 << 20  # bytes that all workers' buffers may take before blocks get smaller
INTERPRETER = 60 << 20  # resident bytes of Python, numpy and this package
FRAMEWORK = 224 << 20  # resident bytes that torch adds
ROW = 5 << 10  # bytes of a row: its plan, the headers of its inputs, the account of its output
FLOAT = 4  # bytes of a float32 element
MOST_WORKERS = 8  # by default: more would take memory and, reading from one disk, gain nothing


def _default_workers() -> int:
    """Return one worker for each core this process may use, up to a limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Workers and the size of their reads.

    Attributes:
        workers: threads that read, compute and write; one for each core by default, at most 8.
        block_bytes: bytes read from one input at a time, at most; rounded to whole cells of the grid, one at least.
    """

    workers: int = field(default_factory=_default_workers)
    block_bytes: int = 8 << 20

    def __post_init__(self) -> None:
        """Check the values."""
        if self.workers < 1 or self.block_bytes < 1:
            raise RecipeError(f"workers ({self.workers}) and block size ({self.block_bytes}) must be positive.")

    def block_bytes_for(self, plan: Plan) -> int:
        """Return the block size, made smaller where many inputs would make the buffers large."""
        arrays = max((len(row.inputs) + len(row.jobs) for row in plan.rows), default=1)
        return min(self.block_bytes, BUFFERS // (self.workers * arrays))


def cells_per_block(row: Row, block_bytes: int) -> int:
    """Return how many cells of a row are read at a time."""
    widest = max([item.spec.dtype.bits for item in row.inputs] + [job.dtype.bits for job in row.jobs])
    return max(1, block_bytes * 8 // (row.cell * widest))


def peak_memory(plan: Plan, limits: Limits) -> int:
    """Predict the largest resident memory of a run that writes to disk, in bytes, interpreter included."""
    block_bytes = limits.block_bytes_for(plan)
    widens = any(job.lane != "bytes" for row in plan.rows for job in row.jobs)
    worker = max((_row_memory(row, block_bytes) for row in plan.rows), default=0)
    return INTERPRETER + FRAMEWORK * widens + ROW * len(plan.rows) + limits.workers * worker


def _row_memory(row: Row, block_bytes: int) -> int:
    """Predict what one worker needs for a row: its buffers, and the float32 cells of the job that needs most."""
    elements = min(row.size, row.cell * cells_per_block(row, block_bytes))
    buffers = sum(item.spec.dtype.bits for item in row.inputs) + sum(job.dtype.bits for job in row.jobs)
    return elements * buffers // 8 + max(_job_memory(row, job) for job in row.jobs)


def _job_memory(row: Row, job: Job) -> int:
    """Predict a job's temporaries: inputs widened, task vectors, masks, sums, histograms, the Gram matrix's doubles.

    The factors are fitted to measurements of every method with 2, 4 and 8 models and 1, 2 and 8 workers.
    """
    if job.lane == "bytes":
        return 0
    cells_per_input = 11 if job.method.passes(job.parameters) else 6
    return (cells_per_input * len(used(job)) + 8) * FLOAT * min(row.cell, row.size)

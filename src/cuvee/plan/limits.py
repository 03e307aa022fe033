"""How a run may use the machine, and what memory it will take. Nothing here changes a bit of the result."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cuvee.errors import PlanError, RecipeError
from cuvee.files import AHEAD
from cuvee.plan.planner import Plan, used
from cuvee.plan.rows import CELL, Domain, Job, Row
from cuvee.plan.sample import num_pieces
from cuvee.plan.strips import Strip
from cuvee.tensors.passes import PIECE
from cuvee.tensors.ranks import FEW, most_candidates

__all__ = ["PLACE", "Budget", "Limits", "budget_of", "cells_per_block", "sizes_to_keep"]

INTERPRETER = 112 << 20  # resident bytes of Python, numpy, the compiled kernels and this package
FRAMEWORK = 224 << 20  # resident bytes that torch adds
ROW = 4 << 10  # bytes of a row: its plan, the headers of its inputs
JOB = 1 << 10  # bytes of a job of it: its domain, the account of its output
WORKER = 4 << 20  # bytes of a thread: its stack, what the allocator keeps for it
FLOAT = 4  # bytes of a float32 element
COUNT, COUNTS = 4, 8  # bytes of a number of entries, while those on a cut are counted: of a cell, and summed up
SAMPLED = 16  # bytes of an element of a sample: as it is read, put together, and sorted
HISTOGRAMS = 2 << 20  # bytes of a model's histograms and samples while they are taken
MOST_WORKERS = 8  # by default: more would take memory and, reading from one disk, gain nothing
KEPT = 512 << 20  # peak that raw elements kept between passes may bring a run to, unless told otherwise
SMALLEST_BLOCK = 64 << 10  # bytes; smaller reads would cost more than they save
PLACE = 64  # bytes; what is kept begins at multiples of it

InTorch = Callable[[Row, Job], bool]


def _default_workers() -> int:
    """Return one worker for each core this process may use, up to a limit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use.

    Attributes:
        workers: threads that read, compute and write; one for each core by default, at most 8.
        block_bytes: bytes read from one input at a time, at most; rounded to whole cells of the grid, one at least.
        memory: resident bytes that the run may take at most, interpreter included; None sets no limit.
    """

    workers: int = field(default_factory=_default_workers)
    block_bytes: int = 1 << 20
    memory: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.workers < 1 or self.block_bytes < 1 or (self.memory is not None and self.memory < 1):
            raise RecipeError(
                f"workers ({self.workers}), block size ({self.block_bytes}) and memory ({self.memory}) must be "
                "positive."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What a run will use, within its limits.

    Attributes:
        workers: threads.
        block_bytes: bytes read from one input at a time.
        keep_bytes: memory in which raw elements stay between passes.
        peak_memory: resident bytes in all, interpreter included, at most.
    """

    workers: int
    block_bytes: int
    keep_bytes: int
    peak_memory: int


def budget_of(plan: Plan, limits: Limits, in_torch: InTorch = lambda _row, _job: True) -> Budget:
    """Decide what a run will use.

    Where memory is short, blocks get smaller first, then there are fewer workers. What is left over keeps raw elements
    between passes.

    Args:
        plan: the plan.
        limits: what it may use.
        in_torch: says which jobs compute on torch tensors.

    Raises:
        PlanError: one worker with the smallest blocks takes more memory than the limit; names the row that needs most.
    """
    fixed = _fixed_memory(plan, in_torch)
    workers, block_bytes = limits.workers, limits.block_bytes
    worker, row = _largest(plan, block_bytes, in_torch)
    each = WORKER + sum(
        {id(source): source.memory for own in plan.variants for source in own.sources.values()}.values()
    )
    while True:
        peak = fixed + workers * (each + worker)
        if limits.memory is None or peak <= limits.memory:
            break
        if block_bytes > SMALLEST_BLOCK:
            block_bytes = max(block_bytes // 2, SMALLEST_BLOCK)
            worker, row = _largest(plan, block_bytes, in_torch)
        elif workers > 1:
            workers -= 1
        else:
            raise PlanError(
                f"{row}: this tensor needs {peak / 1e6:,.0f} MB of memory in all, with one worker and the smallest "
                f"blocks; the limit is {limits.memory / 1e6:,.0f} MB. Allow {-(-peak // 1_000_000)} MB or more."
            )
    spare = max((KEPT if limits.memory is None else limits.memory) - peak, 0)
    keep = _kept(plan, workers, spare)
    return Budget(workers=workers, block_bytes=block_bytes, keep_bytes=keep, peak_memory=peak + keep)


def cells_per_block(row: Row, block_bytes: int) -> int:
    """Return how many cells of a row are read at a time."""
    widest = max([item.spec.dtype.bits for item in row.inputs] + [job.dtype.bits for job in row.jobs])
    return max(1, block_bytes * 8 // (row.cell * widest))


def sizes_to_keep(plan: Plan) -> Sequence[int]:
    """Return, for each domain, the bytes that its rows keep between passes if they keep anything."""
    sizes = [0] * len(plan.domains)
    for strip in plan.strips:
        again = {job.domain for job in strip.joined.jobs if plan.readings(job) > 1}
        for domain in again:
            sizes[domain] += sum(-(-strip.nbytes(i) // PLACE) * PLACE for i in range(len(strip.joined.inputs)))
    return sizes


def _kept(plan: Plan, workers: int, spare: int) -> int:
    """Return the bytes that rows which take their passes together can keep, of those to spare.

    They keep all of what they read, or nothing. Each worker has one large group of rows under way, or as many small
    ones as it is handed at a time, and one more has begun.
    """
    fitting = [size for size in sizes_to_keep(plan) if size <= spare]
    handed = max((CELL * sum(item.spec.dtype.bits for item in row.inputs) // 8 for row in plan.rows), default=0)
    return min(spare, sum(fitting), (workers + 1) * (max(fitting, default=0) + handed))


def _fixed_memory(plan: Plan, in_torch: InTorch) -> int:
    """Predict what does not depend on workers and blocks."""
    jobs = [(strip.joined, job) for strip in plan.strips for job in strip.joined.jobs]
    torch = any(not job.moves and in_torch(row, job) for row, job in jobs)
    passing = [(row, job) for row, job in jobs if plan.readings(job) > 1]
    counts = [0] * len(plan.domains)
    sampled = 0
    for row, job in passing:
        size, num_models = plan.domains[job.domain].size, len(job.operands)
        each = 2 * most_candidates(size, num_models) + 1
        counts[job.domain] += num_models * each * (COUNT * row.cells + COUNTS)
        sampled = max(sampled, SAMPLED * PIECE * num_pieces(size) * num_models)
    num_jobs = sum(len(row.jobs) for row in plan.rows)
    known = ROW * len(plan.rows) + JOB * num_jobs + max(counts, default=0) + sampled
    return INTERPRETER + FRAMEWORK * torch + known


def _largest(plan: Plan, block_bytes: int, in_torch: InTorch) -> tuple[int, str]:
    """Return what one worker needs for the strip that takes most, and that one's name."""
    needed = ((_strip_memory(strip, block_bytes, in_torch), strip.joined.name) for strip in plan.strips)
    return max(needed, default=(0, ""))


def _strip_memory(strip: Strip, block_bytes: int, in_torch: InTorch) -> int:
    """Predict what one worker needs for a strip: its buffers, and what the job that needs most takes to compute."""
    row = strip.joined
    elements = min(row.size, row.cell * cells_per_block(row, block_bytes))
    buffers = sum(item.spec.dtype.bits for item in row.inputs) + sum(job.dtype.bits for job in row.jobs)
    return (
        AHEAD * len(row.inputs)
        + elements * buffers // 8
        + max(
            _job_memory(row, job, in_torch(row, job)) + _row_by_row(row, job, domain)
            for job, domain in zip(row.jobs, strip.domains, strict=True)
        )
    )


def _job_memory(row: Row, job: Job, in_torch: bool) -> int:
    """Predict what computing a cell takes: chunks and histograms, or, on tensors, inputs, masks and sums in float32.

    The factors are fitted to measurements of every method with 2, 4 and 8 models and 1, 2 and 8 workers.
    """
    if job.moves:
        return 0
    passes = bool(job.method.passes(job.parameters))
    histograms = HISTOGRAMS * len(job.operands) if passes else 0
    if not in_torch:
        return min(histograms, 8 * row.size * len(job.operands))
    return ((11 if passes else 6) * len(used(job)) + 8) * FLOAT * min(row.cell, row.size)


def _row_by_row(row: Row, job: Job, domain: Domain) -> int:
    """Predict what the answers take of a job that has one for each row: inner products, or cuts and what finds them."""
    if domain.scope != "row" or not job.method.by_rows:
        return 0
    elements, num_models = min(row.cell, row.size), len(job.operands)
    sorted_too = 4 * FLOAT * elements * num_models if row.width <= FEW else 0
    return elements // max(row.width, 1) * max(8 * num_models**2, 100 * num_models) + sorted_too

"""How a run may use the machine, and what memory it will take. Nothing here changes a bit of the result."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.errors import PlanError, RecipeError
from cuvee.files import AHEAD
from cuvee.layered import memory_of
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL, Domain, Job, Row, used
from cuvee.plan.sample import num_pieces
from cuvee.plan.strips import Strip
from cuvee.tensors.passes import PIECE
from cuvee.tensors.ranks import FEW, most_candidates

__all__ = [
    "PLACE",
    "Budget",
    "InTorch",
    "Limits",
    "Share",
    "budget_of",
    "cells_per_block",
    "has_torch",
    "memory_of_process",
    "resident_memory",
    "share_out",
    "sizes_to_keep",
    "strip_memory",
]

INTERPRETER = 116 << 20  # resident bytes of Python, numpy, the compiled kernels and this package
LOADED = 64 << 20  # of them, what is loaded or made after the plan, whatever else the process holds by then
FRAMEWORK = 240 << 20  # resident bytes that torch adds
ROW = 4 << 10  # bytes of a row: its plan, the headers of its inputs
JOB = 1 << 10  # bytes of a job of it: its domain, the account of its output
WORKER = 4 << 20  # bytes of a thread: its stack, what the allocator keeps for it
FLOAT = 4  # bytes of a float32 element
COUNT, COUNTS = 4, 8  # bytes of a number of entries, while those on a cut are counted: of a cell, and summed up
SAMPLED = 16  # bytes of an element of a sample: as it is read, put together, and sorted
BY_COLUMN = 10  # how often inner products of columns lie in memory: as sums, as matrices, of all cells and of one
HISTOGRAMS = 2 << 20  # bytes of a model's histograms and samples while they are taken
MOST_WORKERS = 8  # by default: more would take memory and, reading from one disk, gain nothing
DRIFT = 2 << 20  # bytes that one process may hold more than another that loads the same
KEPT = 512 << 20  # peak that raw elements kept between passes may bring a process to that holds nothing else
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
        given = {"workers": self.workers, "block size": self.block_bytes, "memory": self.memory}
        for name, value in given.items():
            if value is None and name == "memory":
                continue
            if not isinstance(value, int) or isinstance(value, bool):
                raise RecipeError(f"the {name} must be a whole number, not {value!r}.")
            if value < 1:
                raise RecipeError(f"the {name} must be at least 1, not {value}.")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How pieces of work that take much memory are shared out, within limits.

    Attributes:
        workers: threads.
        room: bytes that the pieces under way may take together; None sets no limit.
        peak_memory: resident bytes in all, interpreter included, at most.
    """

    workers: int
    room: int | None
    peak_memory: int


def resident_memory() -> int:
    """Return the bytes that this process holds in memory now; 0 where the system does not tell."""
    with suppress(OSError), Path("/proc/self/statm").open() as status:
        return int(status.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return 0


def has_torch() -> bool:
    """Say whether this process has loaded torch by now."""
    return "torch" in sys.modules


def budget_of(
    plan: Plan,
    limits: Limits,
    in_torch: InTorch = lambda _row, _job: True,
    resident: int = 0,
    *,
    torch_resides: bool = False,
) -> Budget:
    """Decide what a run will use.

    Where memory is short, blocks get smaller first, then there are fewer workers. What is left over keeps raw elements
    between passes.

    Args:
        plan: the plan.
        limits: what it may use.
        in_torch: says which jobs compute on torch tensors.
        resident: bytes that the process holds in memory already.
        torch_resides: torch is part of them.

    Raises:
        PlanError: one worker with the smallest blocks takes more memory than the limit; names the row that needs most.
    """
    held, behind = memory_of(plan.sources)
    fixed = held + _fixed_memory(plan, in_torch, resident, torch_resides=torch_resides)
    num_cells = sum(strip.joined.cells for strip in plan.strips)
    workers, block_bytes = max(1, min(limits.workers, num_cells)), limits.block_bytes
    worker, row = _largest(plan, block_bytes, in_torch)
    while True:
        peak = fixed + workers * (WORKER + worker + behind)
        if limits.memory is None or peak <= limits.memory:
            break
        if block_bytes > SMALLEST_BLOCK:
            block_bytes = max(block_bytes // 2, SMALLEST_BLOCK)
            worker, row = _largest(plan, block_bytes, in_torch)
        elif workers > 1:
            workers -= 1
        else:
            raise _too_little(f"{row}: this tensor", "with one worker and the smallest blocks", peak, limits, resident)
    usual = KEPT + max(resident + LOADED - INTERPRETER, 0)
    spare = max((usual if limits.memory is None else limits.memory) - peak, 0)
    keep = _kept(plan, workers, spare)
    return Budget(workers=workers, block_bytes=block_bytes, keep_bytes=keep, peak_memory=peak + keep)


def _too_little(what: str, how: str, peak: int, limits: Limits, resident: int) -> PlanError:
    """Make the error about a limit on memory that does not suffice."""
    held = f", of which this process holds {resident / 1e6:,.0f} MB already" if resident > INTERPRETER else ""
    memory = limits.memory or 0
    limit = f"{memory / 1e6:,.{0 if memory >= 1_000_000 else 3}f}"
    enough = peak + (DRIFT if resident else 0)
    return PlanError(
        f"{what} needs {peak / 1e6:,.0f} MB of memory in all, {how}{held}; the limit is {limit} MB. Allow "
        f"{-(-enough // 1_000_000)} MB or more."
    )


def share_out(needs: Sequence[tuple[str, int]], limits: Limits, fixed: int, resident: int = 0) -> Share:
    """Decide how many pieces of work are done at once.

    Args:
        needs: for each piece what messages call it, and the bytes it takes.
        limits: what all may use.
        fixed: bytes that are taken whatever runs.
        resident: bytes that the process held in memory before.

    Raises:
        PlanError: a piece by itself takes more memory than the limit; names it, and what would do.
    """
    name, most = max(needs, key=lambda need: need[1], default=("", 0))
    workers = max(1, min(limits.workers, len(needs)))
    together = sum(sorted((memory for _, memory in needs), reverse=True)[:workers])
    if limits.memory is None:
        return Share(workers=workers, room=None, peak_memory=fixed + workers * WORKER + together)
    if fixed + WORKER + most > limits.memory:
        raise _too_little(f"{name}: this module", "with one worker", fixed + WORKER + most, limits, resident)
    while fixed + workers * WORKER + most > limits.memory:
        workers -= 1
    room = limits.memory - fixed - workers * WORKER
    return Share(workers=workers, room=room, peak_memory=fixed + workers * WORKER + min(together, room))


def memory_of_process(resident: int, *, torch: bool = False) -> int:
    """Return the resident bytes of the process itself while it runs: interpreter, libraries, and what it held before.

    Args:
        resident: bytes that it holds in memory already; 0 if that is not known.
        torch: it will load torch, which it does not hold yet.
    """
    return max(INTERPRETER, resident + LOADED) + (FRAMEWORK if torch else 0)


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


def _fixed_memory(plan: Plan, in_torch: InTorch, resident: int, *, torch_resides: bool) -> int:
    """Predict what does not depend on workers and blocks."""
    jobs = [(strip.joined, job) for strip in plan.strips for job in strip.joined.jobs]
    in_tensors = [(row, job) for row, job in jobs if not job.moves and in_torch(row, job)]
    rehearsed = max((_job_memory(row, job, True) for row, job in in_tensors), default=0)  # of which much stays
    passing = [(row, job) for row, job in jobs if plan.readings(job) > 1]
    counts = [0] * len(plan.domains)
    sampled = 0
    for row, job in passing:
        size, num_models = plan.domains[job.domain].size, len(job.operands)
        each = 2 * most_candidates(size, num_models) + 1
        counts[job.domain] += num_models * each * (COUNT * row.cells + COUNTS)
        piece = max(PIECE, row.width) if job.method.locality == "rows" else PIECE
        sampled = max(sampled, SAMPLED * piece * num_pieces(size) * num_models)
    num_jobs = sum(len(row.jobs) for row in plan.rows)
    columns = sum(
        8 * row.width * len(job.operands) for row, job in passing if plan.domains[job.domain].scope == "column"
    )
    known = ROW * len(plan.rows) + JOB * num_jobs + max(counts, default=0) + sampled + columns
    torch = bool(in_tensors) and not torch_resides
    return memory_of_process(resident, torch=torch) + known + rehearsed


def _largest(plan: Plan, block_bytes: int, in_torch: InTorch) -> tuple[int, str]:
    """Return what one worker needs for the strip that takes most, and that one's name."""
    needed = ((strip_memory(strip, block_bytes, in_torch), strip.joined.name) for strip in plan.strips)
    return max(needed, default=(0, ""))


def strip_memory(strip: Strip, block_bytes: int, in_torch: InTorch) -> int:
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
    """Predict what the answers take of a job that has one for each row or column: inner products, or cuts."""
    if domain.scope == "column":
        return BY_COLUMN * 8 * row.width * len(job.operands) ** 2
    if domain.scope != "row" or not job.method.by_rows:
        return 0
    elements, num_models = min(row.cell, row.size), len(job.operands)
    sorted_too = 4 * FLOAT * elements * num_models if row.width <= FEW else 0
    return elements // max(row.width, 1) * max(8 * num_models**2, 100 * num_models) + sorted_too

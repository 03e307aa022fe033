"""What a plan will cost on this machine: bytes, memory, and time from quick measurements.

Reads a few blocks of the inputs, writes a small file that it removes, and rehearses each kind of job on made-up
elements; a fraction of a second in all.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cuvee.execute.merged import Merged, merges_in
from cuvee.execute.reading import Bytes, read_pieces
from cuvee.execute.rehearsal import Rehearsal, Rehearsals
from cuvee.layered import beneath
from cuvee.plan.limits import (
    Budget,
    InTorch,
    Limits,
    budget_of,
    cells_per_block,
    has_torch,
    resident_memory,
    sizes_to_keep,
)
from cuvee.plan.plan import Plan
from cuvee.plan.rows import used
from cuvee.plan.strips import Strip

__all__ = ["Forecast", "Rate", "forecast", "torch_jobs"]

READS = 24  # blocks of the inputs that are read to see how fast that is
READ_SECONDS = 0.25  # after which no more are read: the inputs lie on a slow disk
READ_BYTES = 1 << 20
WRITTEN_BYTES = 16 << 20
BLOCK_SECONDS = 4e-5  # of processor time to hand out a block, and to take it back
PIECE_SECONDS = 1.2e-5  # to write one piece of it, besides its bytes


@dataclass(frozen=True, slots=True)
class Rate:
    """What moving a byte takes one thread.

    Attributes:
        seconds: in all.
        cpu_seconds: of them, processor time.
    """

    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run will cost.

    Attributes:
        budget: workers, blocks and memory that it will use.
        seconds: wall-clock time of the run, start-up not included.
        compute_seconds: processor time of its arithmetic.
        bytes_read: from the inputs, usually, with what is kept between passes read once.
        bytes_read_at_most: from the inputs, where guesses fail.
        bytes_written: tensors written.
        reading: what reading takes, as measured.
        writing: what writing takes, as measured.
        lanes: how each variant's job of each row computes: see `Rehearsal`.
    """

    budget: Budget
    seconds: float
    compute_seconds: float
    bytes_read: int
    bytes_read_at_most: int
    bytes_written: int
    reading: Rate
    writing: Rate
    lanes: Sequence[Sequence[str]]


def forecast(plan: Plan, limits: Limits, folder: Path | None = None) -> Forecast:
    """Say what a plan will cost.

    Args:
        plan: the plan; its sources are open.
        limits: what the run may use.
        folder: where the output will lie; the system's folder for temporary files if not given.

    Raises:
        PlanError: the memory does not suffice.
        SourceError: an input cannot be read.
    """
    resident = resident_memory()  # before rehearsals load what the run will have loaded
    torch_resides = resident > 0 and has_torch()  # where the system does not tell, nothing is held yet
    rehearsals = Rehearsals()
    tried = _tried(rehearsals, plan)
    in_torch = _in_torch(tried)
    budget = budget_of(plan, limits, lambda _, job: id(job) in in_torch, resident, torch_resides=torch_resides)
    compute = sum(
        one.per_cell * strip.joined.cells + one.per_element * strip.joined.size
        for each in (tried, *(_tried(rehearsals, inner.plan) for inner in merges_in(plan)))
        for strip, own in each
        for one in own
    )
    lanes = {id(row): [one.lane for one in own] for strip, own in tried for row in strip.rows}
    reading, writing = _reading(plan), _writing(folder)
    bytes_read = _bytes_read(plan, budget)
    handing = sum(_handing(plan, strip, budget) for strip in plan.strips)
    moved = reading.seconds * bytes_read + writing.seconds * plan.bytes_written
    moved_cpu = reading.cpu_seconds * bytes_read + writing.cpu_seconds * plan.bytes_written
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Forecast(
        budget=budget,
        # Python hands blocks out one at a time; the rest is shared by the workers, and its arithmetic by the cores.
        seconds=handing + max((moved + compute) / budget.workers, (moved_cpu + compute) / min(budget.workers, cores)),
        compute_seconds=compute,
        bytes_read=bytes_read,
        bytes_read_at_most=plan.bytes_read_at_most,
        bytes_written=plan.bytes_written,
        reading=reading,
        writing=writing,
        lanes=[lanes[id(row)] for row in plan.rows],
    )


def torch_jobs(plan: Plan) -> InTorch:
    """Return what says which jobs of a plan's strips compute on torch tensors, as a rehearsal shows."""
    jobs = _in_torch(_tried(Rehearsals(), plan))
    return lambda _, job: id(job) in jobs


def _in_torch(tried: Sequence[tuple[Strip, Sequence[Rehearsal]]]) -> set[int]:
    """Return the ids of the jobs that compute on torch tensors."""
    return {
        id(job)
        for strip, own in tried
        for job, one in zip(strip.joined.jobs, own, strict=True)
        if one.lane == "tensors"
    }


def _tried(rehearsals: Rehearsals, plan: Plan) -> list[tuple[Strip, list[Rehearsal]]]:
    """Rehearse the jobs of a plan."""
    return [(strip, [rehearsals.of(strip, j) for j in range(len(strip.joined.jobs))]) for strip in plan.strips]


def _bytes_read(plan: Plan, budget: Budget) -> int:
    """Predict the bytes that are read from the inputs, where guesses are right and what fits is kept."""
    kept = [size <= budget.keep_bytes for size in sizes_to_keep(plan)]
    return plan.preparation + sum(
        sum(item.cost for item in row.inputs) if all(kept[job.domain] for job in row.jobs) else plan.row_bytes_read(row)
        for row in plan.rows
    )


def _handing(plan: Plan, strip: Strip, budget: Budget) -> float:
    """Predict what handing out a strip's blocks takes, over all its readings."""
    row = strip.joined
    blocks = -(-row.cells // cells_per_block(row, budget.block_bytes))
    readings = max(map(plan.readings, row.jobs))
    pieces = len(strip.rows) * sum(len(job.outputs) for job in row.jobs)
    return blocks * (readings * BLOCK_SECONDS + pieces * PIECE_SECONDS)


def _reading(plan: Plan) -> Rate:
    """Measure how fast the inputs are read: blocks spread evenly over all that is read."""
    plans = [plan, *(inner.plan for inner in merges_in(plan))]
    inputs = [
        (strip, i)
        for each in plans
        for strip in each.strips
        for job in strip.joined.jobs
        for i in used(job)
        if not any(isinstance(each, Merged) for each in beneath(strip.joined.inputs[i].source))
    ]
    chosen = inputs[:: max(len(inputs) // READS, 1)][:READS]
    buffer = np.ones(READ_BYTES, np.uint8)  # touched, so that no page is made while the time is taken
    moved, seconds, cpu = 0, 0.0, 0.0
    opened = set[str]()
    for k, (strip, i) in enumerate(chosen):
        item = strip.rows[0].inputs[i]
        if strip.joined.size and (file := item.source.locate(item.view.name)) not in opened:
            opened.add(file)
            read_pieces(strip, i, 0, 1, buffer[: item.spec.dtype.bits // 8])  # opening it is done once for many blocks
        began, cpu_began = time.perf_counter(), time.thread_time()
        moved += _read_some(strip, i, buffer, k)
        seconds += time.perf_counter() - began
        cpu += time.thread_time() - cpu_began
        if seconds > READ_SECONDS:
            break
    return Rate(seconds / moved, cpu / moved) if moved else Rate(0.0, 0.0)


def _read_some(strip: Strip, i: int, buffer: Bytes, k: int) -> int:
    """Read a block of an input, somewhere in it; return how many bytes."""
    width, size = strip.joined.inputs[i].spec.dtype.bits // 8, strip.joined.size
    count = min(size, buffer.nbytes // width)
    read_pieces(strip, i, (size - count) * k // READS, count, buffer[: count * width])
    return count * width


def _writing(folder: Path | None) -> Rate:
    """Measure how fast a file is written, as far as the system takes it; the file is removed."""
    place = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None) if folder else None
    data = np.ones(READ_BYTES, np.uint8)
    with suppress(OSError), tempfile.TemporaryFile(dir=place) as file:
        began, cpu = time.perf_counter(), time.thread_time()
        for _ in range(0, WRITTEN_BYTES, READ_BYTES):
            file.write(data.data)
        return Rate((time.perf_counter() - began) / WRITTEN_BYTES, (time.thread_time() - cpu) / WRITTEN_BYTES)
    return Rate(0.0, 0.0)

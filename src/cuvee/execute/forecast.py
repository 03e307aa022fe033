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

from cuvee.execute.rehearsal import Rehearsals
from cuvee.plan.limits import Budget, Limits, budget_of, cells_per_block, sizes_to_keep
from cuvee.plan.planner import Plan, used
from cuvee.plan.rows import Input
from cuvee.plan.strips import Strip

__all__ = ["Forecast", "Rate", "forecast"]

READS = 24  # blocks of the inputs that are read to see how fast that is
READ_SECONDS = 0.25  # after which no more are read: the inputs lie on a slow disk
READ_BYTES = 1 << 20
WRITTEN_BYTES = 16 << 20
BLOCK_SECONDS = 4e-5  # of processor time to hand out a block, and to take it back
INPUT_SECONDS = 1.2e-5  # to read or write one piece of it, besides its bytes


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
    rehearsals = Rehearsals()
    tried = [(strip, [rehearsals.of(strip, j) for j in range(len(strip.whole.jobs))]) for strip in plan.strips]
    in_torch = {id(job) for strip, own in tried
                for job, one in zip(strip.whole.jobs, own, strict=True) if one.lane == "tensors"}  # fmt: skip
    budget = budget_of(plan, limits, lambda _, job: id(job) in in_torch)
    compute = sum(
        one.per_cell * strip.whole.cells + one.per_element * strip.whole.size for strip, own in tried for one in own
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


def _bytes_read(plan: Plan, budget: Budget) -> int:
    """Predict the bytes that are read from the inputs, where guesses are right and what fits is kept."""
    kept = [size <= budget.keep_bytes for size in sizes_to_keep(plan)]
    return sum(
        sum(item.nbytes for item in row.inputs)
        if all(kept[job.domain] for job in row.jobs)
        else plan.row_bytes_read(row)
        for row in plan.rows
    )


def _handing(plan: Plan, strip: Strip, budget: Budget) -> float:
    """Predict what handing out a strip's blocks takes, over all its readings."""
    row = strip.whole
    blocks = -(-row.cells // cells_per_block(row, budget.block_bytes))
    readings = max(map(plan.readings, row.jobs))
    pieces = sum(len(used(job)) * plan.readings(job) + len(job.outputs) for job in row.jobs)
    return blocks * (readings * BLOCK_SECONDS + len(strip.rows) * pieces * INPUT_SECONDS)


def _reading(plan: Plan) -> Rate:
    """Measure how fast the inputs are read: blocks spread evenly over all that is read."""
    inputs = [(item, job) for row in plan.rows for job in row.jobs for i in used(job) for item in (row.inputs[i],)]
    chosen = inputs[:: max(len(inputs) // READS, 1)][:READS]
    buffer = np.ones(READ_BYTES, np.uint8)  # touched, so that no page is made while the time is taken
    moved, began, cpu = 0, time.perf_counter(), time.thread_time()
    for k, (item, _) in enumerate(chosen):
        moved += _read_some(item, buffer, k)
        if time.perf_counter() - began > READ_SECONDS:
            break
    if not moved:
        return Rate(0.0, 0.0)
    return Rate((time.perf_counter() - began) / moved, (time.thread_time() - cpu) / moved)


def _read_some(item: Input, buffer: "np.ndarray[tuple[int], np.dtype[np.uint8]]", k: int) -> int:
    """Read a block of an input, somewhere in it; return how many bytes."""
    count = min(item.nbytes, buffer.nbytes)
    start = item.view.start * item.spec.dtype.bits // 8
    offset = (item.nbytes - count) * k // READS
    item.source.read_into(buffer[:count].data, item.view.name, start + offset)
    return count


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

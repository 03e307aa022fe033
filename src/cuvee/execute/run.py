"""From a plan to written bytes: workers take blocks, read them, run their cells and write what has merged."""

import resource
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cuvee.errors import MergeError
from cuvee.execute.agenda import Agenda, Block, Group
from cuvee.execute.answers import Answers
from cuvee.execute.cells import Bytes, Cell
from cuvee.plan.limits import Limits, cells_per_block
from cuvee.plan.planner import Plan, used
from cuvee.plan.rows import Job, Row
from cuvee.pool import run_threads
from cuvee.spec import DType, Sink
from cuvee.tensors.framework import single_threaded

__all__ = ["Report", "execute"]

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run cost and what it noticed.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: processor time of all threads.
        bytes_read: from all inputs, all passes.
        bytes_written: tensors written.
        peak_memory: largest resident memory of the process so far, in bytes.
        notes: what the user should know, once per tensor and fact.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    peak_memory: int = 0
    notes: list[str] = field(default_factory=list)


def execute(
    plan: Plan, sinks: Sequence[Sink], limits: Limits, progress: Callable[[int], None] = lambda _: None
) -> Report:
    """Carry out a plan.

    Args:
        plan: what to do; its sources are open.
        sinks: one for each variant.
        limits: workers and block size; they change nothing in the result.
        progress: called with the number of bytes read or written since the last call, from any worker.

    Returns:
        What it cost. On return every tensor has been handed to its sink entirely.

    Raises:
        CuveeError: reading, merging or writing failed; the sinks are left incomplete.
    """
    began, cpu = time.perf_counter(), time.process_time()
    run = _Run(plan, sinks, limits, progress)
    with single_threaded(any(job.lane != "bytes" for row in plan.rows for job in row.jobs)):
        run_threads(run.work, run.agenda.stop, max(1, min(limits.workers, sum(row.cells for row in plan.rows))))
    report = run.report
    report.notes = run.notes()
    report.seconds = time.perf_counter() - began
    report.cpu_seconds = time.process_time() - cpu
    report.peak_memory = _peak_memory()
    return report


def _peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    # On Linux ru_maxrss counts the program that started this one, too: in a large notebook every merge would be large.
    with suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT


class _Run:
    """The state of one run, shared by its workers."""

    def __init__(self, plan: Plan, sinks: Sequence[Sink], limits: Limits, progress: Callable[[int], None]) -> None:
        self._plan = plan
        self._sinks = sinks
        self._progress = progress
        self._lock = threading.Lock()
        self._noted: set[tuple[str, str]] = set()
        self._answers = [Answers() for _ in plan.domains]
        # For each row, by its id: the jobs that have merged, and what the cells of the sweep under way did.
        self._finished: dict[int, set[int]] = defaultdict(set)
        self._merging: dict[int, set[int]] = defaultdict(set)
        self._asking: dict[int, set[int]] = defaultdict(set)
        block_bytes = limits.block_bytes_for(plan)
        groups = [
            Group(rows, lambda row: cells_per_block(row, block_bytes), self._unfinished) for rows in _connected(plan)
        ]
        self.agenda = Agenda(groups, self._end_row, self._end_sweep)
        self.report = Report()

    def work(self) -> None:
        """Take blocks until there are none."""
        buffers = _Buffers()
        while (block := self.agenda.take()) is not None:
            self._do(block, buffers)
            self.agenda.done(block)

    def _unfinished(self, row: Row) -> bool:
        return len(self._finished[id(row)]) < len(row.jobs)

    def _end_row(self, _: Group, row: Row) -> None:
        for j in self._merging[id(row)] & self._asking.pop(id(row), set()):
            raise MergeError(
                f"{row.name}: method '{row.jobs[j].method.name}' merged some cells and asked a question for others; "
                "passes may not depend on the elements of a cell."
            )
        for job in row.jobs:
            self._answers[job.domain].end_row(row)

    def _end_sweep(self, group: Group) -> None:
        for domain in dict.fromkeys(job.domain for row in group.rows for job in row.jobs):
            self._answers[domain].close()
        for row in group.rows:  # only now: other blocks of the sweep must not take the job for done
            self._finished[id(row)] |= self._merging[id(row)]

    def _do(self, block: Block, buffers: "_Buffers") -> None:
        """Read a block's inputs, run its cells and write the jobs that have merged."""
        row = block.row
        jobs = [(j, job) for j, job in enumerate(row.jobs) if j not in self._finished[id(row)]]
        first = block.first * row.cell
        size = min(block.last * row.cell, row.size) - first
        raw = self._read(row, [job for _, job in jobs], first, size, buffers)
        out = {j: buffers.get("out", j, size * job.dtype.bits // 8) for j, job in jobs}
        merged = self._run_cells(block, dict(jobs), raw, out)
        for j, job in jobs:
            for i in job.compare:
                self._compare(row, job, raw, i)
            if j in merged:
                self._write(job, first, out[j])

    def _run_cells(
        self, block: Block, jobs: Mapping[int, Job], raw: Sequence[Bytes | None], out: Mapping[int, Bytes]
    ) -> set[int]:
        """Run the cells of a block; return which jobs have merged."""
        row = block.row
        asked, merged = set[int](), set[int]()
        for index in range(block.first, block.last):
            offset = (index - block.first) * row.cell
            inputs = [
                _slice(data, item.spec.dtype, offset, row.cell) for data, item in zip(raw, row.inputs, strict=True)
            ]
            cell = Cell(row, index, inputs, self._note)
            for j, job in jobs.items():
                answers = self._answers[job.domain]
                target = _slice(out[j], job.dtype, offset, row.cell)
                assert target is not None
                question = cell.run(job, self._plan.domains[job.domain], answers.at(row, index), target)
                if question is None:
                    merged.add(j)
                else:
                    answers.add(row, index, question)
                    asked.add(j)
        with self._lock:
            self._merging[id(row)] |= merged
            self._asking[id(row)] |= asked
        return merged

    def _read(self, row: Row, jobs: Sequence[Job], first: int, size: int, buffers: "_Buffers") -> list[Bytes | None]:
        """Read a run of elements of every input that the jobs use."""
        needed = {i for job in jobs for i in used(job)}
        raw: list[Bytes | None] = [None] * len(row.inputs)
        for i in sorted(needed):
            item = row.inputs[i]
            width = item.spec.dtype.bits // 8
            data = buffers.get("in", i, size * width)
            item.source.read_into(data.data, item.view.name, (item.view.start + first) * width)
            raw[i] = data
            self._count(read=data.nbytes)
        return raw

    def _write(self, job: Job, first: int, data: Bytes) -> None:
        """Hand merged elements to the job's sink, under each of its names."""
        for view in job.outputs:
            self._sinks[job.variant].write_at(view.name, (view.start + first) * job.dtype.bits // 8, data.data)
            self._count(written=data.nbytes)

    def _compare(self, row: Row, job: Job, raw: Sequence[Bytes | None], i: int) -> None:
        """Note where an input that should equal the copied one does not."""
        kept = job.operands[0]
        if not np.array_equal(raw[kept], raw[i]):  # type: ignore[arg-type]
            labels = row.inputs[kept].label, row.inputs[i].label
            self._note(row.name, f"differs between '{labels[0]}' and '{labels[1]}'; copied from '{labels[0]}'")

    def _count(self, read: int = 0, written: int = 0) -> None:
        """Account for bytes moved."""
        with self._lock:
            self.report.bytes_read += read
            self.report.bytes_written += written
        self._progress(read + written)

    def _note(self, tensor: str, text: str) -> None:
        """Keep a fact about a tensor, once."""
        with self._lock:
            self._noted.add((tensor, text))

    def notes(self) -> list[str]:
        """Return the facts noted, in the plan's order, whichever worker came upon them first."""
        place = {row.name: i for i, row in enumerate(self._plan.rows)}
        return [f"{tensor}: {text}." for tensor, text in sorted(self._noted, key=lambda note: (place[note[0]], note))]


class _Buffers:
    """One worker's memory, used again for every block."""

    def __init__(self) -> None:
        self._memory: dict[tuple[str, int], Bytes] = {}

    def get(self, use: str, index: int, nbytes: int) -> Bytes:
        """Return `nbytes` of memory; what it held before is lost."""
        held = self._memory.get((use, index))
        if held is None or held.nbytes < nbytes:
            held = self._memory[use, index] = np.empty(nbytes, np.uint8)
        return held[:nbytes]


def _slice(data: Bytes | None, dtype: DType, offset: int, size: int) -> Bytes | None:
    """Return the bytes of `size` elements from element `offset` on, or of fewer at the end."""
    return None if data is None else data[offset * dtype.bits // 8 : (offset + size) * dtype.bits // 8]


def _connected(plan: Plan) -> list[list[Row]]:
    """Group rows that share a domain, directly or through others; groups and rows in stored order."""
    leader: dict[int, int] = {}

    def find(domain: int) -> int:
        while leader.setdefault(domain, domain) != domain:
            domain = leader[domain]
        return domain

    for row in plan.rows:
        domains = [find(job.domain) for job in row.jobs]
        for domain in domains:
            leader[domain] = min(domains)
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in plan.rows:
        groups[find(row.jobs[0].domain)].append(row)
    return list(groups.values())

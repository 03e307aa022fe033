"""From a plan to written bytes: workers take blocks, read them, run their cells and write what has merged."""

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import chain

import numpy as np

from cuvee.errors import MergeError
from cuvee.execute.agenda import Agenda, Block, Group
from cuvee.execute.cells import part_of
from cuvee.execute.hashes import Hashes
from cuvee.execute.history import History
from cuvee.execute.inquiry import Inquiry
from cuvee.execute.merged import Merged, merges_in
from cuvee.execute.reading import Buffers, Bytes, Kept, read
from cuvee.execute.report import Meter, Report
from cuvee.execute.shelf import Shelf
from cuvee.layered import Assembled
from cuvee.plan.limits import Budget, cells_per_block
from cuvee.plan.plan import Plan
from cuvee.plan.rows import CELL, Job, used
from cuvee.plan.strips import Strip
from cuvee.pool import run_threads
from cuvee.spec import Fetching, Sink
from cuvee.tensors.framework import single_threaded
from cuvee.writers.journal import Journal

__all__ = ["execute"]


def execute(
    plan: Plan,
    sinks: Sequence[Sink],
    budget: Budget,
    progress: Callable[[int], None] = lambda _: None,
    journals: Sequence[Journal] = (),
) -> Report:
    """Carry out a plan.

    Args:
        plan: what to do; its sources are open.
        sinks: one for each variant.
        budget: workers and memory; they change nothing in the result.
        progress: called with the number of bytes read or written since the last call, from any worker.
        journals: one for each variant, or none: what earlier attempts have done, and takes what this one does.

    Returns:
        What it cost. On return every tensor has been handed to its sink entirely, and no input has changed.

    Raises:
        CuveeError: reading, merging or writing failed; the sinks are left incomplete.
    """
    merges = merges_in(plan)
    plans = [plan, *(inner.plan for inner in merges)]
    preparing: list[Merged | Assembled] = [*merges]
    preparing += (source for own in plans for source in own.sources if isinstance(source, Assembled))
    for each in plans:
        _fetch(each)
    meter = Meter()
    for preparer in preparing:
        preparer.progress = progress
    run = _Run(plan, sinks, budget, progress, journals)
    try:
        with single_threaded():
            run_threads(run.work, run.agenda.stop, budget.workers)
    finally:
        run.close()
    hashes = [*(inner.hashes for inner in merges), run.hashes]
    inputs = dict(chain.from_iterable(each.of_inputs().items() for each in hashes))
    digests = inputs, run.hashes.of_outputs(sinks)
    for source in plan.sources:
        source.check_unchanged()
    notes = [f"{tensor}: {text} ({each.reference})." for each in merges for tensor, text in sorted(each.notes)]
    bytes_read = run.bytes_read + sum(each.bytes_prepared for each in preparing)
    report = meter.report(bytes_read, run.bytes_written, notes + run.notes(), digests)
    report.bytes_kept, report.passes_kept = run.bytes_kept, run.passes_kept
    return report


def _fetch(plan: Plan) -> None:
    """Have at hand what will be read of sources that lie elsewhere."""
    names = plan.reads()
    for source in plan.sources:
        if isinstance(source, Fetching) and names[id(source)]:
            source.fetch(names[id(source)])


class _Run:
    """The state of one run, shared by its workers."""

    def __init__(
        self,
        plan: Plan,
        sinks: Sequence[Sink],
        budget: Budget,
        progress: Callable[[int], None],
        journals: Sequence[Journal],
    ) -> None:
        self._plan = plan
        self._sinks = sinks
        self._progress = progress
        self._lock = threading.Lock()
        self.hashes = Hashes(plan, sinks)
        self._history = History(plan, journals, self.hashes)
        self._noted = set(self._history.notes)
        self._inquiry = Inquiry(plan, self._note, self._history.sums, lambda moved: self._count(moved, 0))
        # For each strip, by its id: the jobs that have merged, and what the cells of the sweep under way did.
        self._finished: dict[int, set[int]] = defaultdict(set)
        self._merging: dict[int, set[int]] = defaultdict(set)
        self._asking: dict[int, set[int]] = defaultdict(set)
        self._shelf = Shelf(budget.keep_bytes)
        self._kept: dict[int, Kept | None] = {}  # by the id of a group under way
        groups = [
            Group(strips, lambda strip: cells_per_block(strip.joined, budget.block_bytes), self._unfinished)
            for strips in _connected(plan)
        ]
        self.agenda = Agenda(groups, CELL, self._end_strip, self._end_sweep, self._end_group)
        self.bytes_read = 0
        self.bytes_written = 0
        self.bytes_kept = 0
        self.passes_kept = len(self._history.sums)
        self._places = {id(strip): place for place, strip in enumerate(plan.strips)}
        for place, j in self._history.merged:
            self._take_over(plan.strips[place], j)

    def _take_over(self, strip: Strip, j: int) -> None:
        """Count a job as finished: an earlier attempt has written its bytes."""
        self._finished[id(strip)].add(j)
        for row in strip.rows:
            job = row.jobs[j]
            width = job.dtype.bits // 8
            for view in job.outputs:
                self._sinks[job.variant].keep(view.name, view.start * width, row.size * width)
                self.bytes_kept += row.size * width

    def close(self) -> None:
        """Let go of the memory that was kept. The run is over, or has failed."""
        self._kept.clear()
        self._shelf.close()

    def work(self) -> None:
        """Take blocks until there are none."""
        buffers = Buffers()
        while batch := self.agenda.take():
            moved = [self._do(block, buffers) for block in batch]
            self._count(sum(read for read, _ in moved), sum(written for _, written in moved))
            self.agenda.done(batch)

    def _unfinished(self, strip: Strip) -> bool:
        return len(self._finished[id(strip)]) < len(strip.joined.jobs)

    def _end_strip(self, _: Group, strip: Strip) -> None:
        row = strip.joined
        for j in self._merging[id(strip)] & self._asking.pop(id(strip), set()):
            raise MergeError(
                f"{row.name}: method '{row.jobs[j].method.name}' merged some cells and asked a question for others; "
                "passes may not depend on the elements of a cell."
            )
        for j in self._merging[id(strip)] - self._finished[id(strip)]:
            self._history.has_merged(self._places[id(strip)], strip, j, self._noted_so_far())

    def _end_sweep(self, group: Group) -> None:
        closed = set[int]()
        for strip in group.strips:
            for job in strip.joined.jobs:
                if job.domain not in closed:
                    closed.add(job.domain)
                    if (summed := self._inquiry.close(job, strip.joined)) is not None:
                        self._history.has_summed(job.domain, *summed, self._noted_so_far())
        for strip in group.strips:  # only now: other blocks of the sweep must not take the job for done
            self._finished[id(strip)] |= self._merging[id(strip)]
        if (kept := self._kept.get(id(group))) is not None:
            kept.full = True

    def _end_group(self, group: Group) -> None:
        if (kept := self._kept.pop(id(group), None)) is not None:
            kept.release()

    def _kept_by(self, group: Group) -> Kept | None:
        """Return what a group keeps in memory; decided when its first block is worked on."""
        if id(group) not in self._kept:
            with self._lock:
                if id(group) not in self._kept:
                    self._kept[id(group)] = Kept.of(self._plan, group.strips, self._shelf)
        return self._kept[id(group)]

    def _do(self, block: Block, buffers: Buffers) -> tuple[int, int]:
        """Read a block's inputs, run its cells and write the jobs that have merged; return the bytes moved."""
        strip, row = block.strip, block.strip.joined
        finished = self._finished[id(strip)]
        jobs = {j: job for j, job in enumerate(row.jobs) if j not in finished}
        first = block.first * row.cell
        size = min(block.last * row.cell, row.size) - first
        needed = {i: None for job in jobs.values() for i in used(job)}
        raw, moved = read(strip, needed, first, size, buffers, self._kept_by(block.group), self.hashes)
        out = {j: buffers.get("out", j, size * job.dtype.bits // 8) for j, job in jobs.items()}
        merged = self._run_cells(block, jobs, raw, out)
        written = 0
        for j, job in jobs.items():
            for i in job.compare:
                self._compare(strip, job, raw, i)
            if j in merged:
                written += self._write(strip, j, first, size, out[j])
        return moved, written

    def _run_cells(
        self, block: Block, jobs: Mapping[int, Job], raw: Sequence[Bytes | None], out: Mapping[int, Bytes]
    ) -> set[int]:
        """Run the cells of a block; return which jobs have merged."""
        strip, row = block.strip, block.strip.joined
        asked, merged = set[int](), set[int]()
        for index in range(block.first, block.last):
            offset = (index - block.first) * row.cell
            cell = self._inquiry.cell(strip, index * row.cell, row.cell, raw, offset)
            for j, job in jobs.items():
                target = part_of(out[j], job.dtype, offset, row.cell)
                question = self._inquiry.advance(cell, j, index, target)
                if question is None:
                    merged.add(j)
                else:
                    self._inquiry.add(job, row, index, question)
                    asked.add(j)
        with self._lock:
            self._merging[id(strip)] |= merged
            self._asking[id(strip)] |= asked
        return merged

    def _write(self, strip: Strip, j: int, first: int, size: int, data: Bytes) -> int:
        """Hand merged elements to a job's sink, each row's under all of its names; return the bytes written."""
        written = place = 0
        for row, begin, count in strip.pieces(first, size):
            job = row.jobs[j]
            width = job.dtype.bits // 8
            merged = data[place : place + count * width]
            for view in job.outputs:
                offset = (view.start + begin) * width
                self._sinks[job.variant].write_at(view.name, offset, merged.data)
                self.hashes.wrote(job.variant, view.name, offset, merged.data)
            written += merged.nbytes * len(job.outputs)
            place += count * width
        return written

    def _compare(self, strip: Strip, job: Job, raw: Sequence[Bytes | None], i: int) -> None:
        """Note where an input that should equal the copied one does not."""
        row, kept = strip.joined, job.operands[0]
        if not np.array_equal(raw[kept], raw[i]):  # type: ignore[arg-type]
            labels = row.inputs[kept].label, row.inputs[i].label
            self._note(row.name, f"differs between '{labels[0]}' and '{labels[1]}'; copied from '{labels[0]}'")

    def _count(self, read: int, written: int) -> None:
        """Account for bytes moved."""
        with self._lock:
            self.bytes_read += read
            self.bytes_written += written
        self._progress(read + written)

    def _note(self, tensor: str, text: str) -> None:
        """Keep a fact about a tensor, once."""
        with self._lock:
            self._noted.add((tensor, text))

    def _noted_so_far(self) -> set[tuple[str, str]]:
        with self._lock:
            return set(self._noted)

    def notes(self) -> list[str]:
        """Return the facts noted, in the plan's order, whichever worker came upon them first."""
        place = {row.name: i for i, row in enumerate(self._plan.rows)}
        return [f"{tensor}: {text}." for tensor, text in sorted(self._noted, key=lambda note: (place[note[0]], note))]


def _connected(plan: Plan) -> list[list[Strip]]:
    """Group strips that share a domain, directly or through others; groups and strips in stored order."""
    leader: dict[int, int] = {}

    def find(domain: int) -> int:
        while leader.setdefault(domain, domain) != domain:
            domain = leader[domain]
        return domain

    for strip in plan.strips:
        domains = [find(job.domain) for job in strip.joined.jobs]
        for domain in domains:
            leader[domain] = min(domains)
    groups: dict[int, list[Strip]] = defaultdict(list)
    for strip in plan.strips:
        groups[find(strip.joined.jobs[0].domain)].append(strip)
    return list(groups.values())

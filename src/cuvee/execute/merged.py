"""A merge as a source: tensors that are merged when they are read, a cell at a time, and never stored.

What it gives has the same bytes as the checkpoint that the merge would write.
"""

import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from cuvee.execute.beside import as_written
from cuvee.execute.hashes import Hashes
from cuvee.execute.history import run_name
from cuvee.execute.inquiry import Inquiry
from cuvee.execute.reading import Buffers, Bytes, read
from cuvee.layered import beneath, memory_of
from cuvee.plan.configuration import joined
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import used
from cuvee.plan.strips import Strip
from cuvee.resolve import Resolved, Sources
from cuvee.sources.named import NamedTensors
from cuvee.spec import Location, folders_of

__all__ = ["Merged", "merges_in", "open_sources"]


class _Place:
    """Where the elements of an output tensor are merged: a run of a strip."""

    def __init__(self, start: int, size: int, strip: Strip, first: int) -> None:
        self.start = start  # within the tensor
        self.size = size
        self.strip = strip
        self.first = first  # within the strip


class _Cells(threading.local):
    """What one thread has merged last: small tensors that lie in one cell are read one after the other."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self.strip: Strip | None = None
        self.index = -1
        self.data: Bytes | None = None


class Merged(NamedTensors):
    """The merge that a resolved recipe describes, as named tensors.

    Reading a tensor for the first time takes the passes that its method needs, over all that they are taken over. Takes
    the memory of a cell of every input, for each thread that reads.

    Args:
        resolved: the recipe, with its sources open; they are closed by whoever opened them.
        reference: what to call it in messages.

    Attributes:
        plan: the merge's plan.
        notes: what its methods have said so far: tensor and text.
        hashes: the digests of what it has read so far.
        bytes_prepared: bytes that its passes have read so far.
        progress: called with bytes that passes have read since its last call.
        folders: the donor's: what it would write lies in them.
        header: every output tensor's specification, in the donor's order.
        config: the donor's configuration, with what the merge changes.
        identity: the name of the run that would write it; empty if that has none.
        memory: a cell of every input and of the output, and what the inputs take themselves.
        preparation: bytes that passes read, which are taken once.

    Raises:
        PlanError: the recipe and its models do not fit together.
    """

    def __init__(self, resolved: Resolved, reference: str) -> None:
        self.plan: Plan = make_plan([resolved])
        self.notes: set[tuple[str, str]] = set()
        self.hashes = Hashes(self.plan)
        self.bytes_prepared = 0
        self.progress: Callable[[int], None] = lambda _: None
        self._resolved = resolved
        self._inquiry = Inquiry(self.plan, lambda *note: self.notes.add(note), {}, self._count)
        self._counting = threading.Lock()
        self._locks = [threading.Lock() for _ in self.plan.domains]
        self._answered = [domain.whole for domain in self.plan.domains]
        self._by_domain: dict[int, list[Strip]] = defaultdict(list)
        self._places: dict[str, list[_Place]] = defaultdict(list)
        for strip in self.plan.strips:
            self._by_domain[strip.joined.jobs[0].domain].append(strip)
            first = 0
            for row in strip.rows:
                for view in row.jobs[0].outputs:
                    self._places[view.name].append(_Place(view.start, row.size, strip, first))
                first += row.size
        for places in self._places.values():
            places.sort(key=lambda place: place.start)
        self._cells = _Cells()
        donor, sources = resolved.sources[resolved.donor], resolved.sources.values()
        once = sum(item.cost for row in self.plan.rows for item in row.inputs)
        self.folders = folders_of(donor)
        super().__init__(
            reference=reference,
            header=self.plan.outputs[0],
            config=joined(donor.config, self.plan.config[0]),
            sidecars=as_written(self.plan, donor.sidecars),
            paths=list(dict.fromkeys(path for source in sources for path in source.paths)),
            identity=run_name(self.plan) or "",
            location=_location(resolved),
            memory=max(map(_cell_bytes, self.plan.strips), default=0) + sum(memory_of(sources)),
            preparation=max(self.plan.bytes_read - once, 0),
        )

    def cost(self, name: str) -> int:
        """Return the bytes that the rows of the tensor read; what passes read beforehand is not counted."""
        self._spec(name)
        rows = [row for place in self._places[name] for row in place.strip.rows if row.name == name]
        return sum(item.source.cost(item.view.name) for row in rows for item in row.inputs)

    def locate(self, name: str) -> str:
        """Name the merge."""
        self._spec(name)
        return f"the merge '{self.reference}'"

    def check_unchanged(self) -> None:
        """Verify that none of its sources has changed."""
        for source in self._resolved.sources.values():
            source.check_unchanged()

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the merged tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or an input cannot be read.
            MergeError: the merge failed.
        """
        end = self._end(name, offset, buffer)
        places, width = self._places[name], self.header[name].dtype.bits // 8
        target, at = np.frombuffer(buffer.cast("B"), np.uint8), offset
        while at < end:
            place = places[bisect_right(places, at // width, key=lambda each: each.start) - 1]
            inside = place.first * width + at - place.start * width  # within the strip, in bytes
            cell_bytes = place.strip.joined.cell * width
            data = self._merge(place.strip, inside // cell_bytes)
            begin = inside % cell_bytes
            count = min(end, (place.start + place.size) * width, at + len(data) - begin) - at
            target[at - offset : at - offset + count] = data[begin : begin + count]
            at += count

    def _merge(self, strip: Strip, index: int) -> Bytes:
        """Merge a cell of a strip, or return it if it was the last one."""
        cells = self._cells
        if cells.strip is not strip or cells.index != index or cells.data is None:
            cells.data = None
            self._answer(strip.joined.jobs[0].domain)
            job = strip.joined.jobs[0]
            size = min(strip.joined.cell, strip.joined.size - index * strip.joined.cell)
            data = cells.buffers.get("merged", 0, size * job.dtype.bits // 8)
            if self._advance(strip, index, data, cells.buffers):
                raise AssertionError("a domain whose passes are over asked for another")
            cells.strip, cells.index, cells.data = strip, index, data
        return cells.data

    def _advance(self, strip: Strip, index: int, target: Bytes, buffers: Buffers) -> bool:
        """Run a cell: merge it, or add what it says to the pass that it asks for; return whether it asks."""
        row = strip.joined
        job, first = row.jobs[0], index * row.cell
        size = min(row.cell, row.size - first)
        raw, moved = read(strip, used(job), first, size, buffers, None, self.hashes)
        question = self._inquiry.advance(self._inquiry.cell(strip, first, row.cell, raw, 0), 0, index, target)
        if question is not None:
            self._count(moved)
            self._inquiry.add(job, row, index, question)
        return question is not None

    def _count(self, moved: int) -> None:
        """Count bytes that passes and samples read."""
        with self._counting:
            self.bytes_prepared += moved
        self.progress(moved)

    def _answer(self, domain: int) -> None:
        """Take the passes over a domain, unless that has been done."""
        if self._answered[domain]:
            return
        with self._locks[domain]:
            while not self._answered[domain]:
                self._answered[domain] = not self._sweep(self._by_domain[domain])

    def _sweep(self, strips: Sequence[Strip]) -> bool:
        """Take one pass over a domain; return whether there was any to take."""
        buffers = Buffers()
        for strip in strips:
            row = strip.joined
            target = buffers.get("merged", 0, min(row.cell, row.size) * row.jobs[0].dtype.bits // 8)
            for index in range(row.cells):
                if not self._advance(strip, index, target, buffers):
                    return False
        if not strips:
            return False
        row = strips[0].joined
        self._inquiry.close(row.jobs[0], row)
        return True


def _location(resolved: Resolved) -> Location:
    """Return the recipe, with places that open its models again; nothing if one of them has none."""
    places = {label: source.location for label, source in resolved.sources.items()}
    if not all(places.values()):
        return ""
    return resolved.recipe.to_mapping(places)


def _cell_bytes(strip: Strip) -> int:
    """Return the bytes of a cell of a strip: inputs and output."""
    row = strip.joined
    widths = [item.spec.dtype.bits // 8 for item in row.inputs] + [row.jobs[0].dtype.bits // 8]
    return sum(widths) * min(row.cell, row.size)


def open_sources() -> Sources:
    """Return what opens the sources of recipes, of which some may be recipes themselves."""
    return Sources(Merged)


def merges_in(plan: Plan) -> Sequence[Merged]:
    """Return the merges that a plan's sources are, and those that they are made of, each once."""
    found: dict[int, Merged] = {}
    for own in plan.variants:
        for source in chain.from_iterable(map(beneath, own.sources.values())):
            if isinstance(source, Merged) and id(source) not in found:
                found |= {id(inner): inner for inner in merges_in(source.plan)} | {id(source): source}
    return list(found.values())

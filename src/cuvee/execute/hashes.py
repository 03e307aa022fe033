"""The content digests of a run: of what it reads and of what it writes, taken as the bytes pass."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from cuvee.digest import Digests
from cuvee.layered import ground_of, is_changed, made_of
from cuvee.plan.plan import Plan
from cuvee.plan.rows import used
from cuvee.plan.strips import Strip
from cuvee.spec import Sink, Source

__all__ = ["Hashes"]

Record = Mapping[str, Any]


class Hashes:
    """The digests of a plan's sources and outputs. Any number of threads may add to them.

    Args:
        plan: what is run.
        sinks: where its outputs go; none if they are not written as a whole.
    """

    def __init__(self, plan: Plan, sinks: Sequence[Sink] = ()) -> None:
        self._plan = plan
        self._sources = plan.sources
        grounds = {id(ground): ground for ground in map(ground_of, self._sources)}
        self._places = {ground: place for place, ground in enumerate(grounds)}
        self._inputs = [Digests(ground.header) for ground in grounds.values()]
        self._outputs = [
            Digests(outputs, is_stored=sink is None or sink.stores)
            for outputs, sink in zip_longest(plan.outputs, sinks)
        ]

    def read(self, source: Source, name: str, offset: int, data: memoryview) -> None:
        """Take bytes into account that were read; not those that a source made of its ground's, which has others."""
        if not is_changed(source, name):
            self._inputs[self._places[id(ground_of(source))]].add(name, offset, data)

    def wrote(self, variant: int, name: str, offset: int, data: memoryview) -> None:
        """Take bytes into account that are written."""
        self._outputs[variant].add(name, offset, data)

    def record(self, strip: Strip, j: int) -> Record:
        """Return what is known of the tensors that a job of a strip reads and writes, as plain values."""
        job = strip.joined.jobs[j]
        items = [row.inputs[i] for row in strip.rows for i in used(row.jobs[j])]
        read = [each for item in items for each in made_of(item.source, item.view.name)]
        written = [view.name for row in strip.rows for view in row.jobs[j].outputs]
        inputs: dict[int, dict[str, str]] = {}
        for ground, name in read:
            place = self._places[id(ground)]
            if digest := self._inputs[place].of(name):
                inputs.setdefault(place, {})[name] = digest
        outputs = {name: digest for name in written if (digest := self._outputs[job.variant].of(name))}
        return {"read": list(inputs.items()), "wrote": outputs}

    def recall(self, variant: int, record: Record) -> None:
        """Take over what an earlier attempt has recorded."""
        for place, digests in record["read"]:
            self._inputs[place].recall(digests)
        self._outputs[variant].recall(record["wrote"])

    def of_inputs(self) -> Mapping[int, Mapping[str, str]]:
        """Return the digests of all tensors that the plan reads, by the id of their source; reads what is missing.

        A source that stands on another has the digests of that one's tensors that are read, be it for other sources,
        so that who opens it again can compare.

        Raises:
            SourceError: it cannot be read.
        """
        names, found = self._plan.grounds_read(), {}
        for source in self._sources:
            ground = ground_of(source)
            digests = self._inputs[self._places[id(ground)]]
            found[id(source)] = digests.complete(names[id(source)], ground.read_into)
        return found

    def of_outputs(self, sinks: Sequence[Sink]) -> Sequence[Mapping[str, str]]:
        """Return the digests of each variant's outputs; reads back what is missing.

        Raises:
            OutputError: it cannot be read back.
        """
        return [
            digests.complete(outputs, sink.read_back)
            for sink, digests, outputs in zip(sinks, self._outputs, self._plan.outputs, strict=True)
        ]

"""What a run will do, and what that costs in bytes read and written. Values only: the planner decides them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from cuvee.layered import ground_of, made_of
from cuvee.plan.modules import AdapterPlan
from cuvee.plan.rows import Domain, Job, Row, used
from cuvee.plan.strips import Strip, strips_of
from cuvee.resolve import Resolved
from cuvee.spec import Source, TensorSpec

__all__ = ["Plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        variants: the recipes, with their sources.
        rows: in the order in which their inputs are stored.
        domains: what passes are taken over; jobs point into it.
        outputs: for each variant, name and specification of every output tensor, in the donor's order.
        config: for each variant, what has to change in the donor's configuration.
        warnings: what the user should know, once per fact.
        adapters: merges of adapters to adapters that are made besides.
    """

    variants: Sequence[Resolved]
    rows: Sequence[Row]
    domains: Sequence[Domain]
    outputs: Sequence[Mapping[str, TensorSpec]]
    config: Sequence[Mapping[str, object]]
    warnings: Sequence[str]
    adapters: Sequence[AdapterPlan] = ()

    def readings(self, job: Job, *, most: bool = False) -> int:
        """Return how often a job usually reads its row, or at most: once per pass and once to merge."""
        if self.domains[job.domain].whole:
            return 1
        return 1 + (job.method.passes if most else job.method.usual)(job.parameters)

    @cached_property
    def strips(self) -> Sequence[Strip]:
        """The rows as they are worked on: small ones several at a time."""
        return strips_of(self.rows, self.domains)

    @cached_property
    def sources(self) -> Sequence[Source]:
        """All sources, each once."""
        return list({id(source): source for own in self.variants for source in own.sources.values()}.values())

    def reads(self, variant: int | None = None) -> Mapping[int, Collection[str]]:
        """Return the names of the tensors that are read, by the id of their source, for every source.

        Args:
            variant: count only what this one reads.
        """
        names: dict[int, dict[str, None]] = {id(source): {} for source in self.sources}
        for row in self.rows:
            for i in {i: None for job in row.jobs if variant in (None, job.variant) for i in used(job)}:
                names[id(row.inputs[i].source)][row.inputs[i].view.name] = None
        return {source: own.keys() for source, own in names.items()}

    def grounds_read(self, variant: int | None = None) -> Mapping[int, Collection[str]]:
        """Return the names of the tensors that are read of what the sources stand on in the end, as `reads` does.

        Tensors that other sources are partly made of are among them.
        """
        names = self.reads(variant)
        read: dict[int, dict[str, None]] = {id(ground_of(source)): {} for source in self.sources}
        for source in self.sources:
            for name in names[id(source)]:
                for ground, part in made_of(source, name):
                    read[id(ground)][part] = None
        return {id(source): read[id(ground_of(source))].keys() for source in self.sources}

    @property
    def preparation(self) -> int:
        """Bytes that the sources read before anything can be read from them."""
        return sum(source.preparation for source in self.sources)

    @cached_property
    def bytes_read(self) -> int:
        """Bytes usually read from the inputs."""
        return self._besides + sum(self.row_bytes_read(row) for row in self.rows)

    @cached_property
    def bytes_read_at_most(self) -> int:
        """Bytes read from the inputs where no guess is right."""
        return self._besides + sum(self.row_bytes_read(row, most=True) for row in self.rows)

    @property
    def _besides(self) -> int:
        """Bytes read that no row reads."""
        return self.preparation + sum(each.bytes_read for each in self.adapters)

    def row_bytes_read(self, row: Row, *, most: bool = False) -> int:
        """Return the bytes that a row usually reads, or at most; jobs share what they read at the same time."""
        times = [0] * len(row.inputs)
        for job in row.jobs:
            readings = self.readings(job, most=most)
            for i in used(job):
                times[i] = max(times[i], readings)
        return sum(n * item.cost for n, item in zip(times, row.inputs, strict=True))

    @property
    def bytes_written(self) -> int:
        """Bytes of tensors written, all variants together; of adapters whose ranks an error decides, at most."""
        written = sum(spec.nbytes for outputs in self.outputs for spec in outputs.values())
        return written + sum(each.bytes_written for each in self.adapters)

"""Strips: small rows that are worked on as one.

What a row costs besides its elements is the same for a small one and a large one, and a mixture of experts has tens of
thousands of small ones. Rows that follow one another by name and are treated alike are laid one after the other, and
computed as if they were a single tensor; where each has passes of its own, as the rows of a matrix. Which rows lie in a
strip depends on names, shapes and treatment (in all merges that are made together), not on where they are stored.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from cuvee.plan.rows import Domain, Job, Row

__all__ = ["Strip", "strips_of"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strip:
    """One row, or several that are worked on as one.

    Attributes:
        joined: the row that they are together: named as the first one, with its inputs and jobs, but of their size.
            Where each has passes of its own, the jobs take them over rows.
        rows: the rows, one after the other.
        domains: for each job, what its passes are taken over.
    """

    joined: Row
    rows: Sequence[Row]
    domains: Sequence[Domain]

    @classmethod
    def of(cls, row: Row, domains: Sequence[Domain]) -> "Strip":
        """Make a strip of one row, given the plan's domains."""
        return cls(joined=row, rows=(row,), domains=tuple(domains[job.domain] for job in row.jobs))

    def pieces(self, first: int, size: int) -> Iterator[tuple[Row, int, int]]:
        """Cut a run of the strip's elements where its rows meet.

        Args:
            first: its first element within the strip.
            size: elements in it.

        Returns:
            Row, first element within that, and number of elements.
        """
        if len(self.rows) == 1:
            yield self.rows[0], first, size
            return
        begin = 0
        for row in self.rows:
            start, end = max(first - begin, 0), min(first + size - begin, row.size)
            if start < end:
                yield row, start, end - start
            begin += row.size

    def stands_apart(self, j: int) -> bool:
        """Say whether there are several rows that a job need not know of each other for."""
        return len(self.rows) > 1 and self.domains[j].scope != "model"

    def nbytes(self, i: int) -> int:
        """Return the bytes of an input's piece."""
        return self.joined.size * self.joined.inputs[i].spec.dtype.bits // 8


def strips_of(rows: Sequence[Row], domains: Sequence[Domain]) -> list[Strip]:
    """Lay small rows that are treated alike one after the other.

    Args:
        rows: a plan's rows.
        domains: what its jobs' passes are taken over.

    Returns:
        Strips, in the order of their first rows.
    """
    places = {id(row): place for place, row in enumerate(rows)}
    found = []
    by_name = sorted(rows, key=lambda row: (row.cell, row.name, row.start))  # rows of one domain have cells of one size
    for kind, alike in groupby(by_name, lambda row: _kind(row, domains)):
        if kind is None:
            found += [Strip.of(row, domains) for row in alike]
        else:
            found += [_joined(some, domains) for some in _fitting(alike)]
    return sorted(found, key=lambda strip: places[id(strip.rows[0])])


def _fitting(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Cut a sequence of rows into runs that fit into a cell."""
    run: list[Row] = []
    size = 0
    for row in rows:
        if run and size + row.size > row.cell:
            yield run
            run, size = [], 0
        run.append(row)
        size += row.size
    yield run


def _joined(rows: Sequence[Row], domains: Sequence[Domain]) -> Strip:
    """Make a strip of rows that are treated alike."""
    first = rows[0]
    if len(rows) == 1:
        return Strip.of(first, domains)
    size = sum(row.size for row in rows)
    units = [_unit(first, job, domains[job.domain]) for job in first.jobs]
    width = max(units) or first.width
    own = [_domain(unit, domains[job.domain], len(rows)) for unit, job in zip(units, first.jobs, strict=True)]
    jobs = [
        replace(job, parameters=job.method.over_rows(job.parameters)) if unit else job
        for unit, job in zip(units, first.jobs, strict=True)
    ]
    joined = replace(first, size=size, cell=size, width=width, jobs=tuple(jobs))
    return Strip(joined=joined, rows=tuple(rows), domains=own)


def _domain(unit: int, domain: Domain, num_rows: int) -> Domain:
    """Return what a job's passes are taken over in several rows together, given its domain in the first of them."""
    if unit:
        return Domain(scope="row", size=unit, cells=1)
    # One cell of several tensors answers for none of them.
    return replace(domain, cells=num_rows) if domain.scope == "tensor" else domain


def _kind(row: Row, domains: Sequence[Domain]) -> object:
    """Return what rows have in common that can be worked on as one; None for a row that is best alone."""
    if row.cells != 1 or 2 * row.size > row.cell:
        return None
    if not all(_joins(job, domains[job.domain]) for job in row.jobs):
        return None
    units = {_unit(row, job, domains[job.domain]) for job in row.jobs} - {0}
    if len(units) > 1:
        return None
    inputs = tuple((id(item.source), item.spec.dtype.name) for item in row.inputs)
    draws = any(job.method.random for job in row.jobs)
    if draws and row.start:
        return None
    drawn = row.size if draws else 0
    return inputs, tuple(_treatment(job, domains[job.domain]) for job in row.jobs), tuple(units), drawn


def _joins(job: Job, domain: Domain) -> bool:
    """Say whether a job can be done on several rows at once."""
    if job.method.locality != "block" or job.compare or domain.scope == "column":
        return False
    return not _is_alone(job, domain) or job.method.by_rows


def _is_alone(job: Job, domain: Domain) -> bool:
    """Say whether each row of a job has passes, or a size that its method asks for, of its own."""
    return domain.scope == "tensor" and bool("position" in job.method.wants or job.method.passes(job.parameters))


def _unit(row: Row, job: Job, domain: Domain) -> int:
    """Return the elements that a job's passes are taken over in a row of its own; 0 where it has none."""
    if domain.scope == "row":
        return row.width
    return row.size if _is_alone(job, domain) else 0


def _treatment(job: Job, domain: Domain) -> object:
    """Return what jobs have in common that do the same."""
    shared = job.domain if domain.scope == "model" else None
    parameters = id(job.parameters) if job.parameters else 0
    return job.variant, job.method.name, parameters, job.operands, job.base, job.labels, job.dtype.name, shared

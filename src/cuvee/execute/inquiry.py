"""Asking the jobs of a plan what they need to know, and remembering the answers."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from cuvee.errors import CuveeError
from cuvee.execute.answers import Answers, Summed
from cuvee.execute.cells import Cell, part_of, told
from cuvee.execute.reading import Buffers, Bytes, read
from cuvee.plan.plan import Plan
from cuvee.plan.rows import Job, Row, used
from cuvee.plan.sample import pieces
from cuvee.plan.strips import Strip
from cuvee.tensors.passes import Array, Pass

__all__ = ["Inquiry"]

Sums = Mapping[tuple[int, int], Summed]


class Inquiry:
    """What is known of a plan's domains. Any number of threads may ask and answer.

    Args:
        plan: the plan.
        note: takes a tensor's name and a sentence about it.
        sums: what passes came to in an earlier attempt: by domain, and by how many of its answers were known before.
        count: takes the bytes that samples read.
    """

    def __init__(
        self,
        plan: Plan,
        note: Callable[[str, str], None],
        sums: Sums,
        count: Callable[[int], None],
    ) -> None:
        self._plan = plan
        self._note = note
        self._sums = sums
        self._count = count
        self._answers = [Answers() for _ in plan.domains]
        self._sampled = _sampled(plan)

    def cell(self, strip: Strip, start: int, size: int, raw: Sequence[Bytes | None], offset: int) -> Cell:
        """Make a cell of raw elements, which begin `offset` elements before it.

        Args:
            strip: the strip.
            start: the cell's first element within it.
            size: elements in it, or fewer at the strip's end.
            raw: bytes of each input of the strip.
            offset: where in them the cell begins, in elements.
        """
        row = strip.joined
        inputs = [part_of(data, item.spec.dtype, offset, size) for data, item in zip(raw, row.inputs, strict=True)]
        return Cell(strip, start, min(size, row.size - start), inputs, self._note)

    def advance(self, cell: Cell, j: int, index: int, target: Bytes | None) -> Pass | None:
        """Run a job on a cell until it asks a pass, or merges; samples that it asks for on the way are taken.

        Args:
            cell: the cell.
            j: which of its strip's jobs.
            index: the cell's place in the strip's grid.
            target: takes the merged bytes.

        Returns:
            The pass, or None when it has merged.

        Raises:
            MergeError: the method failed; names the tensor.
            NonFiniteError: a weight, read or computed, is not finite.
            SourceError: a sample cannot be read.
        """
        job = cell.strip.joined.jobs[j]
        answers = self._answers[job.domain]
        while True:
            known = answers.at(cell.strip.joined, index)
            question = cell.run(j, known, answers.passes, target)
            if question is None:
                return None
            summed = self._sums.get((job.domain, len(known)))
            if question.kind != "sample" and summed is None:
                return question
            moved: list[int] = []
            try:
                if summed is not None:
                    answers.recall(len(known), question, summed)
                else:
                    answers.sample(len(known), question, partial(self._sample, job.domain, known, moved.append))
            except CuveeError:  # of a piece, which has a name
                raise
            except Exception as error:
                raise told(cell.name, job, error) from error
            self._count(sum(moved))

    def add(self, job: Job, row: Row, index: int, question: Pass) -> None:
        """Add a cell's part of the pass that its job asks."""
        self._answers[job.domain].add(row, index, question)

    def close(self, job: Job, row: Row) -> tuple[int, Summed] | None:
        """Turn what the cells of a job's domain said into an answer.

        Returns:
            How many answers were known before, and what the cells came to; None if no pass was asked.

        Raises:
            MergeError: the method failed; names a tensor.
        """
        try:
            return self._answers[job.domain].close()
        except Exception as error:
            raise told(row.name, job, error) from error

    def _sample(self, domain: int, known: list[object], count: Callable[[int], None]) -> Array:
        """Ask pieces of a domain what they say, and put that together; count the bytes read."""
        parts, buffers = [], Buffers()
        jobs = {id(row): j for row, j in self._sampled[domain]}
        for row, start, size in pieces([row for row, _ in self._sampled[domain]]):
            strip, j = Strip.of(row, self._plan.domains), jobs[id(row)]
            if row.jobs[j].method.locality == "rows" or self._plan.domains[domain].by_rows:
                start -= start % row.width
                size = max(size - size % row.width, row.width)
            raw, moved = read(strip, used(row.jobs[j]), start, size, buffers, None)  # too little of a chunk to hash
            count(moved)
            question = self.cell(strip, start, size, raw, 0).run(j, known, len(known), None)
            assert question is not None  # a cell of one row, without a place for what it merges, asks or is refused
            parts.append(question.measure())
        return np.concatenate(parts, axis=-1)


def _sampled(plan: Plan) -> Mapping[int, Sequence[tuple[Row, int]]]:
    """Return, for each domain of several cells, the rows it consists of, and which of their jobs belongs to it."""
    rows: dict[int, list[tuple[Row, int]]] = defaultdict(list)
    for row in plan.rows:
        for j, job in enumerate(row.jobs):
            if not plan.domains[job.domain].whole:
                rows[job.domain].append((row, j))
    return rows

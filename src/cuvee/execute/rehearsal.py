"""Trying a plan's jobs on made-up elements: how each computes, and how long that takes on this machine."""

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from cuvee.execute.answers import Answers
from cuvee.execute.cells import Cell
from cuvee.plan.rows import CELL, Domain, Job, Row, used
from cuvee.plan.strips import Strip
from cuvee.spec import DType
from cuvee.tensors.passes import Pass

__all__ = ["Rehearsal", "Rehearsals"]

FEW = 4096  # elements; what they take is what a cell takes besides its elements
AGAIN = 3
SPREAD = 64  # of the pattern a made-up element is drawn from: weights differ by little, task vectors have many ties


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """How a job computes.

    Attributes:
        lane: ``"bytes"`` moves raw elements, ``"fused"`` runs compiled kernels on them, ``"tensors"`` makes torch
            tensors.
        per_cell: seconds that a cell takes in all its passes, besides its elements.
        per_element: seconds that an element takes in all of its passes.
    """

    lane: str
    per_cell: float
    per_element: float


NOTHING = Rehearsal("bytes", 0.0, 0.0)  # what an empty row takes
UNKNOWN = Rehearsal("tensors", 0.0, 0.0)


class Rehearsals:
    """Rehearses each kind of job of a plan once."""

    def __init__(self) -> None:
        self._known: dict[object, Rehearsal] = {}
        self._choices: dict[int, object] = {}  # by the id of the parameters, which many jobs share

    def of(self, strip: Strip, j: int) -> Rehearsal:
        """Return the rehearsal of one of a strip's jobs: of the first one with its method, choices and types."""
        row, job, domain = strip.joined, strip.joined.jobs[j], strip.domains[j]
        if row.size == 0:
            return NOTHING
        kind = self._kind(row, job, domain)
        if kind not in self._known:
            try:
                self._known[kind] = _rehearse(row, job, domain)
            except Exception:  # noqa: BLE001 - the method does not like what is made up; it may like the models
                self._known[kind] = UNKNOWN
        return self._known[kind]

    def _kind(self, row: Row, job: Job, domain: Domain) -> object:
        """Return what jobs that compute alike have in common."""
        if job.moves:
            return "bytes"
        choices = self._choices.get(id(job.parameters))
        if choices is None:
            named = sorted(job.parameters.items())
            choices = tuple((name, value if isinstance(value, bool | str) else None) for name, value in named)
            self._choices[id(job.parameters)] = choices
        types = tuple(row.inputs[i].spec.dtype.name for i in used(job))
        by_row = row.width.bit_length() if domain.by_rows else 0  # of about this width
        asks = bool(job.method.passes(job.parameters)) and not domain.whole
        return job.method, choices, types, job.dtype.name, asks, by_row


def _rehearse(row: Row, job: Job, domain: Domain) -> Rehearsal:
    """Run a job on a small cell and on a whole one."""
    if job.moves:
        return Rehearsal("bytes", 0.0, 0.0)
    by_rows = domain.by_rows or job.method.locality != "block"
    whole_rows = min(max(row.width, 1), CELL) if by_rows else 1  # what is made up need not be as wide as a row
    large = max(min(row.cell, row.size, CELL) // whole_rows, 1) * whole_rows
    small = max(min(FEW, large) // whole_rows, 1) * whole_rows
    few, lane = _run_again(row, job, domain, small)
    many, _ = _run_again(row, job, domain, large) if large > small else (few, lane)
    per_element = max(many - few, 0.0) / (large - small) if large > small else 0.0
    return Rehearsal(lane, max(few - per_element * small, 0.0), per_element)


def _run_again(row: Row, job: Job, domain: Domain, size: int) -> tuple[float, str]:
    """Run a job several times and take the shortest: what is loaded or made once is not counted."""
    return min(_run(row, job, domain, size) for _ in range(AGAIN))


def _run(row: Row, job: Job, domain: Domain, size: int) -> tuple[float, str]:
    """Take a job through its passes on one cell of made-up elements; return seconds and lane."""
    tried = replace(row, size=size, cell=size, width=min(row.width, size), jobs=(job,))
    scope = replace(domain, size=min(domain.size, size) if domain.scope == "row" else size)
    raw = [_made_up(item.spec.dtype, size, i) for i, item in enumerate(row.inputs)]
    out = np.ones(size * job.dtype.bits // 8, np.uint8)  # touched: a run uses its buffers again and again
    answers = Answers()
    cell = Cell(Strip(joined=tried, rows=(tried,), domains=(scope,)), 0, size, raw, lambda _tensor, _text: None)
    spent = 0.0
    while True:
        known = answers.at(tried, 0)
        began = time.thread_time()
        question = cell.run(0, known, answers.passes, out)
        part = None if question is None or question.kind == "sample" else question.measure()
        spent += time.thread_time() - began
        if question is None:
            return spent, "tensors" if cell.made_tensors else "fused"
        if part is None:  # once per domain, as is what is made of the answers: not counted
            answers.sample(len(known), question, question.measure)
        else:
            answers.add(tried, 0, Pass(partial(np.asarray, part), question.finish, question.kind))
            answers.close()


def _made_up(dtype: DType, size: int, model: int) -> NDArray[np.uint8]:
    """Return raw elements that look like a model's: numbers near 0.01, nearly the same in every model."""
    if dtype.name == "F64":
        return np.full(size, 0.01 + 1e-4 * model).view(np.uint8)
    if dtype.bits == 8:
        return np.full(size, 0x38, np.uint8)
    one = {"F32": 0x3C23D70A, "F16": 0x211F, "BF16": 0x3C24}.get(dtype.name, 0)
    whole = np.uint32 if dtype.bits == 32 else np.uint16
    steps = np.random.default_rng(model).integers(0, SPREAD, size, dtype=whole)
    return (steps + whole(one)).view(np.uint8)

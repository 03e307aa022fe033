"""What earlier attempts at a run have done, and what this one has: in terms of a plan, kept in journals.

Two things are worth keeping: that a job of a strip has merged, and the sum that a pass over a domain of several cells
came to.
"""

import base64
import inspect
import json
import platform
import threading
import zlib
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from cuvee.execute.answers import Summed
from cuvee.execute.boot import boot_name
from cuvee.execute.hashes import Hashes
from cuvee.execute.versions import versions
from cuvee.methods.declare import Method
from cuvee.plan.plan import Plan
from cuvee.plan.strips import Strip
from cuvee.tensors.passes import Array
from cuvee.writers.journal import Entry, Journal

__all__ = ["History", "run_name"]

Note = tuple[str, str]
PACKAGE = __name__.partition(".")[0]


def run_name(plan: Plan) -> str | None:
    """Name a run by all that its result depends on; None if something of that cannot be told, as in memory.

    A method that is not cuvee's own is told by the file it is written in, not by what that imports. The system's start
    is part of it: what an attempt has written may not have reached the disk before a loss of power.
    """
    sources = [source.identity for own in plan.variants for source in own.sources.values()]
    methods = {job.method.name: job.method for row in plan.rows for job in row.jobs}
    code = {name: _code_of(method) for name, method in methods.items()}
    boot = boot_name()
    if not all(sources) or None in code.values() or not boot:
        return None
    said = {
        "versions": versions(),
        "machine": [platform.machine(), boot],
        "recipes": [[own.recipe.canonical(within=False), own.recipe.output.shard_size] for own in plan.variants],
        "methods": sorted(code.items()),
        "sources": sources,
        "grid": [(strip.joined.size, strip.joined.cell) for strip in plan.strips],
        "outputs": [[(name, str(spec.dtype), spec.shape) for name, spec in own.items()] for own in plan.outputs],
    }
    return blake2b(json.dumps(said).encode(), digest_size=16).hexdigest()


def _code_of(method: Method) -> str | None:
    """Return a digest of the file that a method is written in; None if there is none, or the file does not say all."""
    function = method.function
    if function.__module__.partition(".")[0] == PACKAGE:
        return PACKAGE  # whose version is told once
    if getattr(function, "__closure__", None):  # it depends on values from where it was made
        return None
    try:
        file = inspect.getsourcefile(function)
        return blake2b(Path(file).read_bytes(), digest_size=16).hexdigest() if file else None
    except (OSError, TypeError):  # typed in, or no function of Python's
        return None


class History:
    """What is done of a run. Any number of threads may add to it.

    Args:
        plan: the plan.
        journals: one for each variant, with what earlier attempts have done; none for outputs in memory.
        hashes: takes over the digests that were taken then.

    Attributes:
        merged: strips, by their place in the plan, and jobs that have merged.
        sums: what passes came to: by domain, and by how many of its answers were known before.
        notes: what was noted then: tensor and text.
    """

    def __init__(self, plan: Plan, journals: Sequence[Journal], hashes: Hashes) -> None:
        self._journals = journals
        self._hashes = hashes
        self._lock = threading.Lock()
        self._variants = {job.domain: job.variant for row in plan.rows for job in row.jobs}
        self.merged: set[tuple[int, int]] = set()
        self.sums: dict[tuple[int, int], Summed] = {}
        self.notes: set[Note] = set()
        for variant, journal in enumerate(journals):
            for entry in journal.entries:
                self._recall(variant, entry)
        self._noted = set(self.notes)

    def _recall(self, variant: int, entry: Entry) -> None:
        """Take an entry over."""
        self.notes |= {(tensor, text) for tensor, text in entry["notes"]}
        if "merged" in entry:
            strip, job = entry["merged"]
            self.merged.add((strip, job))
            self._hashes.recall(variant, entry)
        else:
            domain, known = entry["asked"]
            rows = {(name, start): _array(value) for name, start, value in entry.get("rows", ())}
            self.sums[domain, known] = rows or _array(entry["sum"])

    def has_merged(self, place: int, strip: Strip, j: int, notes: Iterable[Note]) -> None:
        """Note that a job has merged a strip, and that its bytes have been written.

        Args:
            place: the strip's place in the plan.
            strip: the strip.
            j: which of its jobs.
            notes: all that has been noted so far.

        Raises:
            OutputError: it cannot be noted.
        """
        if self._journals:
            entry = {"merged": [place, j], **self._hashes.record(strip, j)}
            self._add(strip.joined.jobs[j].variant, entry, notes)

    def has_summed(self, domain: int, known: int, summed: Summed, notes: Iterable[Note]) -> None:
        """Note what a pass over a domain came to.

        Args:
            domain: the domain.
            known: how many of its answers were known before.
            summed: what its cells came to.
            notes: all that has been noted so far.

        Raises:
            OutputError: it cannot be noted.
        """
        if self._journals:
            said: Entry = (
                {"sum": _text(summed)}
                if isinstance(summed, np.ndarray)
                else {"rows": [[*place, _text(cells)] for place, cells in summed.items()]}
            )
            self._add(self._variants[domain], {"asked": [domain, known], **said}, notes)

    def _add(self, variant: int, entry: Entry, notes: Iterable[Note]) -> None:
        with self._lock:
            fresh = set(notes) - self._noted
            self._noted |= fresh
            self._journals[variant].add({**entry, "notes": sorted(fresh)})


def _text(array: Array) -> tuple[str, Sequence[int], str]:
    """Write an array down: type, shape, and its bytes, compressed."""
    data = zlib.compress(np.ascontiguousarray(array).tobytes(), 1)
    return array.dtype.str, array.shape, base64.b64encode(data).decode()


def _array(written: Sequence[Any]) -> Array:
    """Read an array that `_text` has written."""
    dtype, shape, data = written
    return np.frombuffer(zlib.decompress(base64.b64decode(data)), np.dtype(dtype)).reshape(shape).copy()

"""What a run cost and what it noticed."""

import resource
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.execute.forecast import Forecast

__all__ = ["Meter", "Progress", "Report", "together"]

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes


@dataclass(slots=True, kw_only=True)
class Report:
    """What a run cost and what it noticed.

    Attributes:
        seconds: wall-clock time.
        cpu_seconds: processor time of all threads.
        bytes_read: from all inputs, all passes.
        bytes_written: tensors written.
        bytes_kept: tensors that an interrupted attempt had written.
        passes_kept: passes over the models that it had taken.
        peak_memory: largest resident memory of the process so far, in bytes.
        expected: what was forecast before the run; None where nothing was.
        notes: what the user should know, once per tensor and fact.
        inputs: content digest of every tensor that was read, by the id of its source.
        outputs: content digest of every tensor written, by name, for each variant.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
    bytes_kept: int = 0
    passes_kept: int = 0
    peak_memory: int = 0
    expected: Forecast | None = None
    notes: list[str] = field(default_factory=list)
    inputs: Mapping[int, Mapping[str, str]] = field(default_factory=dict, repr=False)
    outputs: Sequence[Mapping[str, str]] = field(default=(), repr=False)


class Meter:
    """Takes the time from its making on."""

    def __init__(self) -> None:
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def report(
        self,
        bytes_read: int,
        bytes_written: int,
        notes: list[str],
        digests: tuple[Mapping[int, Mapping[str, str]], Sequence[Mapping[str, str]]],
    ) -> Report:
        """Say what was used since."""
        return Report(
            seconds=time.perf_counter() - self._began,
            cpu_seconds=time.process_time() - self._cpu,
            bytes_read=bytes_read,
            bytes_written=bytes_written,
            peak_memory=_peak_memory(),
            notes=notes,
            inputs=digests[0],
            outputs=digests[1],
        )


class Progress:
    """Tells of bytes moved, and how many there will be; where a guess was wrong there are more. For any thread.

    Args:
        tell: called with the bytes moved since its last call and the bytes to move in all; None tells nobody.
        total: bytes to move in all.

    Attributes:
        total: the same; may change when more is known.
    """

    def __init__(self, tell: Callable[[int, int], None] | None, total: int) -> None:
        self._tell = tell
        self._moved = 0
        self._lock = threading.Lock()
        self.total = total

    def __call__(self, nbytes: int) -> None:
        """Tell of bytes that were moved."""
        if self._tell is not None:
            with self._lock:
                self._moved += nbytes
                total = max(self.total, self._moved)
            self._tell(nbytes, total)


def together(reports: Mapping[Sequence[int], Report]) -> Report:
    """Return what runs cost that were made one after the other; of one, what it says itself.

    Args:
        reports: by the numbers of the outputs that each made.
    """
    if len(reports) == 1:
        return next(iter(reports.values()))
    outputs = {n: each for numbers, own in reports.items() for n, each in zip(numbers, own.outputs, strict=True)}
    return Report(
        seconds=sum(each.seconds for each in reports.values()),
        cpu_seconds=sum(each.cpu_seconds for each in reports.values()),
        bytes_read=sum(each.bytes_read for each in reports.values()),
        bytes_written=sum(each.bytes_written for each in reports.values()),
        bytes_kept=sum(each.bytes_kept for each in reports.values()),
        passes_kept=sum(each.passes_kept for each in reports.values()),
        peak_memory=max(each.peak_memory for each in reports.values()),
        notes=list(dict.fromkeys(note for each in reports.values() for note in each.notes)),
        inputs={key: digests for each in reports.values() for key, digests in each.inputs.items()},
        outputs=[outputs[number] for number in sorted(outputs)],
    )


def _peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    # On Linux ru_maxrss counts the program that started this one, too: in a large notebook every merge would be large.
    with suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT

"""What a run cost and what it noticed."""

import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.execute.forecast import Forecast

__all__ = ["Meter", "Report"]

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
        expected: what was forecast before the run; None where nothing was.
        notes: what the user should know, once per tensor and fact.
        inputs: content digest of every tensor that was read, by the id of its source.
        outputs: content digest of every tensor written, by name, for each variant.
    """

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0
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


def _peak_memory() -> int:
    """Return the largest resident memory of this process so far, in bytes."""
    # On Linux ru_maxrss counts the program that started this one, too: in a large notebook every merge would be large.
    with suppress(OSError), Path("/proc/self/status").open() as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS_UNIT

"""What a piece of work costs, measured."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Cost", "Meter", "metered"]

STATUS, FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # of what Linux can be told to forget
KIBI = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was used.

    Attributes:
        cpu_seconds: of the processor, over all threads.
        wall_seconds: of the clock; other programs on the machine count.
        peak_bytes: most memory that the work took beyond what the process had before, on Linux; elsewhere 0. Within
            another measurement only the inner one is right.
    """

    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_bytes: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        """Do one after the other."""
        return Cost(
            cpu_seconds=self.cpu_seconds + other.cpu_seconds,
            wall_seconds=self.wall_seconds + other.wall_seconds,
            peak_bytes=max(self.peak_bytes, other.peak_bytes),
        )

    def as_mapping(self) -> Mapping[str, float]:
        """Return plain values."""
        return asdict(self)


class Meter:
    """Holds a cost once its work is done."""

    cost = Cost()


@contextmanager
def metered() -> Iterator[Meter]:
    """Measure what happens within; the meter has the cost afterwards."""
    meter, before = Meter(), _forget_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    yield meter
    meter.cost = Cost(
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
        peak_bytes=max(0, _memory("VmHWM") - before),
    )


def _forget_peak() -> int:
    """Let the most memory so far be what is used now, and return that."""
    try:
        FORGET.write_text(FORGET_PEAK)
    except OSError:  # another system, or one that forbids it
        return _memory("VmHWM")
    return _memory("VmRSS")


def _memory(what: str) -> int:
    """Return a number of bytes that Linux knows of this process; 0 where there is none."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KIBI for line in lines if line.startswith(f"{what}:")), 0)

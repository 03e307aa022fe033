"""What a piece of work costs, measured."""

import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

__all__ = ["Cost", "Meter", "metered"]

KIBI = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes on macOS and in KiB on Linux


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What was used.

    Attributes:
        cpu_seconds: of the processor, over all threads.
        wall_seconds: of the clock; other programs on the machine count.
        peak_bytes: most memory that the process has had so far.
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
    meter, wall, cpu = Meter(), time.perf_counter(), time.process_time()
    yield meter
    meter.cost = Cost(
        cpu_seconds=time.process_time() - cpu,
        wall_seconds=time.perf_counter() - wall,
        peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KIBI,
    )

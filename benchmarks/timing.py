"""Whole commands, timed: seconds, processor time, peak resident memory and bytes that came from the disk.

A process counts the memory of the one that started it as its own until it becomes another program. So scripts that use
this import the standard library only, and let processes of their own do what needs more. Linux only.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

UNIT = 1024  # bytes in which Linux counts resident memory
SECTOR = 512  # bytes in which it counts what comes from the disk
SHOWN = 3000  # characters of a failed command's output


@dataclass(frozen=True, slots=True)
class Command:
    """A command and the folder that it writes.

    Attributes:
        words: what is run.
        out: the folder it makes, removed again after each run.
        repetitions: how often it is run.
        environment: variables to set besides those that are.
    """

    words: list[str]
    out: Path
    repetitions: int
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took; of the processor's seconds, those that the system spent for it. Peak and disk in bytes."""

    seconds: float
    cpu_seconds: float
    system_seconds: float
    peak: int
    disk_read: int


def run(command: Command) -> Run:
    """Wait until the disk is idle, run a command, and say what it took; leave if it fails."""
    os.sync()  # what earlier runs wrote is on its way to the disk; on Linux this waits until it is there
    log = command.out.with_name(f"{command.out.name}.log")
    with log.open("wb") as said:
        began = time.perf_counter()
        process = subprocess.Popen(
            command.words,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=command.out.parent,
            env=os.environ | dict(command.environment),
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # it has been waited for
    if process.returncode:
        said_last = log.read_text(errors="replace")[-SHOWN:]
        sys.exit(f"{' '.join(command.words)}\nended with status {process.returncode}:\n{said_last}")
    log.unlink()
    return Run(
        seconds, usage.ru_utime + usage.ru_stime, usage.ru_stime, usage.ru_maxrss * UNIT, usage.ru_inblock * SECTOR
    )


def in_turn(commands: Mapping[str, Command], num_bytes: int) -> Iterator[tuple[str, Run]]:
    """Run commands in turn, each as often as it asks for; remove what they write.

    Args:
        commands: by name, in the order in which they take turns.
        num_bytes: how many bytes of weights each has to write at least.

    Yields:
        Name and cost of each run.
    """
    for repetition in range(max(command.repetitions for command in commands.values())):
        for name, command in commands.items():
            if repetition < command.repetitions:
                cost = run(command)
                written = sum(file.stat().st_size for file in command.out.glob("*.safetensors"))
                if written < num_bytes:
                    sys.exit(f"{' '.join(command.words)}\nwrote {written} bytes of weights; {num_bytes} were expected.")
                shutil.rmtree(command.out)
                yield name, cost


def own_peak() -> int:
    """Return this process's own peak resident memory in bytes: no peak below it can be measured."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT


def available_memory() -> int:
    """Return the bytes of memory that are free or hold nothing but copies of files."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) * UNIT for line in lines if line.startswith("MemAvailable"))

"""Where results come from: which code, on which machine, with which libraries."""

import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from cuvee.version import __version__

__all__ = ["Provenance", "provenance"]

LIBRARIES = ("torch", "numpy", "numba", "safetensors", "transformers", "peft")
GIBI = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What produced results.

    Attributes:
        version: of cuvee.
        commit: of its repository, with "+" after it if files of the package differ from it; "" outside a repository.
        machine: processor, number of cores, memory.
        system: operating system and Python.
        libraries: versions by name.
        command: what was run.
    """

    version: str
    commit: str
    machine: str
    system: str
    libraries: Mapping[str, str]
    command: str

    def as_mapping(self) -> Mapping[str, object]:
        """Return plain values."""
        return asdict(self)


def provenance(command: str) -> Provenance:
    """Find out where this runs."""
    return Provenance(
        version=__version__,
        commit=_commit(),
        machine=f"{_processor()}, {os.cpu_count()} cores, {_memory() / GIBI:.0f} GiB of memory",
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        libraries={name: found for name in LIBRARIES if (found := _version(name))},
        command=command,
    )


def _commit() -> str:
    """Return the commit of the repository that cuvee lies in, if it does."""
    here = Path(__file__).parent.parent  # all of the package: results depend on its kernels as on its studies
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
        tracked = subprocess.run(
            ["git", "ls-files", "--error-unmatch", "version.py"], cwd=here, capture_output=True, check=False
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no", "--", "."],
            cwd=here,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
    if tracked.returncode:  # installed into an environment that lies in somebody else's repository
        return ""
    return found + ("+" if changed else "")


def _processor() -> str:
    """Return the processor's name, or its family."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""

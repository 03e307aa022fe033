"""Results as a JSON file: what was run, on which machine, with which commit, and every single timing. No paths."""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import timing

NOT_RECORDED = ("folder", "keep", "results", "mergekit", "torch_index")  # they say where, and change no figure
LIBRARIES = ("numpy", "torch", "numba")

WHERE = f"""
import importlib.metadata as metadata, json
import cuvee
installed = {{each.name.lower(): each.version for each in metadata.distributions()}}
libraries = {{name: installed[name] for name in {LIBRARIES!r} if name in installed}}
print(json.dumps({{"file": cuvee.__file__, "versions": {{"cuvee": cuvee.__version__, **libraries}}}}))
"""


def setting(benchmark: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what a results file begins with."""
    cuvee = json.loads(_run([sys.executable, "-c", WHERE]))
    folder = Path(cuvee["file"]).parent
    return {
        "benchmark": benchmark,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _run(["git", "-C", str(folder), "rev-parse", "--short=12", "HEAD"]),
        "has_changes": bool(_run(["git", "-C", str(folder), "status", "--porcelain", "--", str(folder)])),
        "machine": machine(),
        "versions": cuvee["versions"],
        "arguments": {name: value for name, value in vars(options).items() if name not in NOT_RECORDED},
        "load": os.getloadavg()[0],
    }


def machine() -> dict[str, Any]:
    """Describe this machine. (Of the kernel's release only the number: the rest often names who built it.)"""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    kernel = re.match(r"[\d.]+", platform.release())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {kernel[0] if kernel else ''}".strip(),
        "python": platform.python_version(),
    }


def save(result: dict[str, Any], path: Path) -> None:
    """Write a results file."""
    result["own_peak"] = timing.own_peak()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_folded(json.dumps(result, indent=1)) + "\n")
    print(f"\nWrote {path}")


def _folded(text: str) -> str:
    """Put lists of numbers and words, and objects that hold nothing else, on one line each."""
    return re.sub(r"[\[{][^\[\]{}]*[\]}]", lambda found: re.sub(r"\n\s*", " ", found[0]), text)


def _run(words: Sequence[str]) -> str:
    """Return what a command prints, or nothing where it fails."""
    return subprocess.run(words, stdout=subprocess.PIPE, text=True).stdout.strip()

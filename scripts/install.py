"""Make `.venv` and install cuvee into it, editable, with the extras asked for.

    python scripts/install.py [--extra dev] [--extra fuzz]

The Makefile calls this; it needs only the standard library. It knows nothing about cuvee's code.

PyPI's torch for Linux brings several GB of CUDA libraries. On a Linux machine without an NVIDIA GPU this script
installs the CPU build instead, first from wherever pip is configured to look, then from PyTorch's own index, and fails
if a CUDA package arrived all the same.

Environment:
    TORCH            auto (default), cpu, or default (whatever `pip install torch` gives).
    TORCH_CPU_INDEX  where CPU builds are looked for last.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
CONSTRAINTS = ROOT / "constraints.txt"
OLDEST_PYTHON = (3, 11)
DEFAULT_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def main() -> None:
    """Install, then check the result; a failure is one readable paragraph and exit status 1."""
    parser = argparse.ArgumentParser(description="Make .venv and install cuvee into it.")
    parser.add_argument("--extra", action="append", default=[], help="an extra of pyproject.toml; may be repeated")
    extras = parser.parse_args().extra
    started = time.monotonic()
    os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    # Two `make` runs at once would install into one environment: the second waits here.
    with (ROOT / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        make_environment()
        use_cpu_build = wants_cpu_build(os.environ.get("TORCH", "auto"))
        install_torch(use_cpu_build)
        install_cuvee(extras)
        check(use_cpu_build)
    say(f"ready in {time.monotonic() - started:.0f} s")


def say(line: str) -> None:
    """Print one progress line at once, even into a pipe."""
    print(f"[setup] {line}", flush=True)


def fail(paragraph: str) -> None:
    """Stop with a message for a person."""
    sys.exit(f"[setup] failed: {paragraph}")


def make_environment() -> None:
    """Create `.venv` unless a working one is there."""
    version = sys.version.split()[0]
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        fail(f"cuvee needs Python {wanted} or later, this is {version}. Try `make setup PYTHON=python{wanted}`.")
    if VENV_PYTHON.exists() and run_python("-m", "pip", "--version").returncode == 0:
        return
    say(f"making .venv with Python {version}")
    result = subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], capture_output=True, text=True)
    if result.returncode != 0:
        hint = "Debian and Ubuntu keep this in the package python3-venv"
        fail(f"could not make .venv ({hint}).\n{result.stdout}{result.stderr}")


def wants_cpu_build(choice: str) -> bool:
    """Decide whether to take the CPU build: on Linux, where PyPI's own build brings CUDA, and without a GPU."""
    if choice == "auto":
        return sys.platform == "linux" and not has_nvidia_gpu()
    if choice not in ("cpu", "default"):
        fail(f"TORCH is {choice!r}; it may be auto, cpu or default.")
    return choice == "cpu"


def has_nvidia_gpu() -> bool:
    """Ask the driver's own tool; no tool, no GPU we could use."""
    tool = shutil.which("nvidia-smi")
    return tool is not None and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def install_torch(use_cpu_build: bool) -> None:
    """Install the pinned torch alone; its dependencies come with cuvee's."""
    requirement = f"torch=={pinned_torch()}+cpu" if use_cpu_build else f"torch=={pinned_torch()}"
    if f"torch=={installed_packages().get('torch')}" == requirement:
        return
    if not use_cpu_build:
        say(f"installing {requirement} (may take several minutes)")
        pip("install", "--no-deps", requirement)
        return
    say(f"installing {requirement} (about 200 MB, one to three minutes)")
    configured = run_pip("install", "--no-deps", requirement)
    if configured.returncode == 0:
        return
    index = os.environ.get("TORCH_CPU_INDEX", DEFAULT_CPU_INDEX)
    say(f"not found where pip is configured to look; trying {index}")
    fallback = run_pip("install", "--no-deps", "--index-url", index, requirement)
    if fallback.returncode != 0:
        fail(f"no {requirement}.\nWhere pip looks:\n{configured.stderr}\n{index}:\n{fallback.stderr}")


def install_cuvee(extras: list[str]) -> None:
    """Install cuvee itself, editable, with its dependencies at the versions of constraints.txt."""
    target = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    say(f"installing cuvee{' with extras ' + ', '.join(extras) if extras else ''} (up to two minutes the first time)")
    pip("install", "--constraint", str(CONSTRAINTS), "--editable", target)


def check(use_cpu_build: bool) -> None:
    """Refuse CUDA packages on a CPU machine, and import what everything rests on."""
    cuda = [name for name in installed_packages() if re.match(r"nvidia|cuda-|triton$|pytorch-triton", name)]
    if use_cpu_build and cuda:
        fail(f"CUDA packages on a CPU machine: {', '.join(cuda)}. Remove .venv and run `make setup` again.")
    imported = run_python("-c", "import torch, numpy, cuvee; print(torch.__version__)")
    version = imported.stdout.strip()
    if imported.returncode != 0 or version.split("+")[0] != pinned_torch():
        fail(f"torch {pinned_torch()} does not work in .venv (found {version or 'none'}).\n{imported.stderr}")


def installed_packages() -> dict[str, str]:
    """Ask the environment for its packages: version by name, in lower case with hyphens."""
    listing = run_python("-m", "pip", "list", "--format=json")
    if listing.returncode != 0:
        fail(f"pip does not work in .venv; remove it and try again.\n{listing.stderr}")
    packages = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in json.loads(listing.stdout)}
    return dict(sorted(packages.items()))


def pinned_torch() -> str:
    """Read the one exact torch version of constraints.txt."""
    match = re.search(r"^torch==([\w.]+)$", CONSTRAINTS.read_text(), re.MULTILINE)
    if match is None:
        fail("constraints.txt has no line `torch==VERSION`.")
    return match[1]


def pip(*arguments: str) -> None:
    """Run the environment's pip and stop if it fails."""
    result = run_pip(*arguments)
    if result.returncode != 0:
        fail(f"pip {' '.join(arguments)}\n{result.stdout}{result.stderr}")


def run_pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the environment's pip, quiet."""
    return run_python("-m", "pip", *arguments, "--quiet")


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the environment's Python and return what it said."""
    return subprocess.run([VENV_PYTHON, *arguments], capture_output=True, text=True)


if __name__ == "__main__":
    main()

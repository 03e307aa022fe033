"""Make an environment that holds mergekit and nothing that it does not ask for; print the versions of what it holds.

    python scripts/mergekit.py FOLDER [--torch-index URL]

Benchmarks and parity tests compare with mergekit; it runs in this environment, never in ours. The last line printed is
a JSON object of versions. The environment is made from the package registry if it is not there; torch is pinned as
cuvee's own tests pin it, and on Linux without an NVIDIA GPU it is the CPU build, found as scripts/install.py finds it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from install import DEFAULT_CPU_INDEX, pinned_torch, wants_cpu_build

VERSION = "0.1.5"
UNWANTED = ("torchvision", "torchaudio")
SHOWN = ("mergekit", "torch", "transformers", "safetensors", "numpy")

VERSIONS = f"""
import importlib.metadata as metadata, json, platform
installed = {{each.name.lower(): each.version for each in metadata.distributions()}}
unwanted = [name for name in {UNWANTED!r} if name in installed]
print(json.dumps({{
    "unwanted": unwanted, "python": platform.python_version(), **{{name: installed.get(name) for name in {SHOWN!r}}}
}}))
"""


def main() -> None:
    """Make the environment if it is not there; print its versions."""
    parser = argparse.ArgumentParser(description="Make an environment that holds mergekit.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--torch-index", help="the only package index to take torch from")
    options = parser.parse_args()
    if not (options.folder / "bin" / "mergekit-yaml").exists():
        make(options.folder, options.torch_index)
    print(json.dumps(versions(options.folder)))


def versions(place: Path) -> dict[str, str]:
    """Return what an environment holds, or stop if it is not what we compare with."""
    said = subprocess.run([place / "bin" / "python", "-c", VERSIONS], stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, str] = json.loads(said)
    if found.pop("unwanted"):
        sys.exit(f"{place} holds {' or '.join(UNWANTED)}, which change what torch is installed. Remove the folder.")
    if found["mergekit"] != VERSION:
        sys.exit(f"{place} holds mergekit {found['mergekit']}; {VERSION} is what we compare with.")
    return found


def make(place: Path, torch_index: str | None) -> None:
    """Make the environment, or leave nothing."""
    print(f"installing mergekit {VERSION} into {place} (several minutes)", file=sys.stderr, flush=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = place / "constraints.txt"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        constraints.write_text(f"torch=={pinned_torch()}\n")
        install_torch(pip, torch_index)
        subprocess.run([*pip, "--constraint", str(constraints), f"mergekit=={VERSION}"], check=True)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise


def install_torch(pip: list[str], torch_index: str | None) -> None:
    """Install the pinned torch from the index given, or from where pip looks, or from PyTorch's own."""
    if torch_index:
        subprocess.run([*pip, "--index-url", torch_index, f"torch=={pinned_torch()}"], check=True)
    elif not wants_cpu_build(os.environ.get("TORCH", "auto")):
        subprocess.run([*pip, f"torch=={pinned_torch()}"], check=True)
    elif subprocess.run([*pip, f"torch=={pinned_torch()}+cpu"], stderr=subprocess.DEVNULL).returncode:
        index = os.environ.get("TORCH_CPU_INDEX", DEFAULT_CPU_INDEX)
        subprocess.run([*pip, "--index-url", index, f"torch=={pinned_torch()}+cpu"], check=True)


if __name__ == "__main__":
    main()

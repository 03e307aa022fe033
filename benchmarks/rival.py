"""mergekit, in an environment of its own that is made from the package registry if it is missing.

What it computes with is pinned as cuvee's own tests pin it. No package is installed that it does not ask for.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from timing import Command

VERSION, TORCH = "0.1.5", "2.13.0"
PLACE = f"mergekit-{VERSION}"
UNWANTED = ("torchvision", "torchaudio")
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
SHOWN = ("mergekit", "torch", "transformers", "safetensors", "numpy")

VERSIONS = f"""
import importlib.metadata as metadata, json, platform
installed = {{each.name.lower(): each.version for each in metadata.distributions()}}
unwanted = [name for name in {UNWANTED!r} if name in installed]
print(json.dumps({{
    "unwanted": unwanted, "python": platform.python_version(), **{{name: installed.get(name) for name in {SHOWN!r}}}
}}))
"""


def prepare(place: Path, torch_index: str | None) -> dict[str, str]:
    """Make the environment if it is not there; return the versions of what it holds.

    Args:
        place: folder of the environment.
        torch_index: package index to take torch from, where the default would bring GPU libraries.
    """
    if not (place / "bin" / "mergekit-yaml").exists():
        _make(place, torch_index)
    said = subprocess.run([place / "bin" / "python", "-c", VERSIONS], stdout=subprocess.PIPE, check=True).stdout
    found: dict[str, str] = json.loads(said)
    if found.pop("unwanted"):
        sys.exit(f"{place} holds {' or '.join(UNWANTED)}, which change what torch is installed. Remove the folder.")
    if found["mergekit"] != VERSION:
        sys.exit(f"{place} holds mergekit {found['mergekit']}; {VERSION} is what we compare with.")
    return found


def merge(place: Path, recipe: Path, out: Path, repetitions: int) -> Command:
    """Return the command that merges with mergekit."""
    words = [str(place.resolve() / "bin" / "mergekit-yaml"), str(recipe), str(out), "--no-copy-tokenizer"]
    return Command(words, out, repetitions, OFFLINE)


def _make(place: Path, torch_index: str | None) -> None:
    """Make the environment, or leave nothing."""
    print(f"installing mergekit {VERSION} into {place}", flush=True)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    index = ["--index-url", torch_index] if torch_index else []
    constraints = place / "constraints.txt"
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True)
        constraints.write_text(f"torch=={TORCH}\n")
        subprocess.run([*pip, *index, f"torch=={TORCH}"], check=True)
        subprocess.run([*pip, "--constraint", str(constraints), f"mergekit=={VERSION}"], check=True)
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise

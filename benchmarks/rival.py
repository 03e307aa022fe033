"""mergekit, in an environment of its own (scripts/mergekit.py), and the command that merges with it."""

import json
import subprocess
import sys
from pathlib import Path

from timing import Command

PLACE = "mergekit-0.1.5"
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
MAKE = Path(__file__).resolve().parent.parent / "scripts" / "mergekit.py"


def prepare(place: Path, torch_index: str | None) -> dict[str, str]:
    """Make the environment if it is not there; return the versions of what it holds.

    Args:
        place: folder of the environment.
        torch_index: package index to take torch from, where the default would bring GPU libraries.
    """
    index = ["--torch-index", torch_index] if torch_index else []
    made = subprocess.run([sys.executable, MAKE, place, *index], stdout=subprocess.PIPE, text=True)
    if made.returncode:
        sys.exit(made.returncode)
    found: dict[str, str] = json.loads(made.stdout.splitlines()[-1])
    return found


def merge(place: Path, recipe: Path, out: Path, repetitions: int) -> Command:
    """Return the command that merges with mergekit."""
    words = [str(place.resolve() / "bin" / "mergekit-yaml"), str(recipe), str(out), "--no-copy-tokenizer"]
    return Command(words, out, repetitions, OFFLINE)

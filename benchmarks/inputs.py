"""Checkpoints on disk for the time they are needed, and the folder that merges of them are written into."""

import argparse
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BYTES = 2  # of an element in bfloat16
SPARE = 1_000_000_000  # bytes of disk that stay free
TINY = 0.01  # billions of parameters of a model to warm up with


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where, and what becomes of it."""
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--folder", type=Path, default=Path(".bench"), help="where inputs and outputs go; inputs there are used again"
    )
    parser.add_argument("--keep", action="store_true", help="keep the inputs that were made")


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Lend a new folder inside this one, removed at the end, after SIGTERM too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scratch-", dir=folder.resolve()) as name:
        yield Path(name)


def place(folder: Path, billions: float, tensors: int | None, seed: int) -> Path:
    """Return the folder that a base and models of this size go into."""
    return folder / f"{billions:g}B{f'-{tensors}-tensors' if tensors else ''}-{seed}"


@contextmanager
def checkpoints(
    options: argparse.Namespace, billions: float, num_models: int, tensors: int | None = None
) -> Iterator[list[Path]]:
    """Lend a base and models of a size; those that were not there before are removed at the end.

    Args:
        options: what `add_options` added.
        billions: parameters of each model, in 10^9.
        num_models: how many models besides the base.
        tensors: a mixture of experts with this many tensors.

    Yields:
        Folders, the base first.
    """
    root = place(options.folder, billions, tensors, options.seed)
    was_there = root.exists()
    folders = [(root / f"m{i}").resolve() for i in range(num_models + 1)]
    missing = [folder for folder in folders if not folder.exists()]
    words = [sys.executable, str(Path(__file__).with_name("checkpoints.py")), "--out", str(options.folder)]
    words += ["--billions", str(billions), "--models", str(num_models), "--seed", str(options.seed)]
    words += ["--tensors", str(tensors)] if tensors else []
    try:
        subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
        yield folders
    finally:
        if not options.keep:
            for folder in missing if was_there else [root]:
                shutil.rmtree(folder, ignore_errors=True)


def lacking(options: argparse.Namespace, billions: float, num_models: int) -> str:
    """Say how much disk is missing for a base, models and one merge of them; an empty string if it suffices."""
    root = place(options.folder, billions, None, options.seed)
    missing = sum(not (root / f"m{i}").exists() for i in range(num_models + 1))
    needed = int((missing + 1) * billions * 1e9 * BYTES) + SPARE
    options.folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(options.folder).free
    if free >= needed:
        return ""
    size = f"{num_models} models and a base of {billions:g}B parameters, and one merge of them"
    return f"{size} need {needed / 1e9:.0f} GB more of disk; {free / 1e9:.0f} GB are free."

"""Merges of adapters and extractions keep to a limit on memory. Measured on the whole process."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import yaml

from end_to_end.test_memory import COMMAND, MB, MEASURE, write_checkpoint

WIDTH, INNER, RANK = 1280, 3072, 48
NAMES = {f"layers.{i}.{part}.weight": shape for i in range(2)
         for part, shape in {"q": (WIDTH, WIDTH), "up": (INNER, WIDTH), "down": (WIDTH, INNER)}.items()}  # fmt: skip
TOO_CAUTIOUS = 2.5  # the memory that is asked for may be this many times what is measured


def write_adapter(folder: Path, seed: int) -> str:
    generator = np.random.default_rng(seed)
    folder.mkdir()
    tensors = {}
    for name, (rows, width) in NAMES.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = generator.standard_normal((RANK, width), np.float32)
        tensors[f"{module}.lora_B.weight"] = generator.standard_normal((rows, RANK), np.float32)
    safetensors.numpy.save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": RANK, "target_modules": ["q", "up", "down"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return str(folder)


def arguments(work: str, folder: Path) -> list[str]:
    """Write the inputs of a piece of work; return its command."""
    if work == "extract":
        for expert, name in enumerate(("base", "tuned")):
            write_checkpoint(folder / name, NAMES, expert, 1 << 40)
        return ["extract", str(folder / "base"), str(folder / "tuned"), "--rank", "16"]
    models = [write_adapter(folder / f"lora{seed}", seed) for seed in range(3)]
    recipe = {"cuvee": 1, "method": work, "models": models, "output": {"adapter": True, "rank": 32}}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return ["merge", str(folder / "recipe.yaml"), "--quiet"]


@pytest.mark.slow
@pytest.mark.parametrize("work", ["linear", "ties", "extract"])
def test_a_limit_that_is_asked_for_is_kept(work: str, tmp_path: Path) -> None:
    command = [*COMMAND, *arguments(work, tmp_path), "--out"]
    refused = subprocess.run([*command, str(tmp_path / "no"), "--memory", "1MB"], capture_output=True, text=True)
    (allowed,) = re.findall(r"Allow (\d+) MB", refused.stderr)
    options = ["--memory", f"{allowed}MB", "--workers", "4"]
    measured = [sys.executable, "-S", "-c", MEASURE, *command, str(tmp_path / "out"), *options]
    run = subprocess.run(measured, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    peak = int(run.stdout.split()[-1])
    assert peak <= int(allowed) * MB <= TOO_CAUTIOUS * peak
    free = subprocess.run([*command, str(tmp_path / "free"), "--workers", "2"], capture_output=True, text=True)
    assert free.returncode == 0, free.stderr
    one, other = ((tmp_path / out / "adapter_model.safetensors").read_bytes() for out in ("out", "free"))
    assert one == other

"""Measure the peak resident memory of whole merges, against what the plan predicts.

    python benchmarks/memory.py --gigabytes 1 --models 4 --seed 0 --methods linear ties dare_ties

Writes a base and models of the given size (bfloat16, sharded, one large embedding) into a temporary folder, merges them
by each method with `cuvee merge` in a process of its own, and prints one line for each: peak and predicted bytes,
seconds.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.safetensors import SafetensorsWriter

BLOCK = 1 << 21  # elements
HIDDEN = 1024


def shapes(num_bytes: int) -> dict[str, tuple[int, ...]]:
    """Return tensors of a decoder that take about this many bytes, a quarter of them the embedding."""
    layer = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "mlp.up_proj": (4 * HIDDEN, HIDDEN),
        "mlp.down_proj": (HIDDEN, 4 * HIDDEN),
    }
    per_layer = sum(2 * rows * columns for rows, columns in layer.values())
    names: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (max(num_bytes // 4 // (2 * HIDDEN), 1), HIDDEN)}
    for i in range(max(num_bytes * 3 // 4 // per_layer, 1)):
        names |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    return names | {"model.norm.weight": (HIDDEN,)}


def write(folder: Path, names: dict[str, tuple[int, ...]], seed: int, model: int) -> None:
    """Write one checkpoint: the base's numbers, and for experts a small difference everywhere."""
    entries = [(name, TensorSpec(shape, DTYPES["BF16"])) for name, shape in names.items()]
    with SafetensorsWriter(folder, entries, shard_bytes=400_000_000) as writer:
        for k, (name, spec) in enumerate(entries):
            for offset in range(0, spec.size, BLOCK):
                count = min(BLOCK, spec.size - offset)
                values = np.random.default_rng([seed, k, offset]).standard_normal(count, np.float32) * 0.02
                if model:
                    values += np.random.default_rng([seed, k, offset, model]).standard_normal(count, np.float32) * 0.001
                upper = (values.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 is the upper half of float32
                writer.write_at(name, 2 * offset, upper.view(np.uint8).data)


def merge(root: Path, method: str, num_models: int, workers: int) -> tuple[int, int, float]:
    """Plan and merge; return peak and predicted bytes, and seconds."""
    count = 2 if method == "slerp" else num_models
    recipe = root / f"{method}.yaml"
    models = ", ".join(f"m{i + 1}" for i in range(count))
    base = "" if method in ("linear", "slerp", "mlerp") else "base: m0\n"
    recipe.write_text(f"cuvee: 1\nmethod: {method}\nmodels: [{models}]\n{base}")
    cuvee = [sys.executable, "-m", "cuvee"]
    plan = subprocess.run(
        [*cuvee, "plan", recipe, "--json", "--workers", str(workers)], capture_output=True, check=True
    )
    command = [*cuvee, "merge", recipe, "--out", root / "out", "--overwrite", "--quiet", "--workers", str(workers)]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - began
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit
    return peak, json.loads(plan.stdout)["peak_memory"], seconds


def one(root: Path, method: str, options: argparse.Namespace) -> None:
    """Measure one method in a process of its own, because the system keeps only the largest peak of all children."""
    command = [sys.executable, __file__, "--measure", method, str(root), "--models", str(options.models)]
    subprocess.run([*command, "--workers", str(options.workers)], check=True)


def main() -> None:
    """Read the options, make the models, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--gigabytes", type=float, default=1.0, help="size of each model")
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["linear", "slerp", "task_arithmetic", "ties", "dare_ties"])
    parser.add_argument("--measure", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        method, root = options.measure
        peak, predicted, seconds = merge(Path(root), method, options.models, options.workers)
        print(
            f"{method:16} peak {peak / 1e6:7.1f} MB   predicted {predicted / 1e6:7.1f} MB   {seconds:7.1f} s",
            flush=True,
        )
        return
    with tempfile.TemporaryDirectory(dir=".") as folder:
        root, names = Path(folder).resolve(), shapes(int(options.gigabytes * 1e9))
        for model in range(options.models + 1):
            write(root / f"m{model}", names, options.seed, model)
        for method in options.methods:
            one(root, method, options)


if __name__ == "__main__":
    main()

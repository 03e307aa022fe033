"""Kill merges at random moments, let them go on, and compare the bytes with those of an uninterrupted run.

    python benchmarks/kills.py --kills 60 --seed 0 --megabytes 40

Each trial picks a method, a form of output and limits, kills the merging process with SIGKILL after a random share of
the time that the whole merge takes, perhaps again while it goes on, and then lets it end. Prints one line per trial and
``N kills, N went on from what was done, N failed`` at the end; exits with 1 if any result differs, or if anything is
left beside it.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch

import cuvee
from cuvee.tensors.kernels.machine_code import kernel

EMPTY = 80  # bytes of a journal in which nothing is done
METHODS = {
    "linear": {},
    "slerp": {},
    "ties": {"density": 0.5},
    "ties, whole model": {"density": 0.5, "trim_scope": "model"},
    "dare_ties": {"density": 0.5},
    "breadcrumbs": {"density": 0.9, "outliers": 0.01},
}


def make_models(folder: Path, megabytes: int, seed: int) -> list[Path]:
    """Write a base and three models in bfloat16: a few large tensors, and many small ones."""
    generator = torch.Generator().manual_seed(seed)
    elements = megabytes * 500_000
    shapes = {f"layers.{i}.weight": (elements // 8 // 512, 512) for i in range(7)}
    shapes |= {f"layers.{i}.bias": (elements // 8 // 40,) for i in range(40)}
    base = {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}
    paths = []
    for number in range(4):
        model = {
            name: (t + torch.randn(t.shape, generator=generator) * 0.01 * bool(number)).bfloat16()
            for name, t in base.items()
        }
        paths.append(folder / f"m{number}")
        cuvee_save(paths[-1], model)
    return paths


def cuvee_save(path: Path, model: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint folder."""
    from cuvee.writers.save import save_state_dict

    save_state_dict(path, model)


def recipe_for(name: str, models: list[Path], seed: int) -> dict[str, object]:
    """Write a recipe as plain values."""
    method = name.partition(",")[0]
    merged = models[1:3] if method == "slerp" else models[1:]
    recipe: dict[str, object] = {"cuvee": 1, "method": method, "models": list(map(str, merged)), "seed": seed}
    return recipe | {"base": str(models[0]), "parameters": METHODS[name], "output": {"shard_size": "13MB"}}


def begin(recipe: dict[str, object], out: Path, limits: cuvee.Limits, overwrite: bool) -> int:
    """Start a merge in a process of its own, and return its number."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        cuvee.merge(recipe, out, limits=limits, overwrite=overwrite)
    except BaseException as error:  # noqa: BLE001 - a forked process must not run on into its parent's work
        print(f"failed: {error}", flush=True)
        os._exit(1)
    os._exit(0)


def fingerprint(out: Path) -> dict[str, str]:
    """Return what the weights are, file by file."""
    files = [out] if out.is_file() else sorted([*out.glob("*.safetensors"), *out.glob("*.index.json")])
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def hidden(folder: Path) -> list[Path]:
    """Return what lies hidden in a folder."""
    return [path for path in folder.iterdir() if path.name.startswith(".")]


class Trial:
    """One merge that is killed until it is let go.

    Attributes:
        kills: how often it was killed.
        went_on: how often it found work of an earlier attempt.
        text: what happened.
        failed: whether the result is wrong.
    """

    def __init__(self, chance: random.Random, models: list[Path], folder: Path) -> None:
        name = chance.choice(list(METHODS))
        limits = cuvee.Limits(workers=chance.choice([1, 2, 3]), block_bytes=chance.choice([1 << 18, 1 << 20, 1 << 23]))
        recipe = recipe_for(name, models, chance.randrange(3))
        suffix = chance.choice(["", ".safetensors"])
        overwrite = chance.random() < 0.3
        reference, out = folder / f"reference{suffix}", folder / f"merged{suffix}"
        began = time.monotonic()
        os.waitpid(begin(recipe, reference, limits, False), 0)
        takes = time.monotonic() - began
        if overwrite:
            os.waitpid(begin(recipe_for("linear", models, 0), out, limits, False), 0)
        self.kills = self.went_on = 0
        while self.kills < 3 and not self.failed_early(begin(recipe, out, limits, overwrite), chance.random() * takes):
            self.went_on += any(
                (path / "journal").stat().st_size > 60 for path in hidden(folder) if (path / "journal").exists()
            )
            if chance.random() < 0.5:
                break
        if not out.exists() or overwrite or hidden(folder):
            os.waitpid(begin(recipe, out, limits, overwrite), 0)
        same = out.exists() and list(fingerprint(out).values()) == list(fingerprint(reference).values())
        left = [path.name for path in hidden(folder)]
        self.failed = not same or bool(left)
        self.text = (
            f"{'ok' if not self.failed else 'FAILED'}  {name}{suffix} {'over another ' if overwrite else ''}"
            f"killed {self.kills} times{f'; left: {left}' if left else ''}"
        )

    def failed_early(self, process: int, seconds: float) -> bool:
        """Kill a process after some time; say whether it had ended before."""
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        killed = os.WIFSIGNALED(status)
        self.kills += killed
        return not killed


def main() -> None:
    """Read the options, kill, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--megabytes", type=int, default=40, help="of each of the four models")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    kills = went_on = failed = 0
    kernel()  # compiled before, so that it is not killed while it compiles
    with tempfile.TemporaryDirectory() as folder:
        models = make_models(Path(folder), options.megabytes, options.seed)
        while kills < options.kills:
            place = Path(folder) / "trial"
            place.mkdir()
            trial = Trial(chance, models, place)
            kills, went_on, failed = kills + trial.kills, went_on + trial.went_on, failed + trial.failed
            print(trial.text, flush=True)
            shutil.rmtree(place)
    print(f"{kills} kills, {went_on} went on from what was done, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()

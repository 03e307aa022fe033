"""Models to merge while things go wrong, and what a merge leaves."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.execute import run
from cuvee.plan import planner
from cuvee.writers.save import save_state_dict

CELL = 4096

Recipe = dict[str, object]
Write = Callable[..., Recipe]
FINE = {"block_bytes": 8192, "workers": 2}


@pytest.fixture(autouse=True)
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make cells so small that small tensors have several."""
    monkeypatch.setattr(planner, "CELL", CELL)
    monkeypatch.setattr(run, "CELL", 1)  # and hand them out one block at a time


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a base `m0` and three models, each of eight tensors of five cells and some small ones."""
    generator = torch.Generator().manual_seed(0)
    shapes = {f"layers.{i}.weight": (5 * CELL // 64, 64) for i in range(8)} | {
        f"layers.{i}.bias": (9,) for i in range(4)
    }
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for number in range(4):
        model = {name: (t + 0.1 * torch.randn(t.shape, generator=generator)).bfloat16() for name, t in base.items()}
        model["ids"] = torch.arange(7) + number  # differs: a merge copies it, and says so
        save_state_dict(tmp_path / f"m{number}", model)
    return tmp_path


@pytest.fixture
def recipe(folder: Path) -> Callable[..., Recipe]:
    """Return a function that writes a recipe for the folder's models as plain values."""

    def written(method: str = "ties", **parameters: object) -> Recipe:
        models = [str(folder / f"m{i}") for i in (1, 2, 3)]
        return {"cuvee": 1, "method": method, "models": models, "base": str(folder / "m0"), "parameters": parameters}

    return written


def weights(out: Path) -> dict[str, str]:
    """Digest every weight file of an output."""
    files = [out] if out.is_file() else sorted(out.glob("*.safetensors"))
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def hidden(folder: Path) -> list[str]:
    """List what lies hidden in a folder."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


class Stop:
    """Interrupts a merge after some bytes."""

    def __init__(self, after: int, error: BaseException | None = None) -> None:
        self.left = after
        self.error = error or KeyboardInterrupt()

    def __call__(self, moved: int, _: int) -> None:
        self.left -= moved
        if self.left < 0:
            raise self.error


def stop(recipe: Recipe, out: Path, after: int) -> BaseException:
    """Interrupt a merge, and return what it ended with."""
    with pytest.raises(KeyboardInterrupt) as caught:
        cuvee.merge(recipe, out, limits=cuvee.Limits(**FINE), progress=Stop(after))
    return caught.value

"""The command line, called in this process as a shell would call it; and small checkpoints for it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from cuvee.cli import main
from cuvee.execute import forecast
from cuvee.tensors.kernels import machine_code
from cuvee.writers.save import save_state_dict

Cuvee = Callable[..., "Answer"]


class Answer(NamedTuple):
    """What a command left behind: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, parsed."""
        return json.loads(self.out)


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Compile for this machine before a command does so, and says so, in the middle of a test."""
    machine_code.kernel()


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a command forecast as in a process of its own, whatever this one holds in memory."""
    monkeypatch.setattr(forecast, "resident_memory", lambda: 0)


@pytest.fixture
def cuvee(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cuvee:
    """Return a function that runs ``cuvee`` with some arguments."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["cuvee", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capsys.readouterr()
        return Answer(left.value.code or 0, out, err)  # type: ignore[arg-type]

    return run


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, the current one, with the checkpoints a, b and base, and the recipe recipe.yaml of them."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("base", "a", "b")):
        tensors = {
            "model.embed_tokens.weight": torch.full((4, 2), 1.0 + number),
            **{f"model.layers.{i}.mlp.weight": torch.full((2, 2), i + 0.5 * number) for i in range(3)},
            "model.norm.weight": torch.full((2,), 1.0 + number),
        }
        save_state_dict(tmp_path / name, tensors, files={"config.json": b'{"model_type": "toy"}'})
    (tmp_path / "recipe.yaml").write_text("cuvee: 1\nmethod: ties\nmodels: [a, b]\nbase: base\n")
    return tmp_path

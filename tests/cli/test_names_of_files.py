"""Names in files may be anyone's: the terminal is shown them, and never obeys them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cli.conftest import Cuvee
from cuvee.cli.lines import plain

NAME = "layers.0.\x1b[31m\u202eweight"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("model.weight", "model.weight"), ("é 層", "é 層"), ("a\x1b[2J", "a\\x1b[2J"), ("a\nb\u202e", "a\\nb\\u202e")],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("command", ["inspect", "diff", "plan", "verify", "merge"])
def test_commands_escape_the_names_of_tensors(command: str, tmp_path: Path, cuvee: Cuvee) -> None:
    for name in ("a", "b"):
        save_file({NAME: torch.ones(2, 2) * (name == "b")}, tmp_path / f"{name}.safetensors")
    a, b, recipe, out = (str(tmp_path / name) for name in ("a.safetensors", "b.safetensors", "r.yaml", "out"))
    (tmp_path / "r.yaml").write_text(f"cuvee: 1\nmethod: linear\nmodels: [{a}, {b}]\n")
    words = {
        "inspect": [a, "--tensors"],
        "diff": [a, b, "--tensors"],
        "plan": [recipe],
        "merge": [recipe, "--out", out],
        "verify": [out],
    }
    if command == "verify":
        cuvee("merge", *words["merge"])
        save_file({NAME: torch.ones(2, 2) * 7}, tmp_path / "out" / "model.safetensors")
    if command == "merge":
        save_file({NAME: torch.full((2, 2), torch.nan)}, tmp_path / "b.safetensors")
    done = cuvee(command, *words[command])
    assert done.code == (command in ("verify", "merge"))
    said = done.out + done.err
    assert "layers.0.\\x1b[31m\\u202eweight" in said or "layers.*.\\x1b[31m\\u202eweight" in said
    assert not {"\x1b", "\u202e"} & set(said)

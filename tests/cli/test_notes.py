"""What the user should know is a line on standard error, however the code that noticed it tells."""

from pathlib import Path
from typing import Any

import torch


def test_a_warning_is_a_note_without_a_place_in_our_code(cuvee: Any, models: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, models / "old.pt")
    answer = cuvee("inspect", "old.pt")
    assert answer.code == 0
    assert answer.err == "Note: old.pt: the tensors under 'state_dict' are read; left out: 'epoch'.\n"


def test_a_quiet_merge_prints_no_note(cuvee: Any, models: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}, "epoch": 3}, models / "old.pt")
    (models / "old.yaml").write_text("cuvee: 1\nmethod: linear\nmodels: [old.pt, old.pt]\n")
    assert cuvee("merge", "old.yaml", "--out", "out", "--quiet").err == ""
    assert "Note: old.pt: the tensors under" in cuvee("merge", "old.yaml", "--out", "loud").err

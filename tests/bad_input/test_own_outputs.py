"""An output of our own can be overwritten, whatever code was copied into it; a folder of someone's work cannot."""

from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.errors import OutputError
from cuvee.writers.save import save_state_dict


def test_a_merge_with_code_of_any_name_can_be_made_again(tmp_path: Path) -> None:
    save_state_dict(tmp_path / "m", {"w": torch.ones(2)})
    (tmp_path / "m" / "my_blocks.py").write_text("x = 1\n")
    recipe = cuvee.Recipe(method="linear", models=[str(tmp_path / "m")], output=cuvee.Output(custom_code=True))
    for _ in range(2):
        cuvee.merge(recipe, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "my_blocks.py").read_text() == "x = 1\n"
    with pytest.raises(OutputError, match=r"'my_blocks\.py', which is no part of a checkpoint"):
        save_state_dict(tmp_path / "m", {"w": torch.ones(2)}, overwrite=True)

"""Files of several recipes: errors name the recipe, and the line in it."""

import re
from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.errors import CuveeError
from cuvee.writers.save import save_state_dict

SEVERAL = """\
cuvee: 1
recipes:
  pair:
    method: linear
    models: [a, b]
  all:
    method: task_arithmetic
    models:
      one: pair
      two: b
    base: a
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        save_state_dict(tmp_path / name, {"w": torch.ones(2, 2)})
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("linear", "linnear", "several.yaml:4: recipe 'pair': method 'linnear' is not known."),
        ("base: a", "base: nowhere", "several.yaml:11: recipe 'all': model 'base': 'nowhere' is not a local"),
        ("two: b", "two: nowhere", "several.yaml:10: recipe 'all': model 'two': 'nowhere' is not a local"),
        (
            "[a, b]",
            "[a, nowhere]",
            "several.yaml:9: recipe 'all': model 'one': several.yaml:5: recipe 'pair': model 'm1': 'nowhere' is not a",
        ),
        ("    base: a\n", "", "several.yaml:6: recipe 'all': method 'task_arithmetic' works on task vectors"),
    ],
)
def test_errors_name_the_recipe_and_its_line(folder: Path, old: str, new: str, said: str) -> None:
    assert SEVERAL.count(old) == 1
    (folder / "several.yaml").write_text(SEVERAL.replace(old, new))
    with pytest.raises(CuveeError, match=re.escape(said)):
        cuvee.plan("several.yaml")


def test_a_recipe_of_several_is_relative_to_its_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "several.yaml").write_text(SEVERAL)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert list(cuvee.plan("../several.yaml").outputs[0]) == ["w"]

"""Checkpoints to spoil, and the check that a merge of them is refused.

Each kind of bad input gives an error that names file, tensor and cause, from Python and from the command line alike;
inputs keep their bytes; and nothing appears, neither under the output's name nor beside it.
"""

import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

import cuvee
from bad_input.checkpoints import state
from bad_input.merges import Refused, snapshot
from cuvee.cli import main
from cuvee.errors import CuveeError
from cuvee.writers.save import save_state_dict


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the checkpoints base, a and b, to copy."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "a", "b")):
        save_state_dict(folder / name, state(seed))
    return folder


@pytest.fixture
def folder(originals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the checkpoints base, a and b."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def assert_refused(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that merges, by Python and by the command line, and checks that both refuse alike."""

    def check(
        recipe: Mapping[str, Any],
        *words: str,
        out: str = "out",
        code: int = 1,
        overwrite: bool = False,
        cli: bool = True,
    ) -> None:
        (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(recipe), sort_keys=False))
        before = snapshot(folder)
        with pytest.raises(CuveeError) as caught:
            cuvee.merge(dict(recipe), out, overwrite=overwrite)
        assert snapshot(folder) == before
        assert caught.value.exit_code == code
        assert "\n" not in str(caught.value)
        for word in words:
            assert word in str(caught.value)
        if cli:
            check_command(str(caught.value), before, out, code, overwrite)

    def check_command(message: str, before: dict[str, str], out: str, code: int, overwrite: bool) -> None:
        arguments = ["cuvee", "merge", "recipe.yaml", "--out", out, *(["--overwrite"] if overwrite else [])]
        monkeypatch.setattr(sys, "argv", arguments)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        assert snapshot(folder) == before
        assert left.value.code == code
        assert printed.out == ""
        told, said = (re.sub(r"[0-9a-f]{8}\.partial", "", text) for text in (printed.err, f"{message}\n"))
        assert re.fullmatch(r"cuvee: (recipe\.yaml:\d+: )?" + re.escape(said), told), told

    return check

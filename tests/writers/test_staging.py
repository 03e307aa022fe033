"""The hidden folder beside an output: whose it is, and what a process that ends leaves in it."""

import os
from pathlib import Path

import pytest

from cuvee.errors import OutputError
from cuvee.writers.staging import Staging


@pytest.mark.parametrize("kind", ["link", "file", "folder of somebody else"])
def test_hidden_folder_that_is_none_of_the_user_is_refused_and_stays(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thesis = tmp_path / "project" / "output" / "thesis.tex"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("ten years")
    root = tmp_path / ".out.unfinished"
    if kind == "link":
        root.symlink_to("project")
    elif kind == "file":
        root.write_text("mine")
    else:
        (tmp_path / "project").rename(root)
        thesis = root / "output" / "thesis.tex"
        monkeypatch.setattr(os, "geteuid", lambda: root.stat().st_uid + 1)
    before = sorted(tmp_path.rglob("*"))
    staging = Staging(tmp_path / "out")
    with pytest.raises(OutputError, match=r"\.out\.unfinished is not a folder of yours"):
        staging.claim("run")
    staging.discard()
    assert sorted(tmp_path.rglob("*")) == before
    assert thesis.read_text() == "ten years"

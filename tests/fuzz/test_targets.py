"""The fuzzing targets work: valid documents are answers, and something wrong would be found."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2] / "fuzz"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT)
    import seeds
    import targets

    yield targets, seeds
    for name in ("targets", "seeds"):
        sys.modules.pop(name)


def test_every_target_has_seeds_and_they_are_answered(modules: Any, tmp_path: Path) -> None:
    targets, seeds = modules
    assert set(targets.TARGETS) == set(seeds.SEEDS)
    for name, target in targets.TARGETS.items():
        (tmp_path / name).mkdir()
        outcomes = {outcome(target, content, tmp_path / name) for content in seeds.SEEDS[name]}
        assert "read" in outcomes, name


def outcome(target: Any, content: bytes, folder: Path) -> str:
    try:
        target.run(content, folder)
    except target.answers:
        return "refused"
    return "read"


def test_words_are_tried_once(modules: Any) -> None:
    _, seeds = modules
    assert len(set(seeds.WORDS)) == len(seeds.WORDS)


PLANTED = {
    "exception": "raise KeyError('planted')",
    "hang": "while True: pass",
    "memory": "bytearray(3 << 30)",
}


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("atheris"), reason="needs the extra 'fuzz'")
@pytest.mark.parametrize("kind", [None, *PLANTED])
def test_what_is_wrong_is_found_and_kept(tmp_path: Path, kind: str | None) -> None:
    for file in ROOT.glob("*.py"):
        (tmp_path / file.name).write_text(file.read_text().replace("SECONDS = 10", "SECONDS = 2"))
    if kind:
        with (tmp_path / "targets.py").open("a") as file:
            file.write("\n\n@target(CuveeError)\ndef model_name(data, folder):\n")
            file.write(f"    if b'@' in data:\n        {PLANTED[kind]}\n")
    command = [sys.executable, str(tmp_path / "run.py"), "--seconds", "10", "--seed", "1", "--target", "model_name"]
    result = subprocess.run([*command, "--findings", str(tmp_path / "found")], capture_output=True, text=True)
    assert result.returncode == (1 if kind else 0), result.stdout + result.stderr
    found = [path.read_bytes() for path in (tmp_path / "found").iterdir()]
    assert all(b"@" in content for content in found)
    assert bool(found) == bool(kind)

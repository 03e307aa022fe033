"""How the command line fails: one readable paragraph on standard error, the right exit code, nothing left behind."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RECIPE = "cuvee: 1\nmethod: linear\nmodels: [a, b]\n"

# Arguments, exit code, how the message begins.
FAILURES = [
    # a wrong recipe
    (("merge", "wrong.yaml", "--out", "out"), 2, "wrong.yaml:2: method 'linnear' is not known. Did you mean 'linear'?"),
    (("plan", "wrong.yaml"), 2, "wrong.yaml:2: method 'linnear' is not known."),
    (("plan", "nothing.yaml"), 2, "nothing.yaml: the recipe cannot be read: No such file or directory."),
    (
        ("plan", "tab.yaml"),
        2,
        "tab.yaml: not a recipe: line 4: there is a tab where a value or a key should begin. Indent",
    ),
    (("merge", "empty.yaml", "--out", "out"), 2, "empty.yaml: a recipe must be a mapping (key: value), not nothing."),
    (("plan", ""), 2, ".: the recipe cannot be read: Is a directory."),
    (("plan", "a"), 2, "a: the recipe cannot be read: Is a directory."),
    (("plan", "a/model.safetensors"), 2, "a/model.safetensors: not a recipe: "),
    (("plan", "no_base.yaml"), 2, "no_base.yaml:1: method 'ties' works on task vectors"),
    (("plan", "zero.yaml"), 2, "zero.yaml:4: method 'linear': the weights [1.0, -1.0] add up to zero"),
    (("plan", "recipe.yaml", "--workers", "0"), 2, "the workers must be at least 1, not 0"),
    (("merge", "recipe.yaml", "--out", "out", "--block-size", "0"), 2, "the block size must be at least 1, not 0"),
    (("merge", "recipe.yaml", "--out", "out", "--memory", "0MB"), 2, "the memory must be at least 1, not 0"),
    (("merge", "recipe.yaml", "--out", "out", "--memory", "lots"), 2, "--memory: 'lots' is no number of bytes; write"),
    (("plan", "recipe.yaml", "--block-size", "1XB"), 2, "--block-size: '1XB' is no number of bytes; write for"),
    (("merge", "recipe.yaml", "--out", "out", "--memory", "1MB"), 2, "model."),
    (("plan", "recipe.yaml", "--memory", "1MB"), 2, "model."),
    (("methods", "liner"), 2, "method 'liner' is not known. Did you mean 'linear'?"),
    # a failed run
    (("merge", "recipe.yaml", "--out", "a"), 1, "The output "),
    (("merge", "recipe.yaml", "--out", "recipe.yaml/out"), 1, ""),
    (("plan", "no_model.yaml"), 1, "no_model.yaml:3: model 'm1': "),
    (("inspect", "nothing"), 1, "'nothing' is not a local folder or file."),
    (("inspect", "recipe.yaml"), 1, "recipe.yaml is named as a recipe; a model is expected here."),
    (("diff", "a", "nothing"), 1, "'nothing' is not a local folder or file."),
]
# Arguments that typer itself refuses, and words it says.
MISUSES = [
    (("frobnicate",), "No such command 'frobnicate'"),
    (("merg",), "No such command 'merg'"),
    (("merge", "recipe.yaml"), "Missing option '--out'"),
    (("merge", "--out", "out"), "Missing argument"),
    (("merge", "recipe.yaml", "--out", "out", "--overwrit"), "--overwrite"),
    (("merge", "recipe.yaml", "--out", "out", "--workers", "two"), "valid integer"),
    (("plan", "recipe.yaml", "more"), "more"),
    (("--frobnicate",), "--frobnicate"),
]


@pytest.fixture
def recipes(models: Path) -> Path:
    """Recipes that fail, beside one that does not."""
    (models / "wrong.yaml").write_text(RECIPE.replace("linear", "linnear"))
    (models / "empty.yaml").touch()
    (models / "tab.yaml").write_text("cuvee: 1\nmethod: linear\nmodels:\n\t- a\n")
    (models / "zero.yaml").write_text(RECIPE + "parameters: {weight: [1, -1]}\n")
    (models / "no_model.yaml").write_text(RECIPE.replace("b]", "c]"))
    (models / "no_base.yaml").write_text(RECIPE.replace("linear", "ties"))
    return models


@pytest.mark.parametrize(("arguments", "code", "begins"), FAILURES, ids=[" ".join(row[0]) for row in FAILURES])
def test_failure_is_one_paragraph_with_its_exit_code(
    cuvee: Any, recipes: Path, arguments: tuple[str, ...], code: int, begins: str
) -> None:
    before = sorted(recipes.rglob("*"))
    answer = cuvee(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert answer.err.startswith(f"cuvee: {begins}")
    assert answer.err.count("\n") == 1
    assert answer.err.rstrip().endswith((".", "?", ")"))
    assert "unexpected" not in answer.err
    assert "Traceback" not in answer.err
    assert sorted(recipes.rglob("*")) == before


@pytest.mark.parametrize(("arguments", "words"), MISUSES, ids=[" ".join(row[0]) for row in MISUSES])
@pytest.mark.usefixtures("models")
def test_wrong_command_is_explained(cuvee: Any, arguments: tuple[str, ...], words: str) -> None:
    answer = cuvee(*arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("cuvee: ")
    assert words in answer.err
    verb = f"{arguments[0]} " if arguments[0] in ("merge", "plan") else ""
    assert answer.err.endswith(f" See 'cuvee {verb}--help'.\n")
    assert answer.err.count("\n") == 1
    assert "?." not in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    "arguments", [("--debug", "methods", "tise"), ("methods", "--debug", "tise"), ("methods", "tise", "--debug")]
)
def test_debug_shows_the_traceback_wherever_it_stands(arguments: tuple[str, ...]) -> None:
    run = cuvee_process(*arguments)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 2
    assert err.startswith("Traceback (most recent call last)")
    assert "RecipeError: method 'tise' is not known." in err
    assert err.splitlines()[-1].startswith("cuvee: method 'tise' is not known.")


def test_debug_shows_the_traceback_of_a_wrong_option(cuvee: Any) -> None:
    answer = cuvee("methods", "--frobnicate", "--debug")
    assert answer.code == 2
    assert answer.err.startswith("Traceback (most recent call last)")
    assert answer.err.splitlines()[-1].startswith("cuvee: No such option: --frobnicate")


def test_debug_changes_nothing_else(cuvee: Any) -> None:
    assert cuvee("methods", "--debug") == cuvee("methods")


@pytest.mark.usefixtures("models")
def test_unexpected_error_is_a_sentence_too(cuvee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("cuvee.cli.plan.predict", broken)
    answer = cuvee("plan", "recipe.yaml")
    assert answer.code == 1
    assert answer.err == (
        "cuvee: unexpected ZeroDivisionError: division by zero. Run again with --debug and report what it prints.\n"
    )


@pytest.mark.usefixtures("models")
def test_reader_that_stops_reading_is_no_error() -> None:
    """As in ``cuvee plan recipe.yaml --json | head -1``."""
    for arguments in (("methods", "ties"), ("plan", "recipe.yaml"), ("plan", "recipe.yaml", "--json")):
        run = cuvee_process(*arguments)
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.close()
        assert run.wait(timeout=60) == 0, arguments
        assert run.stderr.read() == "", arguments
        run.stderr.close()


def cuvee_process(*arguments: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "cuvee", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def write_zeros(folder: Path, count: int, nbytes: int) -> None:
    """A checkpoint of zeros that takes no room on the disk: a file with a hole."""
    table = {
        f"model.layers.{i}.mlp.weight": {
            "dtype": "BF16",
            "shape": [nbytes // 2],
            "data_offsets": [i * nbytes, (i + 1) * nbytes],
        }
        for i in range(count)
    }
    header = json.dumps(table).encode()
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + count * nbytes)


@pytest.mark.parametrize(
    ("signal_sent", "delay", "debug"),  # seconds: at its start, and in its midst
    [(signal.SIGINT, 0.0, False), (signal.SIGINT, 0.8, True), (signal.SIGTERM, 0.5, False)],
)
def test_interrupted_merge_leaves_nothing(
    tmp_path: Path, signal_sent: signal.Signals, delay: float, debug: bool
) -> None:
    for name in ("a", "b", "base"):
        write_zeros(tmp_path / name, 8, 192 << 20)  # more than can be kept: read three times
    (tmp_path / "recipe.yaml").write_text("cuvee: 1\nmethod: ties\nmodels: [a, b]\nbase: base\n")
    before = sorted(tmp_path.iterdir())
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "new" / "out"
    run = cuvee_process("merge", recipe, "--out", out, *(["--debug"] if debug else []))
    try:
        wait_for(lambda: out.parent.exists() and any((path / "output").exists() for path in out.parent.iterdir()))
        time.sleep(delay)
        assert run.poll() is None, "the merge was over before it could be interrupted"
        run.send_signal(signal_sent)
        answer, err = run.communicate(timeout=60)
    finally:
        run.kill()
    # Python itself ends by the signal if the interrupt came while a library was loading; a shell shows 130 for both.
    assert run.returncode in (130, -signal.SIGINT)
    assert answer == ""
    assert err.endswith("cuvee: interrupted; nothing was left half-written.\n")
    assert ("Traceback" in err) == debug
    assert sorted(tmp_path.iterdir()) == before


def wait_for(happens: Any) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("verb", [("plan",), ("merge", "--out", "out")], ids=["plan", "merge"])
def test_recipe_of_somebody_else_is_told_like_any_that_cannot_be_read(
    cuvee: Any, recipes: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    real = Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "recipe.yaml":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path).name != "recipe.yaml")
    answer = cuvee(*verb, "recipe.yaml")
    assert (answer.code, answer.err) == (2, "cuvee: recipe.yaml: the recipe cannot be read: Permission denied.\n")

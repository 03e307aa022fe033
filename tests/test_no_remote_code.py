"""No code that comes with a model is imported, run or asked for: held by the source, and by a checkpoint with code."""

import ast
from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.writers.save import save_state_dict

PACKAGE = Path(cuvee.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# Names that run what they are given, or unpickle it. `import_module` and `entry_points` find cuvee's own methods and
# those of installed packages.
RUNS_CODE = {"eval", "exec", "compile", "__import__", "run_path", "run_module", "execfile"}
UNPICKLES = {"Unpickler", "unpickle", "read_pickle", "get_class_from_dynamic_module"}
LOADS = {("pickle", "load"), ("pickle", "loads"), ("joblib", "load"), ("dill", "load"), ("shelve", "open")}


def calls(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> tuple[str, str]:
    """What stands before the last dot of what is called, and after it."""
    whole = ast.unparse(call.func)
    before, _, last = whole.rpartition(".")
    return before, last


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_source_runs_no_code_and_trusts_none(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert not any(
        isinstance(node, ast.keyword) and node.arg == "trust_remote_code" and ast.unparse(node.value) != "False"
        for node in ast.walk(tree)
    )
    for call in calls(tree):
        before, last = called(call)
        if before in ("", "builtins", "runpy"):
            assert last not in RUNS_CODE, f"line {call.lineno}"
        assert last not in UNPICKLES, f"line {call.lineno}"
        assert (before, last) not in LOADS, f"line {call.lineno}"
        if (before, last) == ("torch", "load"):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert options.get("weights_only") == "True", f"line {call.lineno}"
        if last in ("load", "load_all") and before == "yaml":
            pytest.fail(f"line {call.lineno}: yaml.load makes whatever the text asks for")


def test_code_beside_a_model_is_neither_run_nor_copied(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    for name in ("a", "b"):
        save_state_dict(tmp_path / name, {"w": torch.ones(4)})
        for file in ("modeling_custom.py", "__init__.py", "setup.py", "conftest.py"):
            (tmp_path / name / file).write_text(f"open({str(mark)!r}, 'w')\n")
        (tmp_path / name / "config.json").write_text(
            '{"model_type": "custom", "auto_map": {"AutoModel": "modeling_custom.Model"}, "trust_remote_code": true}'
        )
    recipe = cuvee.Recipe(method="linear", models=[str(tmp_path / "a"), str(tmp_path / "b")])
    cuvee.merge(recipe, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.py"))
    copied = cuvee.Recipe(method="linear", models=recipe.models, output=cuvee.Output(custom_code=True))
    cuvee.merge(copied, tmp_path / "copied")
    assert (tmp_path / "copied" / "modeling_custom.py").read_text() == (
        tmp_path / "a" / "modeling_custom.py"
    ).read_text()
    assert not mark.exists()

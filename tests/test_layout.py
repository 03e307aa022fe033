"""The shape of the source tree, held by tests: sizes, names, docstrings, imports and the public names.

Sizes hold for tests, scripts and examples as well.
"""

import ast
import importlib.util
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cuvee

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
PACKAGE = SOURCE / "cuvee"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS_AROUND = ("tests", "scripts", "examples", "fuzz", "parity")
FILES_AROUND = sorted(path for folder in FOLDERS_AROUND for path in (ROOT / folder).rglob("*.py"))
FILE_LINES = 400
BODY_LINES = 60
NAMES_WITHOUT_A_CONCEPT = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
each_file_with_those_around = pytest.mark.parametrize(
    "path", [*FILES, *FILES_AROUND], ids=lambda path: path.relative_to(ROOT).as_posix()
)


@pytest.mark.parametrize("folder", FOLDERS_AROUND)
def test_folders_around_the_source_are_looked_at(folder: str) -> None:
    """A folder that was renamed would have no file left that is too long."""
    assert [path for path in FILES_AROUND if path.is_relative_to(ROOT / folder)]


@each_file_with_those_around
def test_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES


@each_file_with_those_around
def test_function_bodies_are_short(path: Path) -> None:
    too_long = {name: body_lines(node) for name, node in functions(parse(path)) if body_lines(node) > BODY_LINES}
    assert too_long == {}


@each_file
def test_module_name_names_an_idea(path: Path) -> None:
    assert not {*path.relative_to(PACKAGE).parent.parts, path.stem} & NAMES_WITHOUT_A_CONCEPT


@each_file
def test_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(parse(path))


@each_file
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    assert [name for name, node in public_definitions(parse(path)) if not ast.get_docstring(node)] == []


@each_file
def test_own_modules_are_imported_at_module_level(path: Path) -> None:
    """Only the lazy names of `cuvee/__init__.py` and the verb bodies of `cuvee/cli` import late."""
    if path == PACKAGE / "__init__.py" or path.is_relative_to(PACKAGE / "cli"):
        return
    late = {
        f"line {inner.lineno}: {module}"
        for _, function in functions(parse(path))
        for inner in ast.walk(function)
        for module in imported_modules(inner, path)
        if module.split(".")[0] == "cuvee"
    }
    assert late == set()


@each_file
def test_no_module_imports_names_from_a_package_it_lies_in(path: Path) -> None:
    """Within a package, names come from the module that defines them; its `__init__` may import from all of them."""
    inside = [module_name(parent / "__init__.py") for parent in path.parents if parent.is_relative_to(PACKAGE)]
    if path.name == "__init__.py":
        inside.remove(module_name(path))
    wrong = [
        f"line {node.lineno}: from {module} import {alias.name}"
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ImportFrom)
        for module in imported_modules(node, path)
        for alias in node.names
        if module in inside and not is_module(f"{module}.{alias.name}")
    ]
    assert wrong == []


def test_every_folder_is_a_package() -> None:
    """A folder without `__init__.py` would import, but escape the import contracts."""
    assert [path.parent for path in FILES if not (path.parent / "__init__.py").exists()] == []


def test_public_names_are_listed_once() -> None:
    assert len(set(cuvee.__all__)) == len(cuvee.__all__)


def test_promised_names_are_public() -> None:
    promised = {"Recipe", "merge", "merge_state_dicts", "merge_tensors", "methods", "open_source", "plan"}
    assert promised <= set(cuvee.__all__)


def test_public_names_resolve_and_are_documented() -> None:
    values = {name: getattr(cuvee, name) for name in cuvee.__all__}
    assert [name for name, value in values.items() if not isinstance(value, str) and not inspect.getdoc(value)] == []


def test_no_public_name_is_missing_from_all() -> None:
    """`dir` in a fresh interpreter shows the public names and, besides, only modules."""
    script = (
        "import cuvee, types\n"
        "[getattr(cuvee, name) for name in cuvee.__all__]\n"
        "names = {name for name in dir(cuvee) if not name.startswith('_')}\n"
        "assert set(cuvee.__all__) <= set(dir(cuvee)), set(cuvee.__all__) - set(dir(cuvee))\n"
        "unlisted = names - set(cuvee.__all__)\n"
        "assert all(isinstance(getattr(cuvee, name), types.ModuleType) for name in unlisted), unlisted\n"
    )
    run_python(script)


def test_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        cuvee.no_such_name  # noqa: B018  the access is what is tested


@pytest.mark.parametrize("name", ["plan", "methods"])
def test_function_wins_over_module_of_the_same_name(name: str) -> None:
    """Importing `cuvee.plan` binds the module to the package; `cuvee.plan(recipe)` has to work all the same."""
    run_python(f"import cuvee.{name}, cuvee\nassert callable(cuvee.{name})")
    run_python(f"import cuvee\nfirst = cuvee.{name}\nimport cuvee.{name}\nassert callable(cuvee.{name})")
    run_python(f"from cuvee import {name}\nassert callable({name})")


@pytest.mark.parametrize(
    "script",
    [
        "import cuvee",
        "import cuvee.cli",
        "import cuvee.methods",
        "import cuvee.plan",
        "import cuvee.recipe",
        "import cuvee; cuvee.methods()",
    ],
)
def test_light_paths_do_not_load_torch(script: str) -> None:
    loaded = run_python(f"{script}\nimport sys; print(*sys.modules)").split()
    assert not {"torch", "transformers", "sklearn", "ray"} & set(loaded)


def test_package_is_typed() -> None:
    assert (PACKAGE / "py.typed").exists()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def functions(tree: ast.AST) -> Iterator[tuple[str, Function]]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield f"{node.name} (line {node.lineno})", node


def body_lines(function: Function) -> int:
    """Lines from the first statement after the docstring to the end, blank lines and comments included."""
    statements = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - statements[0].lineno + 1 if statements else 0


def public_definitions(tree: ast.Module) -> Iterator[tuple[str, Function | ast.ClassDef]]:
    """Classes and functions of the module and methods of its classes, without magic methods and bare declarations."""
    for node in tree.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        yield node.name, node
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, Function) and not member.name.startswith("_") and not is_bare(member):
                    yield f"{node.name}.{member.name}", member


def is_bare(function: Function) -> bool:
    """A body of `...` alone: an overload, or an attribute of a protocol, described by the class docstring."""
    (first, *rest) = function.body
    return (
        not rest and isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and first.value.value is ...
    )


def imported_modules(node: ast.AST, path: Path) -> Iterator[str]:
    """Full names of the modules that one import statement names."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
        yield importlib.util.resolve_name("." * node.level + (node.module or ""), package)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")


def is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def run_python(script: str) -> str:
    """Run a script in a fresh interpreter and return what it printed."""
    result = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout

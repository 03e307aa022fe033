"""What the command line looks like: verbs, flags, help, and how little it loads to show them."""

import subprocess
import sys
from typing import Any

import pytest
import typer.main

from cuvee.cli import app
from cuvee.methods.registry import methods

# New settings go into the recipe, not here: a recipe is what people share, and what a checkpoint carries.
# To add a verb or a flag, change this table, and say in the commit why it cannot be in the recipe.
INTERFACE: dict[str, set[str]] = {
    "": {"--debug"},
    "merge": {"recipe", "--out", "--overwrite", "--workers", "--block-size", "--quiet"},
    "plan": {"recipe", "--json", "--rows", "--workers"},
    "methods": {"[name]", "--json"},
    "inspect": {"path", "--json", "--tensors"},
    "diff": {"a", "b", "--json", "--tensors"},
    "demo": {"--out", "--seed"},
}
HEAVY = {"torch", "numpy", "numba", "rich", "yaml", "transformers", "sklearn"}


def written(parameter: Any) -> str:
    if parameter.param_type_name == "option":
        return "/".join([*parameter.opts, *parameter.secondary_opts])
    return parameter.name if parameter.required else f"[{parameter.name}]"


def test_verbs_and_flags_are_those_agreed_on() -> None:
    group: Any = typer.main.get_command(app)
    found = {"": {written(parameter) for parameter in group.params}}
    found |= {name: {written(parameter) for parameter in verb.params} for name, verb in group.commands.items()}
    assert found == INTERFACE


def test_every_verb_and_flag_says_what_it_does() -> None:
    group: Any = typer.main.get_command(app)
    for name, verb in group.commands.items():
        assert verb.help, name
        silent = [parameter.name for parameter in verb.params if not parameter.help]
        assert silent == [], name


@pytest.mark.parametrize("verb", sorted(INTERFACE))
def test_help_of_every_verb_shows_its_flags(cuvee: Any, verb: str) -> None:
    answer = cuvee(*([verb] if verb else []), "--help")
    assert answer.code == 0
    assert answer.err == ""
    for flag in INTERFACE[verb]:
        assert flag.strip("[]").lower() in answer.out.lower()


def test_help_lists_every_verb(cuvee: Any) -> None:
    out = cuvee("--help").out
    assert [verb for verb in INTERFACE if verb not in out] == []


def test_bare_command_is_a_wrong_command_and_shows_help(cuvee: Any) -> None:
    answer = cuvee()
    assert answer.code == 2
    assert "Commands:" in answer.err


def loaded_by(*arguments: str) -> set[str]:
    """Run the command line in an interpreter of its own and return the top-level modules it loaded."""
    script = (
        "import sys\n"
        "from cuvee.cli import main\n"
        "try: main()\n"
        "except SystemExit as left: assert not left.code, left.code\n"
        "print('LOADED', *{name.partition('.')[0] for name in sys.modules})\n"
    )
    run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.rpartition("LOADED")[2].split())


@pytest.mark.parametrize("arguments", [("--help",), ("merge", "--help")])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert HEAVY & loaded_by(*arguments) == set()


@pytest.mark.parametrize(
    "arguments",
    [("methods",), ("methods", "ties"), ("plan", "recipe.yaml"), ("plan", "recipe.yaml", "--json"), ("inspect", "a")],
)
@pytest.mark.usefixtures("models")
def test_what_reads_no_weight_loads_no_torch(arguments: tuple[str, ...]) -> None:
    assert {"torch", "numba", "transformers", "sklearn"} & loaded_by(*arguments) == set()


def test_list_of_methods_names_every_method_and_its_needs(cuvee: Any) -> None:
    answer = cuvee("methods")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    for name, method in methods().items():
        assert any(line.startswith(name) and method.summary in line for line in lines), name
    for need in ("base", "data", "labels", "gradients", "whole-model pass"):
        assert need in answer.out


@pytest.mark.parametrize("name", sorted(methods()))
def test_page_of_a_method_tells_it_all(cuvee: Any, name: str) -> None:
    method = methods()[name]
    answer = cuvee("methods", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{name}\n")
    for heading in ("Parameters", "Needs", "Cost"):
        assert f"\n{heading}\n" in answer.out
    for parameter in method.parameters.values():
        assert parameter.help in answer.out
    if method.paper:
        assert method.paper.url in answer.out


def test_methods_as_json_are_what_is_declared(cuvee: Any) -> None:
    listed = cuvee("methods", "--json").json
    assert [entry["name"] for entry in listed] == list(methods())
    for entry in listed:
        assert cuvee("methods", entry["name"], "--json").json == entry
        assert [p["name"] for p in entry["parameters"]] == list(methods()[entry["name"]].parameters)


def test_misspelt_method_gets_the_nearest(cuvee: Any) -> None:
    answer = cuvee("methods", "tise")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("cuvee: method 'tise' is not known. Did you mean 'ties'?")


def test_package_runs_as_a_module() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cuvee", "methods", "nonsense"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert run.stderr.startswith("cuvee: method 'nonsense' is not known.")

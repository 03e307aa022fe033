"""What the command line looks like: verbs, flags, help, and how little it loads to show them."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import typer.main

import cuvee as package
from cuvee.cli import app
from cuvee.cli.units import parse_size
from cuvee.methods.page import needs
from cuvee.methods.registry import methods
from cuvee.plan.limits import MOST_WORKERS, Limits

# New settings go into the recipe, not here: a recipe is what people share, and what a checkpoint carries.
# To add a verb or a flag, change this table, and say in the commit why it cannot be in the recipe.
INTERFACE: dict[str, set[str]] = {
    "": {"--debug", "--version"},
    "merge": {
        "recipe",
        "--out",
        "--overwrite",
        "--seed",
        "--shard-size",
        "--sync",
        "--memory",
        "--workers",
        "--block-size",
        "--quiet",
    },
    "plan": {"recipe", "--json", "--rows", "--out", "--memory", "--workers", "--block-size"},
    "convert": {"config", "--out"},
    "methods": {"[name]", "--json"},
    "inspect": {"path", "--json", "--tensors"},
    "verify": {"out", "--replay", "--json", "--memory", "--workers"},
    "diff": {"a", "b", "--json", "--tensors"},
    "extract": {
        "base",
        "finetuned",
        "--out",
        "--rank",
        "--error",
        "--save-others",
        "--overwrite",
        "--memory",
        "--workers",
    },
    "demo": {"--out", "--seed"},
    # What a model is measured with, and where: no recipe says that, as it decides nothing of the merge.
    "evaluate": {"models", "--score", "--limit", "--device", "--dtype", "--json", "--memory", "--workers"},
    "scores": {"[name]", "--json"},
    "study": {
        "[name]",
        "--preset",
        "--suite",
        "--out",
        "--methods",
        "--seeds",
        "--cache",
        "--processes",
        "--plan",
        "--json",
    },
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


def test_help_lists_every_verb_with_all_of_its_summary(cuvee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    group: Any = typer.main.get_command(app)
    out = cuvee("--help").out
    for name, verb in group.commands.items():
        assert [line.split() for line in out.splitlines() if line.split()[:1] == [name]] == [
            [name, *verb.help.split()]
        ], name


@pytest.mark.parametrize("verb", ["merge", "plan"])
def test_what_is_said_of_the_machine_by_default_is_so(cuvee: Any, verb: str) -> None:
    said = " ".join(cuvee(verb, "--help").out.split())
    (block_size,) = re.findall(r"Most bytes read at a time from one input; by default (\w+)\.", said)
    assert parse_size(block_size) == Limits().block_bytes
    assert f"Threads; by default one for each core, at most {MOST_WORKERS}." in said
    assert "By default no limit." in said
    assert Limits().memory is None


@pytest.mark.parametrize("verb", ["merge", "plan"])
def test_examples_in_the_help_of_memory_can_be_given(cuvee: Any, verb: str) -> None:
    (examples,) = re.findall(r"interpreter included: (.*?)\. By default", " ".join(cuvee(verb, "--help").out.split()))
    assert [parse_size(example) for example in examples.split(", ")] == [400_000_000, 2_000_000_000]


def test_version_is_shown(cuvee: Any) -> None:
    assert cuvee("--version") == (0, f"cuvee {package.__version__}\n", "")
    assert cuvee("--version", "merge") == cuvee("--version")


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


@pytest.mark.parametrize("arguments", [("--help",), ("merge", "--help"), ("--version",)])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    assert HEAVY & loaded_by(*arguments) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("methods",),
        ("methods", "ties"),
        ("plan", "recipe.yaml"),
        ("plan", "recipe.yaml", "--json"),
        ("inspect", "a"),
        ("scores",),
        ("scores", "perplexity"),
    ],
)
@pytest.mark.usefixtures("models")
def test_what_reads_no_weight_loads_no_torch(arguments: tuple[str, ...]) -> None:
    assert {"torch", "numba", "transformers", "sklearn"} & loaded_by(*arguments) == set()


def test_list_of_methods_names_every_method_and_its_needs(cuvee: Any) -> None:
    answer = cuvee("methods")
    assert (answer.code, answer.err) == (0, "")
    said = " ".join(answer.out.split())
    for name, method in methods().items():
        assert f"{name} {method.summary}" in said
    for need in ("base", "data", "labels", "gradients", "whole-model pass", "seed"):
        assert need in answer.out


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_summaries_are_wrapped_below_themselves(cuvee: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    listed = cuvee("methods").out.split("\n\n")[0].splitlines()
    width = max(map(len, methods())) + 2
    assert max(map(len, listed)) <= columns
    assert [line[:width].strip() for line in listed if line[:width].strip()] == list(methods())
    assert all(line[width:] for line in listed)


def test_needs_that_no_method_has_are_a_line_and_not_columns(cuvee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table_of_needs(cuvee)[0] == ["method", "models", "base", "whole-model pass", "seed"]
    assert "\nNone of them needs data, labels or gradients.\n" in cuvee("methods").out
    with_data = {"linear": "yes"}
    monkeypatch.setattr(
        import_module("cuvee.cli.methods"),
        "needs",
        lambda method: needs(method) | {"data": with_data.get(method.name, "no")},
    )
    assert table_of_needs(cuvee)[0] == ["method", "models", "base", "data", "whole-model pass", "seed"]
    assert "\nNone of them needs labels or gradients.\n" in cuvee("methods").out


def test_needs_say_whether_the_default_setting_has_them(cuvee: Any) -> None:
    (_, _, *titles), *rows = table_of_needs(cuvee)
    for name, _, *said in rows:
        method = methods()[name]
        settings = method.defaults(method.models[0])
        found = dict(zip(titles, said, strict=True))
        assert (found["whole-model pass"] in ("yes", "default")) == (method.scope(settings) == "model"), name
        assert (found["base"] in ("yes", "default")) == (method.space(settings) == "deltas"), name
        assert {need for need, value in found.items() if value in ("default", "if set")} == {
            need for need in titles if needs(method)[need] not in ("yes", "no")
        }, name


def table_of_needs(cuvee: Any) -> list[list[str]]:
    """The cells of the table of needs, its titles first."""
    lines = cuvee("methods").out.split("What each needs:\n\n")[1].split("\n\n")[0].splitlines()
    return [[cell for cell in map(str.strip, line.split("  ")) if cell] for line in lines]


@pytest.mark.parametrize("name", sorted(methods()))
def test_page_of_a_method_tells_it_all(cuvee: Any, name: str) -> None:
    method = methods()[name]
    answer = cuvee("methods", name)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith(f"{name}\n")
    for heading in ("Parameters", "Needs", "Cost"):
        assert f"\n{heading}\n" in answer.out
    said = " ".join(answer.out.split())
    for parameter in method.parameters.values():
        assert parameter.help in said
    if method.paper:
        assert method.paper.url in answer.out


@pytest.mark.parametrize("columns", [50, 80, 110])
@pytest.mark.parametrize("name", sorted(methods()))
def test_page_of_a_method_is_as_wide_as_the_terminal(
    cuvee: Any, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    plain = cuvee("methods", name).out
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = cuvee("methods", name).out.splitlines()
    assert [line for line in lines if len(line) > columns and " " in line.strip()] == []  # but addresses
    assert " ".join(lines).split() == plain.split()


def test_lists_and_formulas_on_a_page_keep_their_lines(cuvee: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    doc = "Merge.\n\nSome text\ngoes on:\n\n* one\n* two\n\n  a = b\n  b = c\nThe end\nof it.\n"
    monkeypatch.setattr(
        import_module("cuvee.cli.methods"), "find_method", lambda name: replace(methods()[name], doc=doc)
    )
    out = cuvee("methods", "linear").out
    assert "Merge.\n\nSome text goes on:\n\n* one\n* two\n\n  a = b\n  b = c\nThe end of it.\n" in out


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

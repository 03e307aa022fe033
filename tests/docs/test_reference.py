"""What the documents list is all there is: methods, public names, keys of a recipe, commands, errors."""

import dataclasses
import importlib.util
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import cuvee
from cuvee import errors
from cuvee.cli import app
from cuvee.methods.declare import Method
from cuvee.methods.page import needs, table
from cuvee.plan.limits import KEPT, MOST_WORKERS
from cuvee.plan.rows import CELL
from cuvee.recipe import keys

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PYTHON = (ROOT / "docs" / "python.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()
ERRORS = (ROOT / "docs" / "errors.md").read_text()


def fields(kind: Any) -> list[str]:
    """Names of a dataclass's fields."""
    return [field.name for field in dataclasses.fields(kind)]


def signature(called: Callable[..., object]) -> str:
    """Parameters and plain defaults, as the document writes them; a default that is made on demand is three dots."""
    shown = []
    for parameter in inspect.signature(called).parameters.values():
        default = parameter.default
        plain = default is None or isinstance(default, bool | int | str | tuple)
        value = "" if default is parameter.empty else f"={default!r}" if plain else "=..."
        star = "**" if parameter.kind is parameter.VAR_KEYWORD else ""
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in shown:
            shown.append("*")
        shown.append(f"{star}{parameter.name}{value}")
    return ", ".join(shown)


WHOLE = {
    "cuvee": 1,
    "method": "task_arithmetic",
    "models": ["models/math", "models/code"],
    "base": "models/base",
}
FUNCTIONS = [name for name in cuvee.__all__ if not name.startswith("Cuvee")]
KEYS = [*keys.KEYS, *fields(cuvee.Rule), *fields(cuvee.Output)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script that writes the generated parts."""
    spec = importlib.util.spec_from_file_location("docs_script", ROOT / "scripts" / "docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current(script: ModuleType) -> None:
    stale = [path.name for path, text in script.generated().items() if path.read_text() != text]
    assert stale == [], "run make docs"


def test_every_method_has_a_row_and_a_section(script: ModuleType) -> None:
    sections = (ROOT / "docs" / "methods.md").read_text()
    for name, method in script.own_methods().items():
        assert f"| [`{name}`](docs/methods.md#{name}) |" in README
        assert f"\n## {name}\n" in sections
        assert all(f"| `{parameter}` |" in sections for parameter in method.parameters)
        assert method.paper is None or (method.paper.url in README and method.paper.cite() in sections)


def test_the_table_says_what_a_declaration_says() -> None:
    theirs = dataclasses.replace(cuvee.methods()["linear"], name="theirs", paper=None, summary="Add | or not.")
    assert table({"theirs": theirs}).splitlines()[2:] == [
        r"| [`theirs`](#theirs) | Add \| or not. | none | nothing else |"
    ]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((1, 1), "exactly 1 model"),
        ((2, 2), "exactly 2 models"),
        ((2, 4), "2 to 4 models"),
        ((3, None), "at least 3 models"),
    ],
)
def test_the_table_says_how_many_models_a_method_takes(models: tuple[int, int | None], said: str) -> None:
    assert f"| {said} |" in table({"theirs": dataclasses.replace(cuvee.methods()["linear"], models=models)})


def test_methods_of_other_packages_are_not_in_our_documents(script: ModuleType, norm_clipping: Method) -> None:
    assert "norm_clipping" in cuvee.methods()
    assert "norm_clipping" not in script.own_methods()


def test_no_method_needs_what_the_readme_says_none_needs(script: ModuleType) -> None:
    assert "None of them needs data, labels or gradients." in README
    for method in script.own_methods().values():
        assert {needs(method)[need] for need in ("data", "labels", "gradients")} == {"no"}


@pytest.mark.parametrize("name", cuvee.__all__)
def test_every_public_name_has_a_heading(name: str) -> None:
    assert f"\n### {name}\n" in PYTHON


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signatures_are_as_documented(name: str) -> None:
    found = re.search(rf"^`{name}\((.*)\)`$", PYTHON, re.MULTILINE)
    assert found is not None
    assert found[1] == signature(getattr(cuvee, name))


def test_headings_name_nothing_that_is_not_public() -> None:
    assert set(re.findall(r"^### (\w+)$", PYTHON, re.MULTILINE)) == set(cuvee.__all__)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_of_a_recipe_is_in_a_table(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", RECIPES, re.MULTILINE)


def test_every_command_is_in_the_readme() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"| `cuvee {command.callback.__name__}" in README


@pytest.mark.parametrize("name", [name for name in errors.__all__ if name[0].isupper()])
def test_every_error_is_in_the_tree(name: str) -> None:
    kind = getattr(errors, name)
    assert f"| `{name}` | `{kind.__base__.__name__}` |" in ERRORS
    if issubclass(kind, errors.CuveeError):
        is_asked = issubclass(kind, errors.RecipeError | errors.ScoreError | errors.StudyError)
        assert kind.exit_code == (2 if is_asked else 1)


def test_numbers_in_the_text_are_those_of_the_code() -> None:
    text = (ROOT / "docs" / "how-it-works.md").read_text()
    assert f"*cells* of {CELL:,} elements" in text
    assert cuvee.Limits().block_bytes == 1 << 20
    assert "blocks of 1 MiB of each input" in text
    assert f"bring a run to {KEPT >> 20} MiB at most" in text.replace("\n  ", " ")
    assert f"one for each core by default, at most {MOST_WORKERS}" in PYTHON


def test_depth_is_what_the_page_on_recipes_says(with_models: Path) -> None:
    recipe = {**WHOLE, "parameters": {"scale": {"over_depth": [0.2, 0.6, 0.4]}}}
    scales = {row.name: row.jobs[0].parameters.get("scale") for row in cuvee.plan(recipe).rows}
    layers = [scales[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(3)]
    assert layers == [0.2, 0.6, 0.4]
    assert scales["model.embed_tokens.weight"] == 0.2
    assert scales["model.norm.weight"] == scales["lm_head.weight"] == 0.4
    without = {**recipe, "tensors": [{"match": "*.layers.2.*", "skip": True}]}
    scales = {row.name: row.jobs[0].parameters.get("scale") for row in cuvee.plan(without).rows}
    assert [scales[f"model.layers.{i}.mlp.up_proj.weight"] for i in range(2)] == [0.2, 0.4]


def test_a_head_tied_to_the_embedding_stands_at_its_depth() -> None:
    vocabulary = torch.ones(4, 2)
    tied = {"model.embed_tokens.weight": vocabulary, "lm_head.weight": vocabulary}
    recipe = cuvee.Recipe(method="linear", models=[tied, tied], parameters={"weight": {"over_depth": [0.25, 1.0]}})
    (row,) = cuvee.plan(recipe).rows
    assert row.jobs[0].parameters["weight"] == [0.25, 0.25]


def test_each_stack_runs_from_0_to_1_and_a_stack_of_one_layer_is_at_1() -> None:
    names = ["encoder.layers.0.w", "encoder.layers.1.w", "decoder.layers.0.w", "decoder.layers.4.w", "tower.layers.0.w"]
    model = {name: torch.ones(1) for name in names}
    recipe = cuvee.Recipe(method="linear", models=[model], parameters={"weight": {"over_depth": [1.0, 2.0]}})
    rows = cuvee.plan(recipe).rows
    assert [row.jobs[0].parameters["weight"] for row in rows] == [[1.0], [2.0], [1.0], [2.0], [2.0]]


def test_pooled_values_over_depth_split_the_pass_over_the_model(with_models: Path) -> None:
    recipe = {**WHOLE, "method": "ties", "parameters": {"density": {"over_depth": [0.2, 0.4]}}}
    plan = cuvee.plan(recipe)
    by_domain: dict[int, set[float]] = {}
    for row in plan.rows:
        for job in row.jobs:
            if job.method.name == "ties":
                by_domain.setdefault(job.domain, set()).add(job.parameters["density"][0])
    assert sorted(map(len, by_domain.values())) == [1, 1, 1]
    assert set.union(*by_domain.values()) == {0.2, 0.30000000000000004, 0.4}

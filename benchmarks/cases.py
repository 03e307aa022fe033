"""What is merged: one case for each registered method that works on any block, as recipes for cuvee and for mergekit.

Recipes are written as JSON, which is YAML too. What needs cuvee itself is asked of a process of its own, so that the
one that measures stays small (see timing.py).
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from timing import Command

DENSITY = 0.5

# What mergekit calls these methods is what cuvee calls them. The values are parameters of each model, chosen so that
# both do the same amount of work; where mergekit has none, nothing is set.
IN_MERGEKIT: Mapping[str, Mapping[str, float]] = {
    "linear": {"weight": 1.0},
    "slerp": {},
    "task_arithmetic": {"weight": 1.0},
    "ties": {"weight": 1.0, "density": DENSITY},
    "dare_linear": {"weight": 1.0, "density": DENSITY},
    "dare_ties": {"weight": 1.0, "density": DENSITY},
    "breadcrumbs": {"weight": 1.0, "density": DENSITY, "gamma": 0.01},
}
WHOLE_MODEL = ("ties",)  # measured with passes over the whole model, too

DECLARATIONS = """
import json
from cuvee.methods.registry import methods
print(json.dumps([
    {
        "name": method.name,
        "most": method.models[1],
        "has_base": method.space(method.defaults(method.models[0])) == "deltas",
        "scopes": {p.name: p.choices for p in method.parameters.values() if p.role == "scope"},
        "has_density": "density" in method.parameters,
    }
    for method in methods().values() if method.locality == "block"
]))
"""

PLAN = """
import json, math, subprocess, sys
command = [sys.executable, "-m", "cuvee", "plan", "--json", *sys.argv[1:]]
plan = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
sizes = [math.prod(row["shape"]) for row in plan["rows"]]
read = sum(size * row["readings"] for size, row in zip(sizes, plan["rows"]))
print(json.dumps({
    "readings": read / sum(sizes),
    "peak_memory": plan["peak_memory"],
    "bytes_written": plan["bytes_written"],
    "workers": plan["workers"],
}))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One merge.

    Attributes:
        name: what tables call it.
        method: the method, with these parameters.
        num_models: how many models it merges.
        has_base: whether it reads a base besides.
        in_mergekit: whether mergekit is measured against it.
    """

    name: str
    method: str
    parameters: Mapping[str, object]
    num_models: int
    has_base: bool
    in_mergekit: bool

    def inputs(self, folders: Sequence[Path]) -> list[Path]:
        """Return the folders it reads, of which the first is the base."""
        return [*folders[: self.has_base], *folders[1 : self.num_models + 1]]

    def recipe(self, folders: Sequence[Path]) -> str:
        """Return a recipe for cuvee; the first folder is the base."""
        models = [str(folder) for folder in folders[1 : self.num_models + 1]]
        base = {"base": str(folders[0])} if self.has_base else {}
        return json.dumps({"cuvee": 1, "method": self.method, "models": models, "parameters": self.parameters} | base)

    def mergekit_recipe(self, folders: Sequence[Path]) -> str:
        """Return a recipe for mergekit that does the same; the first folder is the base."""
        models = [str(folder) for folder in folders[1 : self.num_models + 1]]
        recipe: dict[str, Any] = {
            "merge_method": self.method,
            "models": [{"model": model, "parameters": IN_MERGEKIT[self.method]} for model in models],
            "dtype": "bfloat16",
        }
        if self.method == "slerp":  # the first of its two models goes by the name of base
            recipe |= {"base_model": models[0], "parameters": {"t": 0.5}}
        if self.has_base:
            recipe["base_model"] = str(folders[0])
        return json.dumps(recipe)


def cases(num_models: int, names: Sequence[str] | None = None) -> list[Case]:
    """Return a case for each method that works on any block, those of this name only if any are given."""
    found: list[Case] = []
    for declared in json.loads(_ask(DECLARATIONS)):
        name, scopes = declared["name"], declared["scopes"]
        for scope in ("tensor", "model")[: 1 + (name in WHOLE_MODEL)]:
            chosen = {parameter: scope for parameter, choices in scopes.items() if scope in choices}
            case = Case(
                name=name if scope == "tensor" else f"{name}, whole model",
                method=name,
                parameters=chosen | ({"density": DENSITY} if declared["has_density"] else {}),
                num_models=min(num_models, declared["most"] or num_models),
                has_base=declared["has_base"],
                in_mergekit=name in IN_MERGEKIT and scope == "tensor",
            )
            found.append(case)
    unknown = set(names or ()) - {case.name for case in found}
    if unknown:
        sys.exit(f"unknown: {', '.join(sorted(unknown))}; expected some of: {'; '.join(case.name for case in found)}")
    return [case for case in found if names is None or case.name in names]


def planned(recipe: Path, *options: str) -> dict[str, Any]:
    """Return what cuvee's plan says: ``readings`` of the inputs on average, ``peak_memory``, ``bytes_written``,
    ``workers``."""
    return dict(json.loads(_ask(PLAN, str(recipe), *options)))


def floor(inputs: Sequence[Path], out: Path, repetitions: int, *options: str) -> Command:
    """Return the command that reads these folders and writes one."""
    script = str(Path(__file__).with_name("floor.py").resolve())
    words = [sys.executable, "-I", "-S", script, *options, str(out), *map(str, inputs)]
    return Command(words, out, repetitions)


def cuvee(recipe: Path, out: Path, repetitions: int, *options: str) -> Command:
    """Return the command that merges with cuvee."""
    words = [sys.executable, "-m", "cuvee", "merge", str(recipe), "--out", str(out), "--quiet", *options]
    return Command(words, out, repetitions)


def _ask(script: str, *arguments: str) -> str:
    """Return what a script prints that runs in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, check=True, text=True
    ).stdout

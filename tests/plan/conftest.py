"""Sources of which only headers are known, and plans made of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from cuvee.execute.merged import open_sources
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import Job, Row
from cuvee.recipe.recipe import Recipe
from cuvee.spec import DTYPES, Header, TensorSpec
from plan.llama import LLAMA


class HeaderOnly:
    """A source that fails when a weight is read. See `cuvee.spec.Source`."""

    def __init__(
        self,
        tensors: Mapping[str, Any],
        config: Mapping[str, object] | None = None,
        shared: Sequence[Sequence[str]] = (),
        reference: str = "somewhere",
    ) -> None:
        self.reference = reference
        self.header: Header = {name: _spec(value) for name, value in tensors.items()}
        self.config: Mapping[str, object] = config or {}
        self.shared = shared
        self.sidecars: Mapping[str, Path] = {}
        self.paths: Sequence[Path] = ()
        self.identity = reference
        self.location = ""
        self.memory = self.preparation = 0

    def cost(self, name: str) -> int:
        return self.header[name].nbytes

    def check_unchanged(self) -> None:
        """Nothing can change."""

    def locate(self, name: str) -> str:
        return f"{self.reference}/{name}"

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        raise AssertionError(f"a plan read {name}")

    def close(self) -> None:
        """Nothing is open."""


def _spec(value: Any) -> TensorSpec:
    """A shape (F32), or a shape and the name of an element type."""
    shape, dtype = value if value and isinstance(value[-1], str) else (value, "F32")
    return TensorSpec(tuple(shape), DTYPES[dtype])


MakePlan = Callable[..., Plan]


@pytest.fixture
def header() -> type[HeaderOnly]:
    """Return the class of sources that have headers only."""
    return HeaderOnly


@pytest.fixture
def llamas(header: Any) -> dict[str, Any]:
    """Return the models a and b of a recipe, two small language models of equal shapes."""
    return {"models": {"a": header(LLAMA, reference="at/a"), "b": header(LLAMA, reference="at/b")}}


@pytest.fixture
def plan_of() -> MakePlan:
    """Return a function that plans one recipe given by keywords, or several recipes."""

    def make(*recipes: Recipe, **recipe: Any) -> Plan:
        with open_sources() as sources:
            return make_plan([sources.resolve(each) for each in (recipes or (Recipe(**recipe),))])

    return make


@pytest.fixture
def row_of() -> Callable[..., Row]:
    """Return a function that finds the row of a tensor (that begins at an element)."""

    def find(plan: Plan, name: str, start: int = 0) -> Row:
        (row,) = [row for row in plan.rows if row.name == name and row.start == start]
        return row

    return find


@pytest.fixture
def job_of(row_of: Callable[..., Row]) -> Callable[..., Job]:
    """Return a function that finds the one job of a tensor."""

    def find(plan: Plan, name: str, start: int = 0) -> Job:
        (job,) = row_of(plan, name, start).jobs
        return job

    return find

"""Small tensors that are merged as one: the bytes are those of each by itself."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cuvee
from cuvee.execute.merged import open_sources
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.plan import planner
from cuvee.plan.limits import Limits
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.writers.save import save_state_dict
from end_to_end.recipes import METHODS, choices, each_scope, recipe_for
from end_to_end.uneven import Weights, assert_same_bytes
from execute.alone import assert_same_as_alone, assert_within_a_step, merged, merged_alone

CELL = 1 << 12
"""Elements in a cell of a grid made finer for the test: strips are cut, and some tensors are too large for one."""
SHAPES = {
    **{f"attention.{i}": (12, 10) for i in range(3)},
    **{f"down.{i}": (26, 40) for i in range(5)},  # more than a chunk of the kernels, and no whole number of them
    **{f"narrow.{i}": (10 + i, 1) for i in range(2)},
    **{f"norm.{i}": (10,) for i in range(3)},
    **{f"ragged.{i}": (1 + 2 * i, 10) for i in range(4)},
    "scale.a": (),
    "scale.b": (1,),
    "up.0": (40, 26),
    "up.1": (40, 26),
    "void": (0, 7),
    "wide": (70, 30),  # more than half a cell
    "wider": (70, 60),  # more than one
    "zones.0": (6, 30),
    "zones.1": (6, 30),
}


@pytest.fixture(autouse=True)
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", CELL)


@cache
def models(dtype: torch.dtype) -> list[Weights]:
    """Make a base and three models near it; in bfloat16 task vectors take few values. No row of them cancels out."""
    generator = torch.Generator().manual_seed(11)
    base = {name: torch.randn(shape, generator=generator) / 8 for name, shape in SHAPES.items()}
    made = [base]
    for _ in range(3):
        deltas = {name: torch.randn(shape, generator=generator) * 2 for name, shape in SHAPES.items()}
        for delta in deltas.values():
            if dtype == torch.bfloat16:
                delta.round_().clamp_(-3, 3)
            delta.reshape(-1, delta.shape[-1] if delta.dim() else 1)[:, 0].abs_().add_(7)
        made.append({name: base[name] + deltas[name] / 64 for name in base})
    return [
        {name: tensor.to(dtype) for name, tensor in model.items()}
        | {f"ids.{k}": torch.tensor([i, k]) for k in range(2)}
        | {f"on.{k}": torch.ones(5, dtype=torch.bool) for k in range(2)}
        for i, model in enumerate(made)
    ]


INNER_PRODUCTS = ("slerp", "mlerp", "nuslerp", "multislerp", "karcher", "model_stock")


def recipe_of(method: Method, dtype: torch.dtype, settings: Mapping[str, Any]) -> dict[str, Any]:
    base, *others = models(dtype)
    return recipe_for(method, others, base, **settings)


def adds_floats(method: Method, settings: Mapping[str, Any]) -> bool:
    """Whether sums of floats are taken over the whole model: rows that join add them up in another order."""
    return method.name in INNER_PRODUCTS and settings["scope"] == "model"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])
@each_scope
def test_bytes_are_those_of_each_row_alone(method: Method, settings: Mapping[str, Any], dtype: torch.dtype) -> None:
    recipe = recipe_of(method, dtype, settings)
    if adds_floats(method, settings):
        assert_within_a_step(merged(recipe, workers=3)[0][0], merged_alone(recipe)[0][0])
    else:
        assert_same_as_alone(recipe)


@each_scope
def test_torch_gives_the_bytes_of_the_kernels(
    method: Method, settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(method, torch.bfloat16, settings)
    ((expected,), _) = merged(recipe)
    monkeypatch.setattr("cuvee.tensors.kernels.program.kernel", lambda: None)
    assert_same_bytes(merged(recipe, workers=3, kept=False)[0][0], expected)
    assert_same_bytes(merged_alone(recipe)[0][0], expected)


def planned(recipe: Mapping[str, Any]) -> Plan:
    with open_sources() as sources:
        return make_plan([sources.resolve(Recipe.of(recipe))])


def can_join(method: Method, settings: Mapping[str, Any]) -> bool:
    """Whether small tensors are worked on as one: not where each has passes of its own that rows cannot have."""
    if method.locality != "block":
        return False
    parameters = {**method.defaults(3), **settings}
    if method.scope(parameters) == "column":
        return False
    alone = method.scope(parameters) == "tensor" and ("position" in method.wants or method.passes(parameters))
    return method.by_rows or not alone


@each_scope
def test_these_models_have_rows_that_join_and_rows_that_do_not(method: Method, settings: Mapping[str, Any]) -> None:
    strips = planned(recipe_of(method, torch.float32, settings)).strips
    assert (sum(len(strip.rows) > 1 for strip in strips) > 1) == can_join(method, settings) or method.any_dtype
    assert sum(len(strip.rows) == 1 for strip in strips) > 1
    assert max(strip.joined.cells for strip in strips) > 1


def words() -> Iterator[Any]:
    """Every other word that a parameter takes, one at a time, where each tensor or row has passes of its own."""
    for method in METHODS:
        for scope in (p for p in method.parameters.values() if p.role == "scope"):
            for settings in choices(method):
                for chosen in ("tensor", "row") if scope.name not in settings else ():
                    named = {**settings, scope.name: chosen}
                    words = "-".join(f"{name}={value}" for name, value in named.items())
                    yield pytest.param(method, named, id=f"{method.name}-{words}")


@pytest.mark.parametrize(("method", "settings"), [*words()])
def test_bytes_are_those_of_each_row_alone_whatever_is_asked(
    method: Method, settings: Mapping[str, Any], either_way: None
) -> None:
    recipe = recipe_of(method, torch.bfloat16, settings)
    assert_same_bytes(merged(recipe, workers=3)[0][0], merged_alone(recipe)[0][0])


@each_scope
def test_parts_of_a_tensor_are_merged_as_each_alone(method: Method, settings: Mapping[str, Any]) -> None:
    rules = [{"match": ["attention.1", "down.*", "zones.*"], "parts": 2}, {"match": "wide", "parts": 7}]
    recipe = {**recipe_of(method, torch.bfloat16, settings), "tensors": rules}
    joins = any(row.start for strip in planned(recipe).strips if len(strip.rows) > 1 for row in strip.rows)
    assert joins == can_join(method, settings) or method.random
    compare = assert_within_a_step if adds_floats(method, settings) else assert_same_bytes
    compare(merged(recipe)[0][0], merged_alone(recipe)[0][0])


@pytest.mark.parametrize(
    "asked",
    [
        [("linear", {}), ("ties", {"trim_scope": "tensor"}), ("dare_ties", {"trim_scope": "tensor"})],
        [("ties", {"trim_scope": "row"}), ("linear", {}), ("breadcrumbs", {"scope": "model"})],
        [("mlerp", {"scope": "tensor"}), ("ties", {}), ("mlerp", {"scope": "row"})],
    ],
)
def test_several_merges_at_once_are_those_of_each_by_itself(
    asked: list[tuple[str, Mapping[str, Any]]], either_way: None
) -> None:
    recipes = [recipe_of(find_method(name), torch.bfloat16, settings) for name, settings in asked]
    recipes[0]["output"] = {"dtype": "float32"}
    for one, recipe in zip(merged(*recipes, workers=3)[0], recipes, strict=True):
        assert_same_bytes(one, merged_alone(recipe)[0][0])


def test_models_of_several_types_are_read_and_written_alike() -> None:
    types = torch.float16, torch.bfloat16, torch.float64
    base, first, second = (models(dtype)[i] for i, dtype in enumerate(types))
    rules = [{"match": "norm.*", "method": "linear"}, {"match": "ragged.*", "copy": "m1"}]
    recipe = recipe_for(find_method("ties"), [first, second], base, trim_scope="tensor") | {"tensors": rules}
    assert_same_as_alone(recipe)
    assert_same_as_alone(recipe | {"output": {"dtype": "bfloat16"}})


def test_rows_of_a_strip_are_read_from_wherever_they_lie() -> None:
    base, *others = models(torch.float32)
    recipe = recipe_for(find_method("ties"), others, base, trim_scope="tensor")
    ((expected,), _) = merged_alone(recipe)
    backwards = [dict(reversed(model.items())) for model in others]
    columns = {name: tensor.mT.clone().mT if tensor.dim() > 1 else tensor for name, tensor in base.items()}
    assert_same_bytes(merged({**recipe, "models": backwards})[0][0], expected)
    assert_same_bytes(merged({**recipe, "base": columns})[0][0], expected)


def with_ties(own_head: bool) -> Weights:
    """A model whose names stand for fewer tensors than there are; the last may be one of its own."""
    state = {f"w{i}": torch.randn(3, 4) for i in range(4)}
    return state | {"w1b": state["w1"], "w2b": state["w2"], "w3b": torch.randn(3, 4) if own_head else state["w3"]}


@pytest.mark.parametrize("name", ["task_arithmetic", "ties", "dare_linear"])
def test_a_tensor_of_several_names_is_written_under_each(name: str) -> None:
    base, *others = with_ties(False), with_ties(False), with_ties(True)
    recipe = recipe_for(find_method(name), others, base)
    assert_same_as_alone(recipe)
    ((result,), _) = merged(recipe)
    assert result.keys() == base.keys()
    for i in (1, 2):
        assert torch.equal(result[f"w{i}"], result[f"w{i}b"])
    assert not torch.equal(result["w3"], result["w3b"])


@pytest.mark.parametrize("shard_size", [1, 3_000])
def test_shards_hold_what_is_merged_in_memory(shard_size: int, tmp_path: Path) -> None:
    for i, model in enumerate(models(torch.bfloat16)):
        save_state_dict(tmp_path / f"in{i}", model, shard_bytes=4_000)
    base, *others = [str(tmp_path / f"in{i}") for i in range(4)]
    recipe = recipe_for(find_method("ties"), others, base, trim_scope="tensor")
    cuvee.merge({**recipe, "output": {"shard_size": shard_size}}, tmp_path / "out", limits=Limits(workers=3))
    files = sorted((tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 1
    found = {name: tensor for file in files for name, tensor in load_file(file).items()}
    ((expected,), _) = merged_alone(recipe_of(find_method("ties"), torch.bfloat16, {"trim_scope": "tensor"}))
    assert_same_bytes({name: found[name] for name in expected}, expected)

"""A merge as a model of another merge: the same bytes as merging twice, and nothing is written in between."""

import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cuvee
from cuvee.errors import PlanError, RecipeError, SourceError
from cuvee.execute import run
from cuvee.execute.describe import predict
from cuvee.execute.merged import open_sources
from cuvee.plan import planner
from cuvee.writers.save import save_state_dict
from end_to_end.uneven import assert_same_bytes

Values = dict[str, Any]
INNER: dict[str, Values] = {
    "linear": {"method": "linear", "parameters": {"weight": [0.3, 0.7]}},
    "ties, tensor": {"method": "ties", "base": "m0", "parameters": {"density": 0.4, "trim_scope": "tensor"}},
    "ties, model": {"method": "ties", "base": "m0", "parameters": {"density": 0.4, "trim_scope": "model"}},
    "ties, row": {"method": "ties", "base": "m0", "parameters": {"density": 0.4, "trim_scope": "row"}},
    "dare_ties": {"method": "dare_ties", "base": "m0", "seed": 3, "parameters": {"density": 0.5}},
    "mlerp, model": {"method": "mlerp", "parameters": {"scope": "model"}},
    "rules": {"method": "linear", "tensors": [{"match": "*.bias", "copy": "m0"}, {"match": "wide*", "parts": 2}]},
    "other type": {"method": "slerp", "output": {"dtype": "float32"}},
}
OUTER: dict[str, Values] = {
    "linear": {"method": "linear"},
    "ties": {"method": "ties", "base": "m0", "parameters": {"density": 0.5}},
    "slerp, model": {"method": "slerp", "parameters": {"scope": "model"}},
    "rows": {"method": "ties", "base": "m0", "parameters": {"trim_scope": "row"}},
}


@pytest.fixture(autouse=True)
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", 1000)
    monkeypatch.setattr(run, "CELL", 1)  # and hand them out one block at a time


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a base and three models: tensors of several cells, small ones, odd widths, whole numbers."""
    generator = torch.Generator().manual_seed(1)
    shapes = {"wide.weight": (34, 77), "layers.0.weight": (9, 500), "layers.0.bias": (77,), "layers.1.bias": (77,)}
    shapes |= {f"layers.{i}.norm": (40,) for i in range(6)} | {"one": (1,), "none": (0, 4)}
    base = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    for number in range(4):
        noise = {name: 0.1 * torch.randint(-4, 5, t.shape, generator=generator) for name, t in base.items()}
        model = {name: (t + noise[name]).bfloat16() for name, t in base.items()} | {"ids": torch.arange(5)}
        save_state_dict(tmp_path / f"m{number}", model)
    return tmp_path


def placed(recipe: Values, models: Any, folder: Path) -> Values:
    """Complete a recipe: its models, and its base where it has one."""
    base = {"base": str(folder / recipe["base"])} if "base" in recipe else {}
    return {**recipe, "models": models, **base}


def weights(out: Path) -> Mapping[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


@pytest.mark.parametrize(("outer", "inner"), list(itertools.product(OUTER, INNER)))
def test_merging_a_merge_gives_the_bytes_of_merging_twice(outer: str, inner: str, folder: Path) -> None:
    first = placed(INNER[inner], [str(folder / "m1"), str(folder / "m2")], folder)
    cuvee.merge({"cuvee": 1, **first}, folder / "between")
    twice = placed(OUTER[outer], [str(folder / "between"), str(folder / "m3")], folder)
    at_once = placed(OUTER[outer], [first, str(folder / "m3")], folder)
    cuvee.merge({"cuvee": 1, **twice}, folder / "twice")
    for limits in (cuvee.Limits(workers=1), cuvee.Limits(workers=4, block_bytes=3000)):
        cuvee.merge({"cuvee": 1, **at_once}, folder / "at-once", limits=limits, overwrite=True)
        assert_same_bytes(weights(folder / "at-once"), weights(folder / "twice"))


def test_any_depth_and_a_merge_as_the_base(folder: Path) -> None:
    recipe: Any = str(folder / "m0")
    stored = folder / "m0"
    for depth, model in enumerate(["m1", "m2", "m3", "m1", "m2"]):
        recipe = {"method": "linear", "models": [recipe, str(folder / model)], "parameters": {"weight": [0.6, 0.4]}}
        flat = {**recipe, "cuvee": 1, "models": [str(stored), str(folder / model)]}
        stored = folder / f"depth-{depth}"
        cuvee.merge(flat, stored)
    on_it = {"cuvee": 1, "method": "task_arithmetic", "models": [str(folder / "m3")]}
    cuvee.merge({**on_it, "base": recipe}, folder / "at-once")
    cuvee.merge({**on_it, "base": str(stored)}, folder / "stored")
    assert_same_bytes(weights(folder / "at-once"), weights(folder / "stored"))


def test_nothing_is_written_in_between(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = placed(INNER["ties, model"], [str(folder / "m1"), str(folder / "m2")], folder)
    names: set[str] = set()

    def look(*_: int) -> None:
        names.update(str(path.relative_to(folder)) for path in folder.rglob("*"))

    before = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    cuvee.merge({"cuvee": 1, "method": "linear", "models": [inner, str(folder / "m3")]}, folder / "out", progress=look)
    grown = {name.split("/")[-1] for name in names - before}
    assert grown == {".out.unfinished", "journal", "lock", "output", "model.safetensors"}


def test_the_plan_counts_what_a_merge_within_reads(folder: Path) -> None:
    once = placed(INNER["linear"], [str(folder / "m1"), str(folder / "m2")], folder)
    passing = placed(INNER["ties, model"], [str(folder / "m1"), str(folder / "m2")], folder)
    sizes = {name: tensor.nbytes for name, tensor in weights(folder / "m1").items()}
    one, ids = sum(sizes.values()), sizes["ids"]
    for inner, num_inputs, num_passes in ((once, 2, 0), (passing, 3, 2)):
        recipe = {"cuvee": 1, "method": "linear", "models": [inner, str(folder / "m3")]}
        planned = cuvee.plan(recipe)
        # Whole numbers are copied, once from each input that they are compared in.
        assert planned.preparation == num_passes * num_inputs * (one - ids)
        assert planned.bytes_read == planned.preparation + (num_inputs + 1) * one
        report = cuvee.merge(recipe, folder / f"out-{num_passes}", limits=cuvee.Limits(workers=1))
        assert report.bytes_read >= planned.bytes_read  # besides, a sample is read: here, all of so small tensors
        assert num_passes or report.bytes_read == planned.bytes_read


def test_the_plan_lists_the_rows_of_a_merge_within(folder: Path) -> None:
    inner = placed(INNER["ties, model"], [str(folder / "m1"), str(folder / "m2")], folder)
    described: Any = predict({"cuvee": 1, "method": "linear", "models": [inner, str(folder / "m3")]})
    (merge,) = described["merges"]
    assert merge["reference"].startswith("ties of ")
    assert {row["method"] for row in merge["rows"]} == {"ties", "copy"}
    assert {row["method"] for row in described["rows"]} == {"linear", "copy"}


def test_reading_any_bytes_gives_what_the_whole_has(folder: Path) -> None:
    inner = placed(INNER["dare_ties"], [str(folder / "m1"), str(folder / "m2")], folder)
    cuvee.merge({"cuvee": 1, **inner}, folder / "whole")
    stored = weights(folder / "whole")
    with open_sources() as sources:
        recipe = cuvee.Recipe(method="copy", models=[inner])
        source = sources.resolve(recipe).sources["m0"]
        for name, tensor in stored.items():
            data = tensor.view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
            assert source.header[name].nbytes == len(data)
            for offset, count in [
                (0, len(data)),
                (1, 3),
                (max(len(data) - 1, 0), 1),
                (len(data) // 2, 1001),
                (1999, 2),
            ]:
                count = max(min(count, len(data) - offset), 0)
                if offset <= len(data):
                    buffer = bytearray(count)
                    source.read_into(memoryview(buffer), name, offset)
                    assert bytes(buffer) == data[offset : offset + len(buffer)]
        with pytest.raises(SourceError, match=r"has no tensor 'wide.weigth'. Did you mean 'wide.weight'"):
            source.read_into(memoryview(bytearray(1)), "wide.weigth", 0)
        with pytest.raises(SourceError, match="were asked for"):
            source.read_into(memoryview(bytearray(3)), "one", 0)


def test_an_interrupted_merge_of_a_merge_goes_on(folder: Path) -> None:
    inner = placed(INNER["ties, model"], [str(folder / "m1"), str(folder / "m2")], folder)
    recipe = {"cuvee": 1, "method": "linear", "models": [inner, str(folder / "m3")]}
    whole = cuvee.merge(recipe, folder / "whole")
    left = [int(0.8 * (whole.bytes_read + whole.bytes_written))]

    def stop(moved: int, _: int) -> None:
        left[0] -= moved
        if left[0] < 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cuvee.merge(recipe, folder / "out", progress=stop, limits=cuvee.Limits(workers=1, block_bytes=1))
    cuvee.merge(recipe, folder / "out")
    assert_same_bytes(weights(folder / "out"), weights(folder / "whole"))


FILE = """\
cuvee: 1
recipes:
  pair: {method: linear, models: [m1, m2]}
  all:
    method: ties
    models: {first: pair, third: m3}
    base: m0
  rest:
    method: slerp
    models: [pair, {method: linear, models: [m3, m0]}]
"""


@pytest.fixture
def several(folder: Path) -> Callable[[str], Path]:
    """Return a function that writes a file of recipes."""

    def write(text: str) -> Path:
        (folder / "recipes.yaml").write_text(text)
        return folder / "recipes.yaml"

    return write


def test_a_file_of_several_recipes_makes_those_that_no_other_uses(several: Callable[[str], Path], folder: Path) -> None:
    cuvee.merge(several(FILE), folder / "out")
    assert sorted(path.name for path in (folder / "out").iterdir()) == ["all", "rest"]
    m = [str(folder / f"m{i}") for i in range(4)]
    pair = {"method": "linear", "models": m[1:3]}
    cuvee.merge({"cuvee": 1, "method": "ties", "models": [pair, m[3]], "base": m[0]}, folder / "all")
    assert_same_bytes(weights(folder / "out" / "all"), weights(folder / "all"))
    record = json.loads((folder / "out" / "all" / "cuvee.json").read_text())
    assert record["inputs"]["first"]["inputs"].keys() == {"m0", "m1"}


def test_one_result_goes_where_it_is_told(several: Callable[[str], Path], folder: Path) -> None:
    cuvee.merge(several(FILE.split("  rest")[0]), folder / "out.safetensors")
    assert (folder / "out.safetensors").is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipes: {}", r"recipes.yaml.*begins with 'cuvee: 1'"),
        ("cuvee: 1\nrecipes: {}", "'recipes' is empty"),
        ("cuvee: 1\nrecipes: []", "'recipes' must be a mapping"),
        ("cuvee: 1\nrecipes:\n  a: {method: linear, models: [b, m1]}\n  b: {method: linear, models: [a]}",
         r"recipes.yaml:3: .*'a' uses 'b' uses 'a'"),
        ("cuvee: 1\nrecipes:\n  a: {method: linear, models: [a]}", "'a' uses 'a'"),
        ("cuvee: 1\nrecipes:\n  ../a: {method: linear, models: [m1]}", r"recipes.yaml:3: .*'../a' is not a name"),
        ("cuvee: 1\nrecipes:\n  base: {method: linear, models: [m1]}", "'base' is not a name"),
        ("cuvee: 1\nrecipes:\n  a:\n    method: linear\n    modles: [m1]", r"recipes.yaml:5: .*no key 'modles'"),
        ("cuvee: 1\nrecipes:\n  a: {method: lineer, models: [m1]}", "no method 'lineer'|unknown method|lineer"),
        ("cuvee: 1\nmethod: linear\nrecipes: {}", "has no key 'method'"),
        ("cuvee: 1\nmethod: linear\nmodels:\n  - m1\n  - {method: ties, models: [m2], density: 1}",
         r"recipes.yaml:5: .*parameters: \{density"),
        ("cuvee: 1\nmethod: linear\nmodels:\n  - m1\n  - method: linear\n    models: [m2]\n    output: {shard_size: 5}",
         r"recipes.yaml:7: .*can have a .dtype. and nothing else"),
    ],
)  # fmt: skip
def test_wrong_files_of_recipes_are_refused(text: str, said: str, several: Callable[[str], Path], folder: Path) -> None:
    with pytest.raises(RecipeError, match=said):
        cuvee.merge(several(text), folder / "out")
    assert not (folder / "out").exists()


def test_a_merge_that_does_not_fit_is_named(folder: Path) -> None:
    inner = {"method": "ties", "models": [str(folder / "m1"), str(folder / "m2")]}
    with pytest.raises(PlanError, match="model 'm0': method 'ties' works on task vectors"):
        cuvee.plan({"cuvee": 1, "method": "linear", "models": [inner, str(folder / "m3")]})
    absent = {"method": "linear", "models": [str(folder / "m1"), str(folder / "m9")]}
    with pytest.raises(SourceError, match=r"model 'm0': model 'm1': .*m9' is not"):
        cuvee.plan({"cuvee": 1, "method": "linear", "models": [absent, str(folder / "m3")]})


def test_a_recipe_with_merges_in_it_is_saved_and_read_back(folder: Path) -> None:
    inner = placed(INNER["rules"], [str(folder / "m1"), str(folder / "m2")], folder)
    recipe = cuvee.Recipe(method="linear", models=[inner, str(folder / "m3")])
    recipe.save(folder / "recipe.yaml")
    assert cuvee.Recipe.load(folder / "recipe.yaml") == recipe
    assert str(folder) not in json.dumps(recipe.canonical())

"""The same bytes, whatever the workers, the blocks, the shards, or the order of the rows."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.methods import declare
from cuvee.methods.declare import Method, Scope, Weights
from cuvee.plan import planner
from cuvee.plan.limits import Limits
from cuvee.plan.rows import CELL
from cuvee.tensors.passes import Passes, total
from end_to_end.recipes import each_choice, each_method, each_scope, recipe_for
from end_to_end.uneven import assert_same_bytes, merged, models

SMALL = 1 << 10
"""Elements in a cell of a grid made finer for the test: as many cells and blocks, in much less time."""

ONE_WORKER = Limits(workers=1)
OTHER_WAYS = [
    # workers, cells in a block (of bfloat16), order of rows
    (2, 3, 1),
    (8, 1, 2),
]

LargeModels = Mapping[torch.dtype, list[dict[str, torch.Tensor]]]

each_dtype = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bfloat16", "float32"])


@pytest.fixture
def fine_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the cells of every plan small."""
    monkeypatch.setattr(planner, "CELL", SMALL)


@each_dtype
@each_scope
def test_bytes_do_not_depend_on_workers_blocks_or_order(
    method: Method, settings: Mapping[str, Any], dtype: torch.dtype, fine_grid: None
) -> None:
    assert_same_bytes_in_other_ways(method, settings, dtype)


def assert_same_bytes_in_other_ways(method: Method, settings: Mapping[str, Any], dtype: torch.dtype) -> None:
    """Merge by one worker in the plan's order, and in other ways."""
    base, *others = models(SMALL, dtype)
    recipe = recipe_for(method, others, base, **settings)
    expected = merged(recipe, ONE_WORKER)
    for workers, cells, order in OTHER_WAYS:
        assert_same_bytes(merged(recipe, Limits(workers=workers, block_bytes=2 * SMALL * cells), order), expected)


@pytest.fixture
def telltale(forget: None) -> Method:
    """Declare a method that shows the last bits of a sum of floats, which others round away."""

    @declare.method(passes=lambda _: 1)
    def telltale(weights: Weights, *, scope: Scope[Literal["model", "tensor"]] = "model") -> Passes[torch.Tensor]:
        """Fill the cell with the last bits of the sum of all squares.

        Args:
            weights: models.
            scope: what is summed up.
        """
        (value,) = yield from total(lambda: weights[0].tensor.double().square().sum().reshape(1).numpy())
        return torch.full_like(weights[0].tensor, float(value.view(np.int64) & 0xFFFFFF))

    return cuvee.methods()["telltale"]


@pytest.mark.parametrize("scope", ["model", "tensor"])
def test_sums_of_floats_have_the_same_last_bits(telltale: Method, scope: str, fine_grid: None) -> None:
    assert_same_bytes_in_other_ways(telltale, {"scope": scope}, torch.float32)


@each_choice
def test_grid_changes_nothing_but_the_last_bits_of_sums_of_floats(
    method: Method, settings: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, *others = models(SMALL, torch.bfloat16)
    recipe = recipe_for(method, others, base, **settings)
    results = []
    for cell in (SMALL, 1 << 30):  # many cells in a tensor, and one
        monkeypatch.setattr(planner, "CELL", cell)
        results.append(merged(recipe, Limits(workers=2)))
    assert_same_bytes(*results)  # float64 keeps those last bits out of bfloat16


@pytest.fixture(scope="module")
def large_models() -> LargeModels:
    """Make models for the real grid: 0.9 million elements each."""
    return {dtype: models(CELL, dtype) for dtype in (torch.bfloat16, torch.float32)}


@each_method
def test_bytes_on_the_real_grid_do_not_depend_on_workers_blocks_or_order(
    method: Method, large_models: LargeModels
) -> None:
    base, *others = large_models[torch.bfloat16]
    recipe = recipe_for(method, others, base)
    assert_same_bytes(merged(recipe, Limits(workers=8, block_bytes=CELL), shuffle=1), merged(recipe, ONE_WORKER))


@pytest.mark.slow
@each_dtype
@each_scope
def test_bytes_stay_the_same_time_after_time(
    method: Method,
    settings: Mapping[str, Any],
    dtype: torch.dtype,
    large_models: LargeModels,
) -> None:
    base, *others = large_models[dtype]
    recipe = recipe_for(method, others, base, **settings)
    expected = merged(recipe, ONE_WORKER)
    for order, workers in enumerate((2, 3, 8, 8, 8)):
        assert_same_bytes(merged(recipe, Limits(workers=workers, block_bytes=CELL << order), order), expected)


@each_method
def test_many_races_have_one_winner(method: Method, fine_grid: None) -> None:
    base, *others = models(SMALL, torch.bfloat16)
    recipe = recipe_for(method, others, base)
    expected = merged(recipe, ONE_WORKER)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads take turns all the time
    try:
        for order in range(6):
            assert_same_bytes(merged(recipe, Limits(workers=8, block_bytes=1), order), expected)
    finally:
        sys.setswitchinterval(before)


@each_method
def test_files_have_the_same_bytes_for_any_workers_and_blocks(method: Method, fine_grid: None, tmp_path: Path) -> None:
    recipe = recipe_for(method, *saved(tmp_path))
    cuvee.merge(recipe, tmp_path / "one", limits=ONE_WORKER)
    cuvee.merge(recipe, tmp_path / "other", limits=Limits(workers=8, block_bytes=SMALL))
    contents = [{f.name: f.read_bytes() for f in (tmp_path / name).iterdir()} for name in ("one", "other")]
    cards = [files.pop("README.md").decode() for files in contents]
    card, other_card = (text[text.index("# ") :].splitlines() for text in cards)
    record, other_record = (json.loads(files.pop("cuvee.json")) for files in contents)
    assert contents[0] == contents[1]
    apart = [(line, other) for line, other in zip(card, other_card, strict=True) if line != other]
    assert [line for line, _ in apart if " of processor)" not in line] == ["# one"]
    assert record | {"costs": None} == other_record | {"costs": None}


@pytest.mark.parametrize("shard_size", [1, 8_000])
@each_method
def test_tensors_have_the_same_bytes_for_any_shard_size(
    method: Method, shard_size: int, fine_grid: None, tmp_path: Path
) -> None:
    recipe = recipe_for(method, *saved(tmp_path))
    cuvee.merge(recipe, tmp_path / "one.safetensors")
    cuvee.merge({**recipe, "output": {"shard_size": shard_size}}, tmp_path / "many")
    files = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(files) > 1
    gathered = {name: tensor for file in files for name, tensor in load_file(file).items()}
    whole = load_file(tmp_path / "one.safetensors")
    assert_same_bytes({name: gathered[name] for name in whole}, whole)
    assert len(gathered) == len(whole)


def saved(folder: Path) -> tuple[list[Path], Path]:
    """Save models; return the paths of all but the base, and of the base."""
    paths = []
    for i, model in enumerate(models(SMALL, torch.bfloat16)):
        paths.append(folder / f"m{i}.safetensors")
        save_file(model, paths[-1])
    return paths[1:], paths[0]


SCRIPT = """
import hashlib, json, sys
import cuvee
for number, recipe in enumerate(json.load(sys.stdin)):
    out = f"{sys.argv[1]}-{number}.safetensors"
    cuvee.merge(recipe, out, limits=cuvee.Limits(workers=2))
    print(hashlib.sha256(open(out, "rb").read()).hexdigest())
"""


def test_bytes_do_not_depend_on_how_many_threads_torch_takes(tmp_path: Path) -> None:
    base, *others = (str(path) for path in large_files(tmp_path))
    sums_of_floats = [cuvee.methods()[name] for name in ("slerp", "mlerp")]
    recipes = [recipe_for(method, others, base, scope=s) for method in sums_of_floats for s in ("model", "tensor")]
    expected = []
    for number, recipe in enumerate(recipes):
        cuvee.merge(recipe, tmp_path / f"{number}.safetensors", limits=ONE_WORKER)
        expected.append(hashlib.sha256((tmp_path / f"{number}.safetensors").read_bytes()).hexdigest())
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "4")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "other")]
    environment = {**os.environ, **threads}
    run = subprocess.run(command, input=json.dumps(recipes), env=environment, capture_output=True, text=True)
    assert run.stdout.split() == expected, run.stderr


def large_files(folder: Path) -> list[Path]:
    """Save models for the real grid."""
    paths = [folder / f"m{i}.safetensors" for i in range(4)]
    for path, model in zip(paths, models(CELL, torch.float32), strict=True):
        save_file(model, path)
    return paths


def test_notes_come_in_the_order_of_the_plan(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    states = [
        {f"layers.{i}.ids": torch.randint(9, (3,), generator=generator) + 9 * model for i in range(40)}
        for model in range(2)
    ]
    recipe = {"cuvee": 1, "method": "linear", "models": states}
    expected = cuvee.merge(recipe, tmp_path / "one", limits=ONE_WORKER).notes
    assert [note.split(":")[0] for note in expected] == list(states[0])
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for i in range(5):
            assert cuvee.merge(recipe, tmp_path / f"{i}" / "one", limits=Limits(workers=8)).notes == expected
            cards = [
                (folder / "one" / "README.md").read_text().split("## Costs")[0]
                for folder in (tmp_path, tmp_path / f"{i}")
            ]
            assert cards[0] == cards[1]
    finally:
        sys.setswitchinterval(before)

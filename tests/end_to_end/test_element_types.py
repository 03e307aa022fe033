"""Every element type as input and output, what is not averaged, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import cuvee
from cuvee.errors import NonFiniteError, PlanError
from cuvee.spec import DTYPES
from end_to_end.recipes import METHODS, each_method, recipe_for

FLOATS = {dtype.name: getattr(torch, dtype.torch_name) for dtype in DTYPES.values() if dtype.kind == "float"}
WHOLE = {
    dtype.name: getattr(torch, dtype.torch_name) for dtype in DTYPES.values() if dtype.kind in ("integer", "boolean")
}
each_float = pytest.mark.parametrize("name", FLOATS)
each_whole = pytest.mark.parametrize("name", WHOLE)


def values(seed: int, dtype: torch.dtype) -> torch.Tensor:
    """Make numbers that every floating type holds exactly: -1.5 to 1.5 in steps of 0.25."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(-6, 7, (40, 25), generator=generator) / 4).to(dtype)


def saved(folder: Path, tensors: list[dict[str, torch.Tensor]]) -> list[Path]:
    """Save state dicts, each as one file."""
    paths = [folder / f"m{i}.safetensors" for i in range(len(tensors))]
    for path, state in zip(paths, tensors, strict=True):
        save_file(state, path)
    return paths


def merged(recipe: dict[str, Any], out: Path) -> dict[str, torch.Tensor]:
    """Merge into one file and load it."""
    cuvee.merge(recipe, out / "out.safetensors")
    return load_file(out / "out.safetensors")


def test_tables_of_types_are_whole() -> None:
    assert set(FLOATS) == {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
    assert set(WHOLE) == {"I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL"}


@each_float
def test_linear_reads_and_writes_every_floating_type(name: str, tmp_path: Path) -> None:
    models = [{"w": values(i, FLOATS[name])} for i in range(2)]
    result = merged({"cuvee": 1, "method": "linear", "models": saved(tmp_path, models)}, tmp_path)["w"]
    expected = (models[0]["w"].double() + models[1]["w"].double()) / 2
    assert result.dtype == FLOATS[name]
    assert result.float().equal(expected.float().to(FLOATS[name]).float())


@pytest.mark.parametrize("output", FLOATS)
@each_float
def test_any_floating_type_is_written_as_any_other(name: str, output: str, tmp_path: Path) -> None:
    models = [{"w": values(i, FLOATS[name])} for i in range(2)]
    recipe = {"cuvee": 1, "method": "linear", "models": saved(tmp_path, models)}
    recipe["output"] = {"dtype": DTYPES[output].torch_name}
    result = merged(recipe, tmp_path)["w"]
    expected = (models[0]["w"].float() + models[1]["w"].float()) / 2
    assert result.dtype == FLOATS[output]
    assert result.float().equal(expected.to(FLOATS[output]).float())


@each_float
@each_method
def test_every_method_takes_every_floating_type(method: Any, name: str, tmp_path: Path) -> None:
    base, *others = saved(tmp_path, [{"w": values(i, FLOATS[name])} for i in range(4)])
    result = merged(recipe_for(method, others, base), tmp_path)["w"]
    assert result.dtype == FLOATS[name]
    assert result.shape == (40, 25)
    assert result.float().isfinite().all()


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F16"])
def test_overflow_of_the_output_type_is_refused(name: str, tmp_path: Path) -> None:
    top = torch.finfo(FLOATS[name]).max
    paths = saved(tmp_path, [{"fine": torch.ones(3), "large": torch.tensor([0.0, top, -1.0, 2 * top])}])
    recipe = {"cuvee": 1, "method": "linear", "models": paths, "output": {"dtype": DTYPES[name].torch_name}}
    with pytest.raises(NonFiniteError, match=rf"large: .* at flat index 3, which does not fit into {name}\b"):
        merged(recipe, tmp_path)
    assert not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F16"])
def test_largest_value_of_a_type_fits(name: str, tmp_path: Path) -> None:
    top = torch.finfo(FLOATS[name]).max
    paths = saved(tmp_path, [{"large": torch.tensor([top, -top])}])
    recipe = {"cuvee": 1, "method": "linear", "models": paths, "output": {"dtype": DTYPES[name].torch_name}}
    assert merged(recipe, tmp_path)["large"].float().tolist() == [top, -top]


@pytest.mark.parametrize(("name", "fits", "too_large"), [("F8_E4M3", 464.0, 464.1), ("F8_E5M2", 61439.0, 61440.0)])
def test_values_that_round_down_to_the_largest_one_fit(
    name: str, fits: float, too_large: float, tmp_path: Path
) -> None:
    recipe = {"cuvee": 1, "method": "linear", "output": {"dtype": DTYPES[name].torch_name}}
    recipe["models"] = [{"w": torch.tensor([1.0, -fits])}]
    assert merged(recipe, tmp_path)["w"].float().tolist() == [1.0, -torch.finfo(FLOATS[name]).max]
    recipe["models"] = [{"w": torch.tensor([1.0, -too_large])}]
    with pytest.raises(NonFiniteError, match=f"at flat index 1, which does not fit into {name}"):
        cuvee.merge(recipe, tmp_path / "other.safetensors")


@pytest.mark.parametrize("name", ["F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"])
def test_sum_of_two_fp8_models_that_overflows_is_refused(name: str, tmp_path: Path) -> None:
    top = torch.full((5,), torch.finfo(FLOATS[name]).max).to(FLOATS[name])
    recipe = {"cuvee": 1, "method": "linear", "models": saved(tmp_path, [{"w": top}, {"w": top}])}
    with pytest.raises(NonFiniteError, match=f"does not fit into {name}"):
        merged({**recipe, "parameters": {"normalize": False}}, tmp_path)


@pytest.mark.parametrize("name", ["F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"])
def test_weight_that_is_not_a_number_is_refused_by_name(name: str, tmp_path: Path) -> None:
    good = values(1, torch.float32)
    bad = good.clone()
    bad[3, 4] = float("nan")
    paths = saved(tmp_path, [{"w": tensor.to(FLOATS[name])} for tensor in (good, bad)])
    with pytest.raises(NonFiniteError, match=r"m1\.safetensors: tensor 'w' of model 'm1' is nan at flat index 79"):
        merged({"cuvee": 1, "method": "linear", "models": paths}, tmp_path)


@each_whole
def test_whole_numbers_are_copied_from_the_first_model(name: str, tmp_path: Path) -> None:
    buffers = [(torch.arange(30).reshape(5, 6) * factor % 2).to(WHOLE[name]) for factor in (1, 3)]
    models = [{"w": values(i, torch.float32), "ids": buffers[i]} for i in range(2)]
    out = tmp_path / "out.safetensors"
    report = cuvee.merge({"cuvee": 1, "method": "linear", "models": saved(tmp_path, models)}, out)
    assert load_file(out)["ids"].equal(buffers[0])
    assert not any("ids" in note for note in report.notes)  # both hold 0 1 0 1 ...


@each_whole
def test_whole_numbers_that_differ_are_copied_and_reported(name: str, tmp_path: Path) -> None:
    buffers = [torch.tensor(bits).to(WHOLE[name]) for bits in ([0, 1, 1], [1, 1, 1], [1, 0, 1])]
    base, *others = saved(tmp_path, [{"w": values(i, torch.float32), "ids": b} for i, b in enumerate(buffers)])
    out = tmp_path / "out.safetensors"
    report = cuvee.merge({"cuvee": 1, "method": "task_arithmetic", "models": others, "base": base}, out)
    assert load_file(out)["ids"].equal(buffers[0])  # the base lends what is not merged
    assert any("ids" in note and "differs" in note for note in report.notes)


def test_output_type_does_not_change_whole_numbers(tmp_path: Path) -> None:
    models = [{"w": values(i, torch.float32), "ids": torch.tensor([2**40 + 1, -7])} for i in range(2)]
    recipe = {"cuvee": 1, "method": "linear", "models": saved(tmp_path, models), "output": {"dtype": "bfloat16"}}
    result = merged(recipe, tmp_path)
    assert result["w"].dtype == torch.bfloat16
    assert result["ids"].equal(models[0]["ids"])


def test_whole_numbers_are_not_mixed_with_others(tmp_path: Path) -> None:
    paths = saved(tmp_path, [{"w": torch.ones(3)}, {"w": torch.ones(3, dtype=torch.int64)}])
    with pytest.raises(PlanError, match="element types differ in kind: 'm0' F32, 'm1' I64"):
        merged({"cuvee": 1, "method": "linear", "models": paths}, tmp_path)


def normalised(seed: int) -> torch.nn.Module:
    """Train a small network with a batch norm for a step's worth of statistics."""
    torch.manual_seed(seed)
    network = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.Linear(6, 2))
    network(torch.randn(64, 4) * (1 + seed))
    return network


AVERAGES: dict[str, tuple[dict[str, Any], list[float]]] = {
    "linear": ({"weight": [1.0, 3.0]}, [0.25, 0.75]),
    "task_arithmetic": ({"weight": [0.5, 0.5], "scale": 1.5}, [0.5, 0.5]),
    "slerp": ({"t": 0.25}, [0.75, 0.25]),
    "mlerp": ({}, [0.5, 0.5]),
    "ties": ({"weight": [3.0, 1.0]}, [0.75, 0.25]),
    "dare_linear": ({"weight": [1.0, -1.0]}, [0.5, 0.5]),  # no convex combination: equally
    "dare_ties": ({}, [0.5, 0.5]),
    "breadcrumbs": ({"weight": [0.0, 2.0]}, [0.0, 1.0]),
    "nuslerp": ({"weight": [3.0, 1.0]}, [0.75, 0.25]),
    "multislerp": ({"weight": [3.0, 1.0]}, [0.75, 0.25]),
    "karcher": ({"weight": [1.0, 0.0]}, [1.0, 0.0]),
    "model_stock": ({}, [0.5, 0.5]),
    "nearswap": ({}, [1.0, 0.0]),  # takes the first model alone
    "breadcrumbs_ties": ({"weight": [1.0, 3.0]}, [0.25, 0.75]),
    "della": ({"weight": [3.0, 1.0]}, [0.75, 0.25]),
    "della_linear": ({"weight": [1.0, 4.0]}, [0.2, 0.8]),
    "sce": ({}, [0.5, 0.5]),
    "ram": ({}, [0.5, 0.5]),
    "ramplus": ({}, [0.5, 0.5]),
    "arcee_fusion": ({}, [1.0]),
}
"""Settings, and the share that each of two models then has in an average."""


def test_table_of_averages_has_every_method_that_merges() -> None:
    assert set(AVERAGES) == {method.name for method in METHODS if not method.any_dtype}


@pytest.mark.parametrize("name", AVERAGES)
def test_running_statistics_are_averaged_with_the_convex_weights_of_the_method(name: str, tmp_path: Path) -> None:
    settings, shares = AVERAGES[name]
    networks = [normalised(seed) for seed in range(3)]
    base, *others = saved(tmp_path, [network.state_dict() for network in networks])
    result = merged(recipe_for(cuvee.methods()[name], others, base, **settings), tmp_path)
    for statistic in ("running_mean", "running_var"):
        given = [network[1].state_dict()[statistic].double() for network in networks[1:]]
        expected = sum(share * own for share, own in zip(shares, given, strict=False))
        torch.testing.assert_close(result[f"1.{statistic}"], expected.float(), rtol=1e-6, atol=1e-7)
    assert result["1.running_var"].min() > 0
    assert result["1.num_batches_tracked"].equal(networks[0][1].num_batches_tracked)
    networks[0].load_state_dict(result)
    assert networks[0].eval()(torch.randn(3, 4)).isfinite().all()

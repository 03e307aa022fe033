"""Merging each column of a tensor by itself: vectors along the first axis, in one pass over the rows."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import cuvee
from cuvee import merge_tensors
from cuvee.plan.rows import CELL


def columns_apart(first: torch.Tensor, second: torch.Tensor, **parameters: Any) -> torch.Tensor:
    """Merge every vector along the first axis by itself."""
    merged = torch.empty_like(first)
    for place in product(*map(range, first.shape[1:])):
        at = (slice(None), *place)
        merged[at] = merge_tensors("nuslerp", [first[at], second[at]], **parameters)
    return merged


@pytest.mark.filterwarnings("ignore:.*opposite directions")  # of columns of one element
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7,), (1, 5), (40, 3), (5, 1), (6, 2, 3), (3, 2000)])
def test_nuslerp_by_columns_interpolates_each_vector_along_the_first_axis_alone(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(shape, generator=generator).to(dtype) for _ in range(2))
    merged = merge_tensors("nuslerp", [first, second], scope="column", weight=[1, 2])
    part = (slice(None), *[slice(4)] * (len(shape) - 1))
    apart = columns_apart(first[part], second[part], weight=[1, 2])
    torch.testing.assert_close(merged[part], apart, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("block_bytes", [1, 1 << 30])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("vectors", ["parameters", "task"])
def test_columns_of_several_cells_are_those_of_the_whole_tensor(
    tmp_path: Path, block_bytes: int, workers: int, vectors: str
) -> None:
    """Against float64: five cells, the last one not full."""
    generator = torch.Generator().manual_seed(2)
    width = 1500
    base, first, second = (torch.randn(4 * (CELL // width) + 7, width, generator=generator) for _ in range(3))
    parameters = {"scope": "column", "weight": [1, 3], "vectors": vectors}
    recipe = cuvee.Recipe(
        method="nuslerp", models=[{"w": first}, {"w": second}], base={"w": base}, parameters=parameters
    )
    limits = cuvee.Limits(workers=workers, block_bytes=block_bytes)
    report = cuvee.merge(recipe, tmp_path / "out.safetensors", limits=limits)
    merged = load_file(tmp_path / "out.safetensors")["w"].double()
    zero = base.double() if vectors == "task" else torch.zeros(())
    one, other = first.double() - zero, second.double() - zero
    omega = torch.arccos((one * other).sum(0) / (one.norm(dim=0) * other.norm(dim=0)))
    exact = zero + (torch.sin(0.25 * omega) * one + torch.sin(0.75 * omega) * other) / torch.sin(omega)
    torch.testing.assert_close(merged, exact, rtol=1e-5, atol=2e-6)
    assert report.bytes_read <= 2 * (3 if vectors == "task" else 2) * base.nbytes


def test_parts_of_a_stack_have_columns_of_their_own(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = (torch.randn(3, 4, 5, generator=generator) for _ in range(2))
    rule = cuvee.Rule(match="*", parts=3)
    recipe = cuvee.Recipe(
        method="nuslerp", models=[{"w": first}, {"w": second}], parameters={"scope": "column"}, tensors=[rule]
    )
    cuvee.merge(recipe, tmp_path / "out.safetensors")
    merged = load_file(tmp_path / "out.safetensors")["w"]
    for i in range(3):
        torch.testing.assert_close(merged[i], columns_apart(first[i], second[i]), rtol=1e-6, atol=1e-6)

"""Copied tensors: anything they hold is let through, and what does not fit is told."""

from pathlib import Path

import pytest
import torch

import cuvee
from cuvee.errors import NonFiniteError
from cuvee.writers.save import save_state_dict


def copied(tmp_path: Path, values: list[float], dtype: str | None) -> torch.Tensor:
    model = {"mask": torch.tensor(values), "w": torch.ones(2)}
    save_state_dict(tmp_path / "m", model)
    rule = cuvee.Rule(match=("mask",), copy="m0")
    recipe = cuvee.Recipe(
        method="linear", models=[str(tmp_path / "m")], tensors=[rule], output=cuvee.Output(dtype=dtype)
    )
    cuvee.merge(recipe, tmp_path / "out")
    merged = cuvee.open_source(tmp_path / "out")
    data = bytearray(merged.header["mask"].nbytes)
    merged.read_into(memoryview(data), "mask")
    return torch.frombuffer(data, dtype=getattr(torch, dtype or "float32")).float()


@pytest.mark.parametrize("dtype", [None, "bfloat16", "float16"])
def test_a_mask_of_minus_infinity_is_copied_into_any_type(tmp_path: Path, dtype: str | None) -> None:
    assert copied(tmp_path, [0.0, float("-inf")], dtype).tolist() == [0, float("-inf")]


def test_a_finite_value_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteError, match=r"mask: method 'copy' gives 70000.0 at flat index 1, .*fit into F16"):
        copied(tmp_path, [float("-inf"), 70000.0], "float16")


def test_the_method_copy_takes_whole_numbers_from_its_model_not_from_the_base() -> None:
    base, model = {"i": torch.tensor([1]), "w": torch.ones(1)}, {"i": torch.tensor([7]), "w": torch.zeros(1)}
    with pytest.warns(cuvee.CuveeWarning, match="does not use the base"):
        merged = cuvee.merge_state_dicts("copy", [model], base)
    assert (merged["i"].item(), merged["w"].item()) == (7, 0)

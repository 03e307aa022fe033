"""Rounding without torch is torch's rounding."""

import numpy as np
import pytest
import torch

from cuvee.spec import BY_TORCH_NAME
from cuvee.tensors.widen import narrowed, widened


@pytest.mark.parametrize("dtype", [d for d in BY_TORCH_NAME.values() if d.kind == "float"], ids=str)
def test_narrowed_rounds_as_torch_does(dtype: object) -> None:
    bits = np.random.default_rng(0).integers(0, 1 << 32, 200_000, dtype=np.uint32)
    halves = np.arange(0, 1 << 32, (1 << 15) + 0, dtype=np.uint64).astype(np.uint32)  # ties of bfloat16 are among them
    values = np.concatenate([bits, halves]).view(np.float32)
    expected = torch.from_numpy(values.copy()).to(getattr(torch, dtype.torch_name))
    found = torch.from_numpy(narrowed(values, dtype).copy()).view(expected.dtype)
    real = ~torch.isnan(expected.float())
    assert torch.equal(found.float()[real], expected.float()[real])
    assert bool(torch.isnan(found.float()[~real]).all())


def test_widened_and_narrowed_again_is_what_it_was() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    for name in ("float16", "bfloat16"):
        values = widened(every.view(np.uint8).copy(), BY_TORCH_NAME[name])
        real = ~np.isnan(values)
        assert (narrowed(values, BY_TORCH_NAME[name]).view(np.uint16)[real] == every[real]).all()

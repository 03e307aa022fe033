from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from cuvee.spec import DTYPES, TensorSpec
from cuvee.writers.memory import MemoryWriter


@pytest.mark.parametrize(
    "dtype", [dtype for dtype in DTYPES.values() if hasattr(torch, dtype.torch_name or "-")], ids=str
)
def test_every_dtype_that_torch_has_is_collected(dtype: Any) -> None:
    data = bytes(index % 2 for index in range(dtype.bits))
    writer = MemoryWriter([("w", TensorSpec((2, 4), dtype))])
    writer.write_at("w", 0, memoryview(data))
    tensor = writer.tensors()["w"]
    assert tensor.dtype is getattr(torch, dtype.torch_name)
    assert tensor.shape == ((2, 2) if dtype.name == "F4" else (2, 4))
    assert tensor.view(torch.uint8).numpy().tobytes() == data


def test_scalars_and_empty_tensors_are_collected_in_order() -> None:
    entries = [("s", TensorSpec((), DTYPES["F32"])), ("e", TensorSpec((0, 3), DTYPES["BF16"]))]
    writer = MemoryWriter(entries)
    writer.write_at("e", 0, memoryview(b""))
    writer.write_at("s", 0, torch.tensor([2.5]).numpy().data)
    assert list(writer.tensors()) == ["s", "e"]
    assert writer.tensors()["s"].item() == 2.5
    assert writer.tensors()["s"].shape == ()
    assert writer.tensors()["e"].shape == (0, 3)


def test_many_threads_write_at_once() -> None:
    values = torch.arange(30_000)
    data = values.numpy().data.cast("B")
    writer = MemoryWriter([("w", TensorSpec((30_000,), DTYPES["I64"]))])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda begin: writer.write_at("w", begin, data[begin : begin + 999]), range(0, len(data), 999)))
    assert torch.equal(writer.tensors()["w"], values)


def test_incomplete_tensors_are_refused_by_name() -> None:
    writer = MemoryWriter([("w", TensorSpec((4,), DTYPES["U8"]))])
    writer.write_at("w", 0, memoryview(b"abc"))
    with pytest.raises(AssertionError, match=r"The output in memory is incomplete: missing from 'w' \(1 of 4 bytes\)"):
        writer.tensors()


def test_writing_outside_a_tensor_is_refused() -> None:
    writer = MemoryWriter([("w", TensorSpec((4,), DTYPES["U8"]))])
    with pytest.raises(AssertionError, match="tensor 'w' has 4 bytes; bytes 3 to 5 lie outside"):
        writer.write_at("w", 3, memoryview(b"ab"))
    with pytest.raises(AssertionError, match="the output has no tensor 'v'"):
        writer.write_at("v", 0, memoryview(b"ab"))


@pytest.mark.parametrize("spec", [TensorSpec((4,), DTYPES["F6_E2M3"]), TensorSpec((2, 3), DTYPES["F4"])], ids=str)
def test_what_torch_lacks_is_refused(spec: TensorSpec) -> None:
    with pytest.raises(AssertionError, match=f"tensor 'w': torch cannot hold {spec.dtype} of shape"):
        MemoryWriter([("w", spec)])

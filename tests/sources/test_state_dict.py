import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.errors import SourceError, UnsupportedError
from cuvee.sources.memory import Memory
from cuvee.spec import DTYPES

TORCH_DTYPES = [dtype for dtype in DTYPES.values() if dtype.torch_name and hasattr(torch, dtype.torch_name)]


def raw(tensor: torch.Tensor) -> bytes:
    return tensor.resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format).numpy().tobytes()


def read(source: Memory, name: str, begin: int = 0, end: int | None = None) -> bytes:
    buffer = bytearray((source.header[name].nbytes if end is None else end) - begin)
    source.read_into(memoryview(buffer), name, begin)
    return bytes(buffer)


@pytest.mark.parametrize("dtype", TORCH_DTYPES, ids=str)
def test_every_dtype_is_read(dtype: Any) -> None:
    data = torch.arange(16, dtype=torch.uint8) % 2
    tensor = data.view(getattr(torch, dtype.torch_name)).reshape(1, -1)
    source = Memory({"w": tensor})
    assert source.header["w"].dtype is dtype
    assert source.header["w"].shape == (1, 128 // dtype.bits)
    assert read(source, "w") == data.numpy().tobytes()


def test_header_keeps_the_order_of_the_state_dict() -> None:
    assert list(Memory({"b": torch.ones(1), "a": torch.ones(1)}).header) == ["b", "a"]


VIEWS = {
    "transposed": lambda: torch.randn(4, 6).t(),
    "strided": lambda: torch.randn(20)[::3],
    "narrowed": lambda: torch.randn(5, 8)[1:4, 2:5],
    "permuted": lambda: torch.randn(2, 3, 4).permute(2, 0, 1),
    "expanded": lambda: torch.randn(1, 3).expand(4, 3),
    "channels last": lambda: torch.randn(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "one strided element": lambda: torch.randn(6, 4)[2:3, 1],
    "scalar within": lambda: torch.randn(3)[1],
    "conjugated": lambda: torch.randn(5, dtype=torch.complex64).conj(),
    "imaginary part of a conjugate": lambda: torch.randn(5, dtype=torch.complex64).conj().imag,
    "parameter": lambda: torch.nn.Parameter(torch.randn(3, 2)).t(),
}


@pytest.mark.parametrize("view", VIEWS)
def test_views_are_read_in_row_major_order_at_any_range(view: str) -> None:
    tensor = VIEWS[view]()
    whole = raw(tensor.detach())
    source = Memory({"w": tensor})
    assert read(source, "w") == whole
    for begin in range(len(whole)):
        for end in {begin, begin + 1, min(begin + 7, len(whole)), len(whole)}:
            assert read(source, "w", begin, end) == whole[begin:end]


@given(st.data())
def test_any_permutation_of_axes_is_read_at_any_range(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    axes = data.draw(st.permutations(range(len(shape))))
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int16).reshape(shape).permute(axes)
    whole = raw(tensor)
    begin = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(begin, len(whole)))
    assert read(Memory({"w": tensor}), "w", begin, end) == whole[begin:end]


def test_tensors_are_not_changed_or_copied() -> None:
    parameter = torch.nn.Parameter(torch.randn(4, 4))
    before, version = parameter.detach().clone(), parameter._version
    read(Memory({"w": parameter}), "w")
    assert torch.equal(parameter, before)
    assert parameter._version == version
    assert parameter.requires_grad


def test_tied_tensors_are_recognised() -> None:
    tied, base = torch.randn(4, 4), torch.randn(8)
    source = Memory(
        {
            "embed": tied,
            "other": torch.randn(4, 4),
            "head": tied,
            "transposed": tied.t(),
            "rows": tied[:2],
            "low": base[:5],
            "high": base[3:],
            "seen again": base[:5],
        }
    )
    assert source.shared == (("embed", "head"), ("low", "seen again"))


def test_empty_tensors_are_not_tied() -> None:
    assert Memory({"a": torch.empty(0), "b": torch.empty(0)}).shared == ()


def test_same_memory_as_another_dtype_is_not_tied() -> None:
    tensor = torch.randn(4)
    assert Memory({"a": tensor, "b": tensor.view(torch.int32)}).shared == ()


class Wrapped(torch.Tensor):
    """Stands for a quantised or distributed tensor, whose dtype and shape are not those of its bytes."""

    def __tensor_flatten__(self) -> Any:
        raise NotImplementedError


REFUSED = {
    "meta": (lambda: torch.empty(2, device="meta"), UnsupportedError, "device 'meta'"),
    "sparse": (lambda: torch.eye(2).to_sparse(), UnsupportedError, "not a plain dense tensor"),
    "wrapped": (lambda: torch.ones(2).as_subclass(Wrapped), UnsupportedError, "not a plain dense tensor (Wrapped"),
    "complex128": (
        lambda: torch.ones(2, dtype=torch.complex128),
        UnsupportedError,
        "torch.complex128, which safetensors",
    ),
    "text": (lambda: "extra state", SourceError, "is a str; expected a torch tensor"),
    "none": (lambda: None, SourceError, "is a NoneType; expected a torch tensor"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_bytes_of_its_own_is_refused_by_name(case: str) -> None:
    make, error, message = REFUSED[case]
    with pytest.raises(error, match=re.escape(message)) as caught:
        Memory({"good": torch.ones(1), "bad": make()}, "mine")
    assert "mine: tensor 'bad'" in str(caught.value)


def test_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(SourceError, match="tensor 3: its name is a int"):
        Memory({3: torch.ones(1)})  # type: ignore[dict-item]


@pytest.mark.parametrize(("offset", "count"), [(-1, 2), (0, 9), (8, 1), (9, 0)])
def test_reading_outside_a_tensor_is_an_error(offset: int, count: int) -> None:
    with pytest.raises(SourceError, match="memory: tensor 'w' has 8 bytes"):
        Memory({"w": torch.ones(2)}).read_into(memoryview(bytearray(count)), "w", offset)


def test_unknown_tensor_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(SourceError, match=r"mine has no tensor 'wieght'. Did you mean 'weight'\?"):
        Memory({"weight": torch.ones(2)}, "mine").locate("wieght")


def test_reading_after_close_is_an_error() -> None:
    source = Memory({"w": torch.ones(2)})
    assert source.locate("w") == "memory"
    source.close()
    with pytest.raises(SourceError, match="tensor 'w' cannot be read: the source was closed"):
        read(source, "w")


def test_state_dict_has_nothing_beside_its_tensors() -> None:
    source = Memory({"w": torch.ones(2)})
    assert (source.reference, source.config, source.sidecars, source.paths) == ("memory", {}, {}, ())


def test_many_threads_read_at_once() -> None:
    tensor = torch.arange(40_000, dtype=torch.int32).reshape(200, 200).t()
    source, whole = Memory({"w": tensor}), raw(tensor)
    ranges = [(begin, min(begin + 999, len(whole))) for begin in range(0, len(whole), 999)]
    with ThreadPoolExecutor(8) as pool:
        assert b"".join(pool.map(lambda limits: read(source, "w", *limits), ranges)) == whole


@pytest.mark.gpu
def test_tensors_on_a_gpu_are_read() -> None:
    tensor = torch.randn(30, 20).t()
    assert read(Memory({"w": tensor.cuda()}), "w", 10, 900) == raw(tensor)[10:900]


def test_sources_load_no_torch_until_a_state_dict_is_opened() -> None:
    script = "import cuvee.sources.open, sys; assert not {'torch', 'safetensors', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)

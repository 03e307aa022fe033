"""A source rounded to another type gives what torch rounds to, whichever part of a tensor is read."""

from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import cuvee
from cuvee.execute.verify import verify
from cuvee.sources import rounded as room
from cuvee.sources.memory import Memory
from cuvee.sources.rounded import loses, rounded
from cuvee.spec import DTYPES
from cuvee.writers.save import save_state_dict

FLOATS = [dtype for dtype in DTYPES.values() if dtype.kind == "float"]
SAVED = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F8_E4M3": torch.float8_e4m3fn}


@pytest.mark.parametrize(("stored", "dtype"), [*product(FLOATS, FLOATS)], ids=str)
def test_a_type_loses_what_another_one_holds_unless_all_its_values_fit(
    stored: cuvee.spec.DType, dtype: cuvee.spec.DType
) -> None:
    one, other = getattr(torch, stored.torch_name), getattr(torch, dtype.torch_name)
    if stored.bits == 8:
        every = torch.arange(256, dtype=torch.uint8).view(one).double()
    else:
        info = torch.finfo(one)
        every = (
            torch.tensor([info.max, info.tiny, info.smallest_normal, info.eps, 1 + info.eps, info.max / 3])
            .to(one)
            .double()
        )
    every = every[torch.isfinite(every)]
    fits = torch.equal(every.to(other).double(), every)
    assert fits or loses(stored, dtype)


@pytest.mark.parametrize("pair", ["BF16 F32", "F16 F32", "F32 F64", "F8_E4M3 F16", "F8_E4M3 BF16", "F8_E5M2 F16"])
def test_wider_types_lose_nothing(pair: str) -> None:
    stored, dtype = (DTYPES[name] for name in pair.split())
    assert not loses(stored, dtype)
    assert loses(dtype, stored)


@given(offset=st.integers(0, 600), length=st.integers(0, 400), block=st.sampled_from([4, 8, 64, 1 << 20]))
def test_any_part_is_what_torch_rounds_to(offset: int, length: int, block: int) -> None:
    values = torch.randn(500, generator=torch.Generator().manual_seed(0)) * 10.0 ** torch.arange(-250, 250).div(
        8
    ).clamp(-40, 38)
    whole = values.bfloat16().view(torch.uint8).numpy().tobytes()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "BLOCK", block)
        source = rounded(Memory({"w": values}, "m"), "BF16")
        buffer = bytearray(min(length, len(whole) - offset))
        source.read_into(memoryview(buffer), "w", offset)
    assert bytes(buffer) == whole[offset : offset + len(buffer)]


@pytest.mark.parametrize("name", ["BF16", "F16", "F8_E4M3"])
def test_numbers_that_are_none_and_those_at_the_edge_round_as_in_torch(name: str) -> None:
    values = torch.tensor(
        [float("nan"), float("inf"), -float("inf"), 65519.9, 65520.0, 3.39e38, 0.0, -0.0, 1e-40, 2.0**-24]
    )
    if name == "F8_E4M3":
        values = values[6:]
    source = rounded(Memory({"w": values, "ids": torch.arange(3)}, "m"), name)
    buffer = bytearray(source.header["w"].nbytes)
    source.read_into(memoryview(buffer), "w")
    found = torch.frombuffer(buffer, dtype=SAVED[name])
    assert torch.equal(found.float().nan_to_num(7), values.to(SAVED[name]).float().nan_to_num(7))
    assert source.header["ids"].dtype.name == "I64"


def test_what_fits_is_left_alone() -> None:
    source = Memory({"w": torch.ones(3, dtype=torch.bfloat16)}, "m")
    assert rounded(source, "F32") is source


def test_a_merge_of_rounded_models_is_that_of_models_saved_so(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(1)
    for label in ("base", "a", "b"):
        state = {f"layers.{i}.w": torch.randn(70, 30, generator=generator) for i in range(2)}
        save_state_dict(tmp_path / label, state)
        save_state_dict(tmp_path / f"{label}16", {name: tensor.bfloat16() for name, tensor in state.items()})

    def recipe(suffix: str) -> dict[str, object]:
        models = {label: str(tmp_path / f"{label}{suffix}") for label in ("a", "b")}
        return {
            "cuvee": 1,
            "method": "ties",
            "models": models,
            "base": str(tmp_path / f"base{suffix}"),
            "parameters": {"density": 0.3},
        }

    cuvee.merge({**recipe(""), "input": {"dtype": "bfloat16"}}, tmp_path / "rounded")
    cuvee.merge(recipe("16"), tmp_path / "saved")
    made, wanted = (cuvee.open_source(tmp_path / name) for name in ("rounded", "saved"))
    assert made.header == wanted.header
    for name, spec in made.header.items():
        one, two = bytearray(spec.nbytes), bytearray(spec.nbytes)
        made.read_into(memoryview(one), name)
        wanted.read_into(memoryview(two), name)
        assert one == two
    assert {finding.state for finding in verify(tmp_path / "rounded", replay=True)} == {"same"}

"""Packed tensors have the bytes of their parts, put together by numpy, whatever is read of them and however."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from cuvee.architectures.experts import packing_of
from cuvee.errors import SourceError
from cuvee.layered import ground_of, is_changed, made_of
from cuvee.sources.memory import Memory
from cuvee.sources.packed_experts import PackedExperts
from cuvee.sources.rounded import rounded

OLD, NEW = "block_sparse_moe", "mlp"
NAMES = (f"{NEW}.experts.gate_up_proj", f"{NEW}.experts.down_proj", f"{NEW}.gate.weight", "norm")


def state(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = {f"{OLD}.gate.weight": torch.randn(3, 4, generator=generator), "norm": torch.randn(4, generator=generator)}
    for e in range(3):
        for word, shape in (("w1", (6, 4)), ("w2", (4, 6)), ("w3", (6, 4))):
            made[f"{OLD}.experts.{e}.{word}.weight"] = torch.randn(shape, generator=generator)
    return made


def packed(tensors: dict[str, torch.Tensor]) -> PackedExperts:
    ground = Memory(tensors, "a model")
    packing = packing_of(ground.header)
    assert packing is not None
    return PackedExperts(ground, packing.header, packing.parts)


def by_hand(tensors: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Pack with numpy, one expert after the other."""
    of = {name: tensor.numpy() for name, tensor in tensors.items()}
    each = [{w: of[f"{OLD}.experts.{e}.{w}.weight"] for w in ("w1", "w2", "w3")} for e in range(3)]
    return {
        NAMES[0]: np.stack([np.concatenate([expert["w1"], expert["w3"]]) for expert in each]),
        NAMES[1]: np.stack([expert["w2"] for expert in each]),
        NAMES[2]: of[f"{OLD}.gate.weight"],
        NAMES[3]: of["norm"],
    }


@pytest.mark.parametrize("name", NAMES)
def test_any_part_of_a_packed_tensor_is_that_of_numpy(name: str) -> None:
    source, expected = packed(state()), by_hand(state())[name]
    assert source.header[name].shape == expected.shape
    whole, rng = expected.tobytes(), np.random.default_rng(0)
    ends = [sorted(rng.integers(0, len(whole) + 1, 2).tolist()) for _ in range(60)] + [[0, len(whole)], [8, 8]]

    def read(span: list[int]) -> bool:
        buffer = bytearray(span[1] - span[0])
        source.read_into(memoryview(buffer), name, span[0])
        return bytes(buffer) == whole[span[0] : span[1]]

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(read, ends))


def test_what_it_says_of_itself() -> None:
    source = packed(state())
    assert ground_of(source) is source.ground
    assert source.cost(NAMES[0]) == 3 * 12 * 4 * 4
    assert source.locate(NAMES[0]) == source.ground.locate(f"{OLD}.experts.0.w1.weight")
    assert [is_changed(source, name) for name in NAMES] == [True, True, True, False]
    assert made_of(source, NAMES[3]) == [(source.ground, "norm")]
    assert made_of(source, NAMES[1]) == [(source.ground, f"{OLD}.experts.{e}.w2.weight") for e in range(3)]
    small = rounded(source, "BF16")
    assert made_of(small, NAMES[1]) == made_of(source, NAMES[1])
    assert made_of(source.ground, "norm") == [(source.ground, "norm")]


def test_names_that_share_a_storage_are_renamed_or_dropped() -> None:
    tensors = state()
    tensors |= {"other": tensors[f"{OLD}.gate.weight"], "again": tensors[f"{OLD}.experts.0.w1.weight"]}
    groups = [sorted(group) for group in packed(tensors).shared]
    assert sorted(groups) == [["again"], [NAMES[2], "other"]]


def test_bytes_outside_and_names_that_are_not_there_are_refused() -> None:
    source = packed(state())
    with pytest.raises(SourceError, match="576 bytes; bytes 570 to 580 were asked for"):
        source.read_into(memoryview(bytearray(10)), NAMES[0], 570)
    with pytest.raises(SourceError, match="no tensor"):
        source.read_into(memoryview(bytearray(4)), f"{OLD}.experts.0.w1.weight")

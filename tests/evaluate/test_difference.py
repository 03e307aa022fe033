"""Differences between two sources: hand-computed, over all element types, in bounded memory; and how they are shown."""

import json
from collections.abc import Mapping, Sequence
from math import inf, isnan, sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cuvee.cli.diff import diff
from cuvee.evaluate.difference import CELL, Sums, by_layer, difference, total
from cuvee.sources.memory import Memory
from cuvee.spec import DTYPES

FLOATS = [dtype for dtype in DTYPES.values() if dtype.kind == "float"]
OTHERS = [dtype for dtype in DTYPES.values() if dtype.kind != "float" and dtype.torch_name]


def compare(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor]):
    return {found.name: found for found in difference(Memory(a), Memory(b))}


def sums(a: Sequence[float], b: Sequence[float], dtype: torch.dtype = torch.float32) -> Sums:
    found = compare({"x": torch.tensor(a, dtype=dtype)}, {"x": torch.tensor(b, dtype=dtype)})["x"]
    assert found.status == "compared"
    assert found.sums is not None
    return found.sums


def test_measures_of_a_small_tensor_are_those_computed_by_hand() -> None:
    found = sums([3.0, 4.0, 0.0, -1.0], [3.0, 0.0, 2.0, 1.0])
    assert found.size == 4
    assert found.distance == sqrt(16 + 4 + 4)
    assert found.relative_distance == pytest.approx(sqrt(24) / sqrt(26), rel=1e-15)
    assert found.cosine == pytest.approx((9 - 1) / sqrt(26 * 14), rel=1e-15)
    assert found.sign_agreement == 1 / 4
    assert found.largest == 4.0
    assert found.non_finite == 0
    assert not found.identical


def test_a_zero_agrees_in_sign_with_a_zero_only() -> None:
    assert sums([0.0, 0.0, -0.0, 1.0], [0.0, 1.0, 0.0, 0.0]).same_sign == 2


def test_equal_values_of_unequal_bytes_are_not_identical() -> None:
    found = sums([0.0, 1.0], [-0.0, 1.0])
    assert (found.distance, found.cosine, found.identical) == (0.0, 1.0, False)
    assert sums([0.1, 0.7], [0.1, 0.7]).identical
    assert sums([0.1, 0.7], [0.1, 0.7]).cosine == 1.0


def test_zero_norms_leave_cosine_undefined_and_relative_distance_infinite_or_zero() -> None:
    both, only_a = sums([0.0], [0.0]), sums([0.0], [2.0])
    assert isnan(both.cosine)
    assert isnan(only_a.cosine)
    assert both.relative_distance == 0.0
    assert only_a.relative_distance == inf


def test_opposite_and_scaled_vectors_have_cosines_of_minus_one_and_one() -> None:
    assert sums([0.1, 0.2, 0.3], [-0.1, -0.2, -0.3], torch.float64).cosine == pytest.approx(-1.0, abs=1e-15)
    assert sums([0.1, 0.2, 0.3], [-0.1, -0.2, -0.3], torch.float64).cosine >= -1.0
    assert sums([0.1, 0.2], [10.0, 20.0], torch.float64).cosine <= 1.0


def test_elements_that_are_not_finite_are_left_out_and_counted() -> None:
    found = sums([1.0, float("nan"), inf, 2.0], [1.0, 5.0, inf, 4.0])
    assert (found.size, found.non_finite, found.distance, found.largest) == (2, 2, 2.0, 2.0)
    nothing = sums([inf], [inf])
    assert (nothing.size, nothing.non_finite, nothing.identical) == (0, 1, True)
    assert isnan(nothing.sign_agreement)


def test_squares_that_overflow_are_infinite_and_no_error() -> None:
    found = sums([1e200, 1e200], [-1e200, 1e200], torch.float64)
    assert found.distance == inf
    assert isnan(found.cosine)


def test_empty_tensors_and_scalars_are_compared() -> None:
    found = compare({"e": torch.zeros(0, 3), "s": torch.tensor(2.0)}, {"e": torch.zeros(0, 3), "s": torch.tensor(5.0)})
    assert found["e"].sums == Sums()
    assert found["s"].sums is not None
    assert found["s"].sums.distance == 3.0


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_type_is_widened_exactly(dtype) -> None:
    torch_dtype = getattr(torch, dtype.torch_name)
    a = torch.tensor([1.5, -2.0, 0.25, 3.0]).to(torch_dtype)
    b = torch.tensor([1.25, 2.0, 0.25, 0.0]).to(torch_dtype)
    found = compare({"x": a}, {"x": b})["x"].sums
    assert found is not None
    assert found.squared_difference == 0.0625 + 16 + 9
    assert found.product == 1.875 - 4 + 0.0625
    assert (found.same_sign, found.largest) == (2, 4.0)
    against_f32 = compare({"x": a}, {"x": a.to(torch.float32)})["x"].sums
    assert against_f32 is not None
    assert against_f32.distance == 0.0
    assert against_f32.identical == (dtype.name == "F32")


@pytest.mark.parametrize("dtype", OTHERS, ids=str)
def test_integers_and_the_like_are_only_equal_or_unequal(dtype) -> None:
    a = (torch.arange(16, dtype=torch.uint8) % 2).view(getattr(torch, dtype.torch_name))
    b = a.clone()
    b.view(torch.uint8)[-1] ^= 1
    assert compare({"x": a}, {"x": a.clone()})["x"].status == "equal"
    assert compare({"x": a}, {"x": b})["x"].status == "unequal"
    assert compare({"x": a}, {"x": b})["x"].sums is None


def test_what_cannot_be_compared_is_reported_not_dropped() -> None:
    a = {
        "shape": torch.zeros(2, 3),
        "kind": torch.zeros(2),
        "int": torch.zeros(2, dtype=torch.int32),
        "a": torch.zeros(1),
    }
    b = {
        "b": torch.zeros(1),
        "int": torch.zeros(2, dtype=torch.int64),
        "kind": torch.zeros(2, dtype=torch.int64),
        "shape": torch.zeros(3, 2),
    }
    found = compare(a, b)
    assert {name: one.status for name, one in found.items()} == {
        "shape": "shape",
        "kind": "dtype",
        "int": "dtype",
        "a": "only_a",
        "b": "only_b",
    }
    assert list(found) == ["shape", "kind", "int", "a", "b"]
    assert found["a"].b is None
    assert found["b"].a is None
    assert found["shape"].a is not None
    assert found["shape"].a.shape == (2, 3)
    assert total(found.values()) == Sums()


def test_a_tied_head_is_compared_with_one_stored_for_itself() -> None:
    table = torch.ones(4, 2)
    tied = {"model.embed_tokens.weight": table}
    untied = {"model.embed_tokens.weight": table, "lm_head.weight": table + 1}
    for found in (compare(tied, untied), compare(untied, tied)):
        assert set(found) == set(untied)
        assert found["lm_head.weight"].sums is not None
        assert found["lm_head.weight"].sums.distance == sqrt(8)
        assert found["model.embed_tokens.weight"].sums is not None
        assert found["model.embed_tokens.weight"].sums.identical


class Recorded:
    """A source that remembers how much was asked for at once, and how much in all."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self._source = Memory(tensors)
        self.largest_read = self.bytes_read = 0

    def __getattr__(self, name: str):
        return getattr(self._source, name)

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        self.largest_read = max(self.largest_read, buffer.nbytes)
        self.bytes_read += buffer.nbytes
        self._source.read_into(buffer, name, offset)


def test_a_large_tensor_is_read_once_in_cells_and_summed_as_if_whole() -> None:
    size = 2 * CELL + 7
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(size, generator=generator), torch.randn(size, generator=generator)
    first, second = Recorded({"x": a}), Recorded({"x": b})
    (found,) = difference(first, second)
    assert found.sums is not None
    for source in (first, second):
        assert source.largest_read == 4 * CELL
        assert source.bytes_read == 4 * size
    wide_a, wide_b = a.double().numpy(), b.double().numpy()
    np.testing.assert_allclose(found.sums.distance, np.linalg.norm(wide_a - wide_b), rtol=1e-13)
    np.testing.assert_allclose(found.sums.squared_a, np.sum(wide_a**2), rtol=1e-13)
    np.testing.assert_allclose(found.sums.product, np.sum(wide_a * wide_b), rtol=1e-9)
    assert found.sums.same_sign == np.sum(np.sign(wide_a) == np.sign(wide_b))
    assert found.sums.largest == np.max(np.abs(wide_a - wide_b))


def test_sums_do_not_depend_on_the_number_of_threads() -> None:
    a = {"x": torch.randn(CELL + 3, generator=torch.Generator().manual_seed(1))}
    b = {"x": torch.randn(CELL + 3, generator=torch.Generator().manual_seed(2))}
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(compare(a, b)["x"].sums)
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1]


FINITE = st.floats(-1e3, 1e3, width=32)


@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=8), st.integers(0, 8))
def test_sums_of_parts_add_up_to_those_of_the_whole(pairs, cut) -> None:
    def of(part) -> Sums:
        return sums([a for a, _ in part], [b for _, b in part], torch.float64) if part else Sums()

    whole, parts = of(pairs), of(pairs[:cut]) + of(pairs[cut:])
    assert (parts.size, parts.same_sign, parts.largest) == (whole.size, whole.same_sign, whole.largest)
    assert parts.identical == whole.identical
    assert parts.squared_difference == pytest.approx(whole.squared_difference, rel=1e-12)
    assert parts.product == pytest.approx(whole.product, rel=1e-9, abs=1e-6)


def test_layers_are_summed_in_order_with_what_stands_before_and_after() -> None:
    names = [
        "lm_head.weight",
        "model.layers.10.mlp.weight",
        "model.layers.2.mlp.weight",
        "model.layers.2.norm.weight",
        "vision.blocks.0.weight",
        "model.norm.weight",
        "model.embed_tokens.weight",
        "0.weight",
    ]
    a = {name: torch.zeros(1) for name in names}
    b = {name: torch.full((1,), float(index + 1)) for index, name in enumerate(names)}
    layers = by_layer(difference(Memory(a), Memory(b)))
    assert {layer: found.squared_difference for layer, found in layers.items()} == {
        "before the layers": 49.0,
        "model.layers.2": 9.0 + 16.0,
        "model.layers.10": 4.0,
        "vision.blocks.0": 25.0,
        "0": 64.0,
        "after the layers": 1.0 + 36.0,
    }
    assert list(layers) == [
        "before the layers",
        "model.layers.2",
        "model.layers.10",
        "vision.blocks.0",
        "0",
        "after the layers",
    ]


@pytest.fixture
def checkpoints(tmp_path: Path) -> tuple[str, str]:
    from safetensors.torch import save_file

    a = {
        "model.embed_tokens.weight": torch.ones(4, 2),
        "model.layers.0.q.weight": torch.tensor([[3.0, 4.0]]),
        "model.layers.0.zero.weight": torch.zeros(2),
        "model.layers.0.nan.weight": torch.tensor([float("nan"), 1.0]),
        "steps": torch.tensor([1, 2]),
        "ids": torch.tensor([1]),
        "old.weight": torch.ones(1),
    }
    b = {
        **a,
        "model.layers.0.q.weight": torch.tensor([[3.0, 1.0]]),
        "model.layers.0.zero.weight": torch.ones(2),
        "steps": torch.tensor([1, 3]),
        "new.weight": torch.ones(1, 1),
    }
    del b["old.weight"]
    save_file(a, tmp_path / "a.safetensors")
    save_file(b, tmp_path / "b.safetensors")
    return str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")


def test_diff_prints_layers_total_and_what_could_not_be_compared(checkpoints, capsys) -> None:
    diff(*checkpoints, as_json=False, tensors=False)
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert any("identical" in line and "before the layers" in line for line in lines)
    assert any(line.startswith("model.layers.0 ") for line in lines)
    assert any(line.startswith("total ") and "3.317" in line for line in lines)
    assert "model.layers.0.q.weight" not in text
    assert "Identical tensors: 2 of 4. Elements left out, being NaN or infinite: 1." in text
    assert "Equal tensors of integers or the like: 1." in text
    assert "steps: integers or the like that differ: I64 (2,), I64 (2,)" in text
    assert "old.weight: only in the first: F32 (1,)" in text
    assert "new.weight: only in the second: F32 (1, 1)" in text


def test_diff_lists_every_tensor_on_one_line_each_however_narrow_the_terminal(checkpoints, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    diff(*checkpoints, as_json=False, tensors=True)
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    (line,) = (line for line in lines if line.startswith("model.layers.0.q.weight "))
    assert line.split()[1:7] == ["2", "3", "0.6", f"{13 / sqrt(250):.6f}", "100.00%", "3"]
    (zero,) = (line for line in lines if line.startswith("model.layers.0.zero.weight "))
    assert zero.split()[2:6] == ["1.414", "inf", "-", "0.00%"]


def test_diff_as_json_has_measures_for_total_layers_and_every_tensor(checkpoints, capsys) -> None:
    diff(*checkpoints, as_json=True, tensors=False)
    described = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (described["a"], described["b"]) == checkpoints
    assert set(described) == {"a", "b", "total", "layers", "tensors"}
    assert described["total"]["distance"] == pytest.approx(sqrt(11))
    assert list(described["layers"]) == ["before the layers", "model.layers.0"]
    tensors = {tensor["name"]: tensor for tensor in described["tensors"]}
    assert len(tensors) == 8
    assert tensors["model.layers.0.q.weight"] == {
        "name": "model.layers.0.q.weight",
        "status": "compared",
        "a": {"shape": [1, 2], "dtype": "F32"},
        "b": {"shape": [1, 2], "dtype": "F32"},
        "measures": {
            "elements": 2,
            "distance": 3.0,
            "relative_distance": 0.6,
            "cosine": pytest.approx(13 / sqrt(250)),
            "sign_agreement": 1.0,
            "largest": 3.0,
            "non_finite": 0,
            "identical": False,
        },
    }
    zero = tensors["model.layers.0.zero.weight"]["measures"]
    assert zero["cosine"] is None
    assert zero["relative_distance"] is None
    assert tensors["steps"]["measures"] is None
    assert tensors["old.weight"]["b"] is None


def test_diff_of_nothing_comparable_says_so(tmp_path: Path, capsys) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "b.safetensors")
    diff(str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors"), as_json=False, tensors=False)
    text = capsys.readouterr().out
    assert "a: only in the first" in text
    assert "b: only in the second" in text
    assert "Identical tensors" not in text

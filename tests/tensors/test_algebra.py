"""Sums, inner products, signs and conversions, against float64."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from cuvee.spec import DTYPES
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.convert import first_non_finite, from_bytes, to_bytes
from cuvee.tensors.framework import single_threaded
from cuvee.tensors.framework import torch as lazy
from cuvee.tensors.operands import Block, TaskVector
from cuvee.tensors.passes import advance
from cuvee.tensors.signs import Agreed, How, disjoint_merge, elect_and_merge, sign_vote

FLOATS = [dtype for dtype in DTYPES.values() if dtype.kind == "float"]


def block(values: list[list[float]]) -> Block:
    data = torch.tensor(values, dtype=torch.float32)
    return Block(data.numpy().view(np.uint8).reshape(-1), DTYPES["F32"], len(values), from_bytes)


def test_a_weighted_sum_adds_in_the_order_of_the_operands() -> None:
    """1e8 + 1 - 1e8 is 0 in float32 from the left, 1 in any other order."""
    operands = [block([[1e8]]), block([[1.0]]), block([[-1e8]])]
    assert weighted_sum(operands, [1, 1, 1]).tensor.item() == 0
    assert weighted_sum([operands[i] for i in (0, 2, 1)], [1, 1, 1]).tensor.item() == 1


def test_a_weighted_sum_takes_weights_by_row() -> None:
    operands = [block([[1.0, 2.0], [3.0, 4.0]]), block([[10.0, 10.0], [10.0, 10.0]])]
    merged = weighted_sum(operands, np.array([[1.0, 2.0], [0.0, 0.5]]))
    assert merged.tensor.tolist() == [[1, 2], [11, 13]]


def test_a_weighted_sum_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        weighted_sum([], [])
    with pytest.raises(ValueError, match="1 operands and 2 weights"):
        weighted_sum([block([[1.0]])], [1, 1])


def test_the_gram_matrix_is_taken_in_float64_for_each_row() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(3, 2, 500, generator=generator)
    gram = gram_matrix([block(v.tolist()) for v in vectors])
    expected = torch.einsum("ire,jre->rij", vectors.double(), vectors.double())
    np.testing.assert_allclose(gram, expected.numpy(), rtol=1e-12)
    assert gram.dtype == np.float64


def test_a_task_vector_is_model_minus_base() -> None:
    assert TaskVector(block([[3.0, 1.0]]), block([[1.0, 1.0]])).tensor.tolist() == [[2, 0]]


def test_the_vote_counts_signs_of_weighted_sums() -> None:
    operands = [block([[1.0, -1.0, 2.0, 0.0]]), block([[1.0, 0.5, -2.0, 0.0]])]
    assert sign_vote(operands, [1.0, 1.0]).tolist() == [0]
    assert sign_vote(operands, [1.0, -1.0]).tolist() == [0 - 1 + 1 + 0]
    assert sign_vote(operands, [2.0, 1.0]).tolist() == [1]


def test_a_drawn_vote_decides_for_its_own_row_alone() -> None:
    # The first row's vote is a draw, the second one's positive; the last entries cancel.
    operands = [block([[1.0, -1.0, 2.0], [1.0, 1.0, 2.0]]), block([[1.0, -1.0, -2.0], [1.0, 1.0, -2.0]])]
    merged = advance(elect_and_merge, [], True, operands, [1.0, 1.0], how="sum", draw_is_negative=True)
    assert merged.tensor.tolist() == [[2, -2, -2], [2, 2, 2]]


def test_a_negative_weight_turns_a_model_around() -> None:
    operands = [block([[1.0, 1.0]]), block([[3.0, -3.0]])]
    merged = disjoint_merge(operands, [1.0, -1.0], 0, how="sum", scale=1.0)
    assert merged.tensor.tolist() == [[-3, 4]]


def test_where_nothing_counts_the_mean_is_zero() -> None:
    assert disjoint_merge([block([[0.0]])], [1.0], 0, how="mean", scale=1.0).tensor.tolist() == [[0]]


def test_without_election_every_entry_that_is_not_zero_counts() -> None:
    operands = [block([[1.0, 0.0]]), block([[-3.0, 5.0]])]
    expected: dict[How, list[float]] = {"mean": [-1, 5], "sum": [-2, 5], "max": [-3, 5]}
    for how, values in expected.items():
        merged = advance(elect_and_merge, [], True, operands, [1.0, 1.0], how=how, elect=False)
        assert isinstance(merged, Agreed)
        assert merged.tensor.tolist() == [values]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_type_is_widened_exactly_and_rounded_once(dtype: object) -> None:
    assert isinstance(dtype, type(DTYPES["F32"]))
    values = torch.tensor([0.0, -0.0, 1.0, -1.75, 0.07, 200.0])
    expected = values.to(getattr(torch, dtype.torch_name))
    out = np.empty(len(values) * dtype.bits // 8, np.uint8)
    stored = to_bytes(values.reshape(2, 3), dtype, out)
    assert torch.equal(stored.float(), expected.float())
    assert torch.equal(from_bytes(out, dtype), expected.float())


def test_the_first_value_that_is_not_finite_is_found() -> None:
    assert first_non_finite(torch.tensor([1.0, 2.0])) is None
    assert first_non_finite(torch.tensor([[1.0, 2.0], [float("inf"), float("nan")]])) == 2
    assert first_non_finite(torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)) == 1


def test_threads_are_set_back() -> None:
    torch.set_num_threads(2)
    try:
        with single_threaded():
            assert torch.get_num_threads() == 1
            with single_threaded():
                assert torch.get_num_threads() == 1
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert lazy.float32 is torch.float32


def test_torch_that_is_imported_inside_has_one_thread_too_and_gets_its_own_back() -> None:
    script = (
        "import sys\n"
        "from cuvee.tensors.framework import single_threaded, torch\n"
        "with single_threaded():\n"
        "    assert 'torch' not in sys.modules\n"
        "    assert torch.get_num_threads() == 1\n"
        "import os, torch\n"
        "assert torch.get_num_threads() == min(2, os.cpu_count()), torch.get_num_threads()\n"
    )
    threads = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, **threads})

"""Factors of products and of matrices in blocks, against torch's singular value decomposition."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from cuvee.tensors import blas
from cuvee.tensors.blas import one_blas_thread
from cuvee.tensors.lowrank import factor_product, factor_rows, memory_of, memory_of_product, readings_of


@pytest.mark.parametrize("shape", [(40, 13), (13, 40), (1, 7), (7, 1), (16, 16)], ids=str)
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_blocks_of_rows_make_no_difference(shape: tuple[int, int], rows: int) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    found = factor_rows(lambda i, j: matrix[i:j], shape, rank=4, block_bytes=8 * shape[1] * rows)
    u, s, vt = torch.linalg.svd(torch.from_numpy(matrix), full_matrices=False)
    best = ((u[:, :4] * s[:4]) @ vt[:4]).numpy()
    np.testing.assert_allclose(found.left.astype(float) @ found.right, best, atol=1e-5)
    assert found.norm == pytest.approx(float(s.norm()))
    assert found.error == pytest.approx(float(s[4:].norm() / s.norm()), rel=1e-5, abs=1e-6)


def test_a_product_is_cut_to_the_best_of_its_rank() -> None:
    generator = np.random.default_rng(1)
    left, right = generator.standard_normal((50, 6)), generator.standard_normal((6, 3))
    found = factor_product(left, right, rank=2)
    u, s, vt = torch.linalg.svd(torch.from_numpy(left @ right), full_matrices=False)
    np.testing.assert_allclose(found.left.astype(float) @ found.right, (u[:, :2] * s[:2] @ vt[:2]).numpy(), atol=1e-5)
    assert found.error == pytest.approx(float(s[2] / s.norm()))
    assert factor_product(left, right, error=0.0).left.shape == (50, 3)


def test_a_matrix_of_zeros_has_factors_of_zeros() -> None:
    found = factor_rows(lambda i, j: np.zeros((j - i, 3)), (5, 3), error=0.1)
    assert (found.left.shape, found.norm, found.error) == ((5, 1), 0.0, 0.0)
    assert not np.any(found.left @ found.right)


def peak_of(work: Callable[[], object]) -> int:
    """Return the bytes that numpy's arrays take at most; what LAPACK takes besides is not seen."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(900, 300), (300, 900), (500, 500)], ids=str)
@pytest.mark.parametrize("rank", [5, 300])
@pytest.mark.parametrize("block_bytes", [1 << 18, 1 << 25])
def test_matrices_take_no_more_memory_than_is_said(shape: tuple[int, int], rank: int, block_bytes: int) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape)
    with one_blas_thread():
        found = peak_of(lambda: factor_rows(lambda i, j: matrix[i:j].copy(), shape, rank=rank, block_bytes=block_bytes))
    said = memory_of(shape, rank, 1, block_bytes)
    solver = 2 * 8 * min(shape) ** 2  # its own work, which is not seen
    assert found <= said <= 2 * (found + solver)


@pytest.mark.parametrize(("rows", "width", "rank"), [(3000, 2000, 48), (2000, 100, 90)])
def test_products_take_no_more_memory_than_is_said(rows: int, width: int, rank: int) -> None:
    generator = np.random.default_rng(0)

    def cut() -> None:
        left, right = generator.standard_normal((rows, rank)), generator.standard_normal((rank, width))
        factor_product(left, right, rank=rank - 1)

    assert peak_of(cut) <= memory_of_product(rows, width, rank) <= 3 * peak_of(cut)


@pytest.mark.parametrize("shape", [(40, 13), (13, 40), (16, 16), (7, 1)], ids=str)
@pytest.mark.parametrize("rows", [1, 5, 100])
def test_a_matrix_is_read_as_often_as_is_said(shape: tuple[int, int], rows: int) -> None:
    matrix, read = np.random.default_rng(0).standard_normal(shape), []

    def counted(first: int, last: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        read.append(last - first)
        return matrix[first:last]

    block_bytes = 8 * shape[1] * rows
    factor_rows(counted, shape, rank=2, block_bytes=block_bytes)
    assert sum(read) / shape[0] == pytest.approx(readings_of(shape, block_bytes), rel=0.3)


def test_inside_the_block_numpy_uses_one_thread_and_afterwards_as_many_as_before() -> None:
    get, put = blas._functions()
    before = get()
    put(2)
    try:
        several = get()  # 1 where numpy has no OpenBLAS
        with one_blas_thread():
            with one_blas_thread():
                assert get() == 1
            assert get() == 1
        assert get() == several
    finally:
        put(before)


def test_where_numpy_has_another_library_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas.ctypes, "CDLL", lambda _: object())
    get, put = blas._functions.__wrapped__()
    put(7)
    assert get() == 1

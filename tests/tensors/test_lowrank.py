"""Factors of products and of matrices in blocks, against torch's singular value decomposition."""

import numpy as np
import pytest
import torch

from cuvee.tensors.lowrank import factor_product, factor_rows


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

"""Matrices of low rank: the best factors of a product or of a matrix that is read a block of rows at a time.

The best approximation of some rank, by the sum of squared differences, keeps the largest singular values (Eckart and
Young, 1936). All is computed in float64 and rounded to float32 at the end. Knows no adapter and no file.

A product of thin factors is never formed: with QR decompositions left = Q1 R1 and right.T = Q2 R2, its singular values
are those of R1 R2.T, which is as small as the rank. A matrix is read in blocks of rows: its Gram matrix over the
shorter axis gives the singular vectors of that axis, and a projection the others. Singular values below 1e-8 of the
largest drown in the rounding of a Gram matrix; they decide nothing but the last digits of very small errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "BLOCK_BYTES",
    "LowRankFactors",
    "factor_product",
    "factor_rows",
    "memory_of",
    "memory_of_product",
    "readings_of",
]

BLOCK_BYTES = 1 << 25
"""Bytes of a block of rows in float64."""
SMALLEST = 1e-10  # of the largest singular value: what a factor is divided by at least


@dataclass(frozen=True, slots=True)
class LowRankFactors:
    """Two factors and what their product lacks.

    Attributes:
        left: (rows, rank) float32.
        right: (rank, width) float32.
        norm: Frobenius norm of the matrix.
        error: Frobenius norm of matrix minus product, relative to `norm`; 0 where that is 0.
    """

    left: NDArray[np.float32]
    right: NDArray[np.float32]
    norm: float
    error: float


def factor_product(
    left: Floats, right: Floats, *, rank: int | None = None, error: float | None = None
) -> LowRankFactors:
    """Return the best factors of some rank of a product. Takes the memory of `memory_of_product`.

    Args:
        left: (rows, r), finite.
        right: (r, width), finite.
        rank: terms to keep; fewer where the matrix has no more.
        error: largest relative error, where no rank is given: the fewest terms with which it holds, at least one.

    Returns:
        The factors; the error is that of the dropped singular values.
    """
    q1, r1 = np.linalg.qr(left)
    q2, r2 = np.linalg.qr(right.T)
    u, values, vt = np.linalg.svd(r1 @ r2.T, full_matrices=False)
    squares = values**2
    kept = _kept(squares, rank, error)
    total = float(squares.sum())
    roots = np.sqrt(values[:kept])
    return LowRankFactors(
        ((q1 @ u[:, :kept]) * roots).astype(np.float32),
        (roots[:, None] * (vt[:kept] @ q2.T)).astype(np.float32),
        total**0.5,
        (float(squares[kept:].sum()) / total) ** 0.5 if total else 0.0,
    )


def factor_rows(
    read: Callable[[int, int], Floats],
    shape: tuple[int, int],
    *,
    rank: int | None = None,
    error: float | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> LowRankFactors:
    """Return the best factors of some rank of a matrix that is read in blocks of rows.

    Takes the memory of `memory_of`. Blocks are read three times; where rows are wider than the matrix is tall, half as
    many times as there are blocks, and two more.

    Args:
        read: rows from the first to before the second number, (that many, width), finite; gives the same each time.
        shape: (rows, width) of the matrix.
        rank: terms to keep; fewer where the matrix has no more.
        error: largest relative error, where no rank is given: the fewest terms with which it holds, at least one.
        block_bytes: bytes of a block, at most, unless one row is larger.

    Returns:
        The factors; the error is measured on them, as they are rounded to float32.
    """
    rows, width = shape
    step = _block_of(shape, block_bytes) // (8 * max(width, 1))
    spans = [(first, min(first + step, rows)) for first in range(0, rows, step)]
    tall = rows >= width
    squares, vectors = _spectrum(_gram_of_columns(read, spans, width) if tall else _gram_of_rows(read, spans, rows))
    kept = _kept(squares, rank, error)
    scales = np.sqrt(np.sqrt(np.maximum(squares[:kept], squares[0] * SMALLEST**2)))
    scales[scales == 0] = 1.0  # the whole matrix is zero
    vectors = vectors[:, :kept]
    if tall:
        right = (vectors * scales).T.astype(np.float32)
        left = np.empty((rows, kept), np.float32)
        for first, last in spans:
            left[first:last] = (read(first, last) @ vectors) / scales
    else:
        left = (vectors * scales).astype(np.float32)
        sums = np.zeros((kept, width))
        for first, last in spans:
            sums += vectors[first:last].T @ read(first, last)
        right = (sums / scales[:, None]).astype(np.float32)
    norm, missing = _measured(read, spans, left, right)
    return LowRankFactors(left, right, norm, missing / norm if norm else 0.0)


def memory_of(shape: tuple[int, int], rank: int, reading: int = 1, block_bytes: int = BLOCK_BYTES) -> int:
    """Return the bytes that `factor_rows` takes at most, its result included.

    While the Gram matrix grows, a block is added to it. Then the solver holds it four times over. Afterwards there are
    its vectors, the factors with what they are made of, and blocks of matrix and product.

    Args:
        shape: (rows, width) of the matrix.
        rank: of the result, at most.
        reading: blocks' memory that reading a block takes, that block included.
        block_bytes: bytes of a block, at most, unless one row is larger.
    """
    rows, width = shape
    short, block = min(shape), _block_of(shape, block_bytes)
    factors = 20 * width * rank + 4 * rows * rank if rows >= width else 12 * rows * rank + 32 * width * rank
    return max(
        2 * 8 * short**2 + (1 + reading) * block,
        4 * 8 * short**2,
        8 * short**2 + factors + max(2 + reading, 4) * block,
    )


def memory_of_product(rows: int, width: int, rank: int) -> int:
    """Return the bytes that `factor_product` takes at most, its arguments (in float64) and result included."""
    return 40 * (rows + width) * rank + 64 * rank**2


def readings_of(shape: tuple[int, int], block_bytes: int = BLOCK_BYTES) -> float:
    """Return how many times over `factor_rows` reads a matrix."""
    blocks = -(-8 * shape[0] * shape[1] // _block_of(shape, block_bytes)) if shape[0] * shape[1] else 0
    return 3.0 if shape[0] >= shape[1] else 2 + (blocks + 1) / 2


def _block_of(shape: tuple[int, int], block_bytes: int) -> int:
    """Return the bytes of a block: whole rows, one at least, and no more than there are."""
    row = 8 * max(shape[1], 1)
    return row * min(max(block_bytes // row, 1), max(shape[0], 1))


def _kept(squares: Floats, rank: int | None, error: float | None) -> int:
    """Return how many terms are kept, given squared singular values from the largest down."""
    most = len(squares)
    if rank is not None:
        return min(rank, most)
    dropped = np.concatenate([np.cumsum(squares[::-1])[::-1], [0.0]])  # where so many are kept
    allowed = (error or 0.0) ** 2 * dropped[0]
    return max(int(np.argmax(dropped <= allowed)), 1)


def _gram_of_columns(read: Callable[[int, int], Floats], spans: list[tuple[int, int]], width: int) -> Floats:
    gram = np.zeros((width, width))
    for first, last in spans:
        block = read(first, last)
        gram += block.T @ block
    return gram


def _gram_of_rows(read: Callable[[int, int], Floats], spans: list[tuple[int, int]], rows: int) -> Floats:
    gram = np.zeros((rows, rows))
    for i, (first, last) in enumerate(spans):
        block = read(first, last)
        gram[first:last, first:last] = block @ block.T
        for begin, end in spans[:i]:
            part = block @ read(begin, end).T
            gram[first:last, begin:end], gram[begin:end, first:last] = part, part.T
    return gram


def _spectrum(gram: Floats) -> tuple[Floats, Floats]:
    """Return squared singular values from the largest down, none negative, and their vectors as columns."""
    values, vectors = np.linalg.eigh(gram)
    return np.maximum(values[::-1], 0.0), vectors[:, ::-1]


def _measured(
    read: Callable[[int, int], Floats],
    spans: list[tuple[int, int]],
    left: NDArray[np.float32],
    right: NDArray[np.float32],
) -> tuple[float, float]:
    """Return the norms of a matrix and of what a product of factors lacks of it."""
    whole = missing = 0.0
    wide = right.astype(np.float64)
    for block, product in _pairs(read, spans, left, wide):
        whole += float(np.sum(block * block))
        missing += float(np.sum((block - product) ** 2))
    return whole**0.5, missing**0.5


def _pairs(
    read: Callable[[int, int], Floats], spans: list[tuple[int, int]], left: NDArray[np.float32], right: Floats
) -> Iterator[tuple[Floats, Floats]]:
    """Yield blocks of a matrix and of a product."""
    for first, last in spans:
        yield read(first, last), left[first:last].astype(np.float64) @ right

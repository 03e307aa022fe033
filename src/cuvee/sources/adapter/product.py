"""The product of two factors, a band of rows at a time, with the same bits whoever asks for which part.

Tiles have one size, which the rank and the width of the product alone decide; those at the edges are filled up with
zeros. A tile is always computed as a whole, in float64, by one call that is too small for a BLAS to share out among
threads. So an element's bits depend on nothing but the factors::

            ┌──── right (rank, width) ────┐
            │   tile   │   tile   │  til00│
            └─────────────────────────────┘
    left  ▒ ┌──────────┬──────────┬───────┐
   (rows, ▒ │          │          │       │ ◀ a band
    rank) ▒ ├──────────┼──────────┼───────┤
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TILE_STEP", "Product", "band_of"]

# OpenBLAS uses one thread for up to 2^18 multiplications, and others do where a tile is as small.
MULTIPLICATIONS = 1 << 18
MOST_TERMS = 1 << 10  # of a sum within one call; longer ones are summed piece by piece
BAND = 32
NARROW_BAND = 4  # of products so wide that a band of BAND rows would take much memory
WIDE = 1 << 17  # elements of a band, where it can be
TILE_STEP = 16


class Product:
    """A stack of products ``left[i] @ right[i]``.

    Takes the memory of the right factor in float64.

    Args:
        left: (batch, rows, rank), any strides, not changed.
        right: (batch, rank, width), any strides, not changed.
    """

    def __init__(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        self._left = left
        self._rows, self._band = left.shape[1], band_of(right.shape[2])
        self._tile = _tile_of(right.shape[2], right.shape[1], self._band)
        self._tiles = _tiles(right, self._tile)

    def of_band(self, batch: int, band: int, first: int, last: int, scaling: float) -> NDArray[np.float64]:
        """Return a part of a band, scaled. It lies in memory of the thread's own, which the next call uses again.

        Args:
            batch: which product.
            band: which band.
            first: first column.
            last: end of the columns.
            scaling: what it is multiplied by.

        Returns:
            (rows of the band, last - first); the last band has fewer rows.
        """
        start, width = band * self._band, self._tile
        part = self._left[batch, start : start + self._band]
        left = _scratch.get("left", self._band, part.shape[1])
        left[len(part) :] = 0
        np.multiply(part, scaling, out=left[: len(part)], dtype=np.float64)
        tiles = range(first // width, -(-last // width))
        band_of_tiles = _scratch.get("band", self._band, len(tiles) * width)
        for i, tile in enumerate(tiles):
            _multiply(left, self._tiles[batch, tile], band_of_tiles[:, i * width : (i + 1) * width])
        begin = first - tiles.start * width
        return band_of_tiles[: len(part), begin : begin + last - first]


class _Scratch(threading.local):
    """Memory of one thread, used again and again: to get it anew costs more than a product."""

    def __init__(self) -> None:
        self._held: dict[str, NDArray[np.float64]] = {}

    def get(self, use: str, rows: int, columns: int) -> NDArray[np.float64]:
        """Return a matrix; what it held before is lost."""
        held = self._held.get(use)
        if held is None or held.size < rows * columns:
            held = self._held[use] = np.empty(rows * columns)
        return held[: rows * columns].reshape(rows, columns)


_scratch = _Scratch()


def _multiply(left: NDArray[np.float64], tile: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Multiply a band's rows by a tile; sums of many terms are made piece by piece."""
    if left.shape[1] <= MOST_TERMS:
        np.matmul(left, tile, out=out)
        return
    out[:] = 0
    for begin in range(0, left.shape[1], MOST_TERMS):
        terms = slice(begin, begin + MOST_TERMS)
        out += np.matmul(np.ascontiguousarray(left[:, terms]), tile[terms])


def _tiles(right: NDArray[np.float32], width: int) -> NDArray[np.float64]:
    """Return tiles of the right factor, (batch, tiles, rank, width of a tile), filled up with zeros."""
    batches, rank, columns = right.shape
    tiles = np.zeros((batches, -(-columns // width), rank, width))
    for i in range(tiles.shape[1]):
        part = right[:, :, i * width : (i + 1) * width]
        tiles[:, i, :, : part.shape[2]] = part
    return tiles


def _tile_of(width: int, rank: int, band: int) -> int:
    """Return the columns of a tile."""
    columns = MULTIPLICATIONS // (band * min(rank, MOST_TERMS)) // TILE_STEP * TILE_STEP
    return max(min(columns, -(-width // TILE_STEP) * TILE_STEP), TILE_STEP)


def band_of(width: int) -> int:
    """Return the rows of a band of a product of some width."""
    return max(min(BAND, WIDE // max(width, 1)), NARROW_BAND)

"""The product of two factors, a band of rows at a time, with the same bits whoever asks for which part.

Tiles have one size, which the rank and the width of the product alone decide; those at the edges are filled up with
zeros. A tile is always computed as a whole, in float64, by one call that is too small for a BLAS to share out among
threads. So an element's bits depend on nothing but the factors::

            ┌──── right (rank, width) ────┐
            │   tile   │   tile   │  til00│
            └─────────────────────────────┘
    left  ▒ ┌──────────┬──────────┬───────┐
   (rows, ▒ │   tile   │   tile   │  tile │ ◀ a band: `band` rows
    rank) ▒ ├──────────┼──────────┼───────┤
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Product"]

# OpenBLAS uses one thread for up to 2^18 multiplications, and others do where a tile is as small.
MULTIPLICATIONS = 1 << 18
MOST_TERMS = 1 << 10  # of a sum within one call; longer ones are summed piece by piece
BAND = 16
NARROW_BAND = 4  # of products so wide that a band of BAND rows would take much memory
WIDE = 1 << 17  # elements of a band, where it can be
TILE_STEP = 16


class Product:
    """A stack of products ``left[i] @ right[i]``.

    Args:
        left: (batch, rows, rank), any strides, not changed.
        right: (batch, rank, width), any strides, not changed.

    Attributes:
        band: rows of a band.
    """

    def __init__(self, left: NDArray[np.float32], right: NDArray[np.float32]) -> None:
        self._left, self._right = left, right
        self.rows, self.width = left.shape[1], right.shape[2]
        self.band = band_of(self.width)

    def of_band(self, batch: int, band: int, first: int, last: int) -> NDArray[np.float64]:
        """Return columns `first` to `last` of a band, (its rows, columns), of which the last band has fewer."""
        start = band * self.band
        rows = min(self.band, self.rows - start)
        width, rank = self._tile, self._left.shape[2]
        tiles = range(first // width, -(-last // width))
        total = np.zeros((len(tiles), self.band, width))
        for begin in range(0, rank, MOST_TERMS):
            end = min(begin + MOST_TERMS, rank)
            left = np.zeros((self.band, end - begin))
            left[:rows] = self._left[batch, start : start + rows, begin:end]
            total += np.matmul(left, self._tiles(batch, begin, end, tiles))
        offset = tiles.start * width
        return total.transpose(1, 0, 2).reshape(self.band, -1)[:rows, first - offset : last - offset]

    def _tiles(self, batch: int, begin: int, end: int, tiles: range) -> NDArray[np.float64]:
        """Return tiles of the right factor, (tiles, terms, width of a tile), filled up with zeros."""
        width = self._tile
        flat = np.zeros((end - begin, len(tiles) * width))
        part = self._right[batch, begin:end, tiles.start * width : tiles.stop * width]
        flat[:, : part.shape[1]] = part
        return np.ascontiguousarray(flat.reshape(end - begin, len(tiles), width).transpose(1, 0, 2))

    @cached_property
    def _tile(self) -> int:
        """Columns of a tile."""
        terms = min(self._left.shape[2], MOST_TERMS)
        columns = MULTIPLICATIONS // (self.band * terms) // TILE_STEP * TILE_STEP
        most = -(-self.width // TILE_STEP) * TILE_STEP
        return int(max(min(columns, most), TILE_STEP))


def band_of(width: int) -> int:
    """Return the rows of a band of a product of some width."""
    return max(min(BAND, WIDE // max(width, 1)), NARROW_BAND)

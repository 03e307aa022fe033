"""Which elements stand for a whole domain when a method asks for a sample."""

from collections.abc import Iterator, Sequence
from math import isqrt

from cuvee.plan.rows import Row
from cuvee.tensors.passes import PIECE

__all__ = ["num_pieces", "pieces"]

MOST = 256  # pieces


def num_pieces(size: int) -> int:
    """Return how many pieces stand for a domain: their number grows with the square root of its size.

    A domain of 11 million elements gives 17 pieces, one of a billion 164, one of three billion or more 256.
    """
    return min(max(isqrt(size // PIECE) // 3, 4), MOST)


def pieces(rows: Sequence[Row]) -> Iterator[tuple[Row, int, int]]:
    """Spread pieces evenly over the rows of a domain.

    Args:
        rows: the domain, in order.

    Returns:
        Row, first element within it, and number of elements; depends on the rows' sizes alone.
    """
    size = sum(row.size for row in rows)
    count = num_pieces(size)
    begin = 0
    places = iter([(2 * k + 1) * size // (2 * count) for k in range(count)])
    place = next(places, size)
    for row in rows:
        while place < begin + row.size:
            start = place - begin
            yield row, start, min(PIECE, row.size - start)
            place = next(places, size)
        begin += row.size

"""Tensors of zeros that are nowhere stored: a base on which an adapter is its own task vector. Knows no adapter."""

from cuvee.sources.named import NamedTensors
from cuvee.spec import Header

__all__ = ["Zeros"]


class Zeros(NamedTensors):
    """Named tensors whose every byte is zero.

    Args:
        header: their specifications.
        reference: what to call them in messages.
    """

    def __init__(self, header: Header, reference: str) -> None:
        super().__init__(reference=reference, header=header)

    def cost(self, name: str) -> int:  # noqa: ARG002 - all are alike
        """Return zero: nothing is read."""
        return 0

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:  # noqa: ARG002 - the same
        """Fill `buffer` with zeros."""
        view = buffer.cast("B")
        view[:] = bytes(view.nbytes)

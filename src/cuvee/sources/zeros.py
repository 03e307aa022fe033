"""Tensors of zeros that are nowhere stored: a base on which an adapter is its own task vector. Knows no adapter."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from cuvee.spec import File, Header

__all__ = ["Zeros"]


class Zeros:
    """Named tensors whose every byte is zero.

    Args:
        header: their specifications.
        reference: what to call them in messages.
    """

    def __init__(self, header: Header, reference: str) -> None:
        self._header, self._reference = header, reference

    @property
    def reference(self) -> str:
        """What to call them in messages."""
        return self._reference

    @property
    def header(self) -> Header:
        """Every tensor's specification."""
        return self._header

    @property
    def shared(self) -> Sequence[Sequence[str]]:
        """Nothing."""
        return ()

    @property
    def config(self) -> Mapping[str, object]:
        """Empty."""
        return {}

    @property
    def sidecars(self) -> Mapping[str, File]:
        """Empty."""
        return {}

    @property
    def paths(self) -> Sequence[Path]:
        """Empty."""
        return ()

    @property
    def identity(self) -> str:
        """Empty: there is no file."""
        return ""

    @property
    def location(self) -> str:
        """Empty: there is no file."""
        return ""

    @property
    def memory(self) -> int:
        """Nothing."""
        return 0

    @property
    def preparation(self) -> int:
        """Nothing."""
        return 0

    def cost(self, name: str) -> int:  # noqa: ARG002 - all are alike
        """Return zero: nothing is read."""
        return 0

    def locate(self, name: str) -> str:  # noqa: ARG002 - the same
        """Return what they are called."""
        return self._reference

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:  # noqa: ARG002 - the same
        """Fill `buffer` with zeros."""
        view = buffer.cast("B")
        view[:] = bytes(view.nbytes)

    def check_unchanged(self) -> None:
        """Do nothing: zeros stay."""

    def close(self) -> None:
        """Do nothing: there is no file."""

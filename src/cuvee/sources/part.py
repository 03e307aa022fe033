"""Some tensors of a source, as a source. Knows nothing of why they were chosen."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from cuvee.spec import File, Header, Location, Source

__all__ = ["Part"]


class Part:
    """Some of the tensors of a source, which is closed by whoever opened it.

    Args:
        whole: the source.
        names: of the tensors; those that it lacks are left out.
    """

    def __init__(self, whole: Source, names: Collection[str]) -> None:
        self._whole = whole
        self._header = {name: spec for name, spec in whole.header.items() if name in names}

    @property
    def reference(self) -> str:
        """The source's."""
        return self._whole.reference

    @property
    def header(self) -> Header:
        """The chosen tensors, in the source's order."""
        return self._header

    @property
    def shared(self) -> Sequence[Sequence[str]]:
        """Nothing: each is read under its own name."""
        return ()

    @property
    def config(self) -> Mapping[str, object]:
        """Empty: a configuration is of a whole model."""
        return {}

    @property
    def sidecars(self) -> Mapping[str, File]:
        """Empty, for the same reason."""
        return {}

    @property
    def paths(self) -> Sequence[Path]:
        """The source's."""
        return self._whole.paths

    @property
    def identity(self) -> str:
        """Empty: a part is not kept by name."""
        return ""

    @property
    def location(self) -> Location:
        """Empty: nothing opens a part."""
        return ""

    @property
    def memory(self) -> int:
        """The source's."""
        return self._whole.memory

    @property
    def preparation(self) -> int:
        """The source's."""
        return self._whole.preparation

    def cost(self, name: str) -> int:
        """Return what the source says."""
        return self._whole.cost(name)

    def locate(self, name: str) -> str:
        """Return what the source says."""
        return self._whole.locate(name)

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Read from the source. See `cuvee.spec.Source.read_into`."""
        self._whole.read_into(buffer, name, offset)

    def check_unchanged(self) -> None:
        """Ask the source."""
        self._whole.check_unchanged()

    def close(self) -> None:
        """Do nothing: the source belongs to whoever opened it."""

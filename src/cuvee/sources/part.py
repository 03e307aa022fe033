"""Some tensors of a source, as a source. Knows nothing of why they were chosen."""

from collections.abc import Collection

from cuvee.sources.named import NamedTensors
from cuvee.spec import Source

__all__ = ["Part"]


class Part(NamedTensors):
    """Some of the tensors of a source, which is closed by whoever opened it.

    It has no configuration, which is of a whole model, and nothing opens it or keeps it by name.

    Args:
        whole: the source.
        names: of the tensors; those that it lacks are left out.
    """

    def __init__(self, whole: Source, names: Collection[str]) -> None:
        self._whole = whole
        super().__init__(
            reference=whole.reference,
            header={name: spec for name, spec in whole.header.items() if name in names},
            paths=whole.paths,
            memory=whole.memory,
            preparation=whole.preparation,
        )

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

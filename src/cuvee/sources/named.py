"""What every source says of itself, held in one place. Knows no file and no format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.errors import SourceError, nearest
from cuvee.sources.strict_json import shown
from cuvee.spec import File, Header, Location, TensorSpec

__all__ = ["NamedTensors"]


@dataclass(eq=False, repr=False, kw_only=True)
class NamedTensors:
    """Tensors by name, and what else their source says of itself; a class that reads them makes it a Source.

    Attributes are those of `cuvee.spec.Source`. What is not given is nothing, as of tensors that lie in no file.
    """

    reference: str
    header: Header
    shared: Sequence[Sequence[str]] = ()
    config: Mapping[str, object] = field(default_factory=dict)
    sidecars: Mapping[str, File] = field(default_factory=dict)
    paths: Sequence[Path] = ()
    identity: str = ""
    location: Location = ""
    memory: int = 0
    preparation: int = 0

    def cost(self, name: str) -> int:
        """Return the tensor's bytes.

        Raises:
            SourceError: there is no such tensor.
        """
        return self._spec(name).nbytes

    def locate(self, name: str) -> str:
        """Return what the user called the source.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        return self.reference

    def check_unchanged(self) -> None:
        """Do nothing: there is no file that could change."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def _spec(self, name: str) -> TensorSpec:
        """Return a tensor's specification, or say that there is no such tensor."""
        try:
            return self.header[name]
        except KeyError:
            raise SourceError(f"{self.reference} has no tensor {shown(name)}.{nearest(name, self.header)}") from None

    def _end(self, name: str, offset: int, buffer: memoryview) -> int:
        """Return the end of the bytes of a tensor that are to fill `buffer`, or refuse those that lie outside it."""
        end, total = offset + buffer.nbytes, self._spec(name).nbytes
        if offset < 0 or end > total:
            raise SourceError(
                f"{self.locate(name)}: tensor {shown(name)} has {total:,} bytes; bytes {offset:,} to {end:,} were "
                "asked for."
            )
        return end

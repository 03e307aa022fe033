"""A source whose experts, stored one by one, are read as packed tensors. Knows no architecture."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from cuvee.sources.named import NamedTensors
from cuvee.spec import Fetching, Header, Source, folders_of

__all__ = ["PackedExperts"]


class PackedExperts(NamedTensors):
    """A source of which some tensors are others of a source, one after the other. Everything else is read through.

    Args:
        ground: the source; closed by whoever opened it.
        header: the tensors.
        parts: for each tensor whose name the ground does not know, the ground's tensors that it is made of, equal in
            shape and type.

    Attributes:
        ground: the source.
        changed: names of the tensors that have parts.
        folders: the ground's.
        shared: the ground's groups, without parts of tensors that have several.
    """

    def __init__(self, ground: Source, header: Header, parts: Mapping[str, Sequence[str]]) -> None:
        names = {own[0]: name for name, own in parts.items() if len(own) == 1}
        groups = [[names.get(name, name) for name in group] for group in ground.shared]
        super().__init__(
            reference=ground.reference,
            header=header,
            shared=[[name for name in group if name in header] for group in groups],
            config=ground.config,
            sidecars=ground.sidecars,
            paths=ground.paths,
            identity=f"{ground.identity}\nexperts packed" if ground.identity else "",
            location=ground.location,
            memory=ground.memory,
            preparation=ground.preparation,
        )
        self.ground: Source = ground
        self.changed: Collection[str] = parts.keys()
        self.folders = folders_of(ground)
        self._parts = parts

    def made_of(self, name: str) -> Sequence[tuple[Source, str]]:
        """Return the parts of a tensor, or itself if it has none, of the ground.

        Raises:
            SourceError: there is no such tensor.
        """
        return [(self.ground, part) for part in self._parts_of(name)]

    def _parts_of(self, name: str) -> Sequence[str]:
        self._spec(name)
        return self._parts.get(name, (name,))

    def cost(self, name: str) -> int:
        """Return what the ground says of the parts.

        Raises:
            SourceError: there is no such tensor.
        """
        return sum(map(self.ground.cost, self._parts_of(name)))

    def locate(self, name: str) -> str:
        """Return where the ground stores the first part.

        Raises:
            SourceError: there is no such tensor.
        """
        return self.ground.locate(self._parts_of(name)[0])

    def fetch(self, names: Iterable[str]) -> None:
        """Have the parts at hand, if the ground is one that fetches.

        Raises:
            SourceError: they cannot be had.
        """
        if isinstance(self.ground, Fetching):
            self.ground.fetch([part for name in names for part in self._parts_of(name)])

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or a file cannot be read.
        """
        end, parts = self._end(name, offset, buffer), self._parts_of(name)
        if not buffer.nbytes:
            return
        target, size = buffer.cast("B"), self.header[name].nbytes // len(parts)
        for k in range(offset // size, -(-end // size)):
            first, last = max(k * size, offset), min((k + 1) * size, end)
            self.ground.read_into(target[first - offset : last - offset], parts[k], first - k * size)

    def check_unchanged(self) -> None:
        """Ask the ground.

        Raises:
            SourceError: a file has been changed; names it.
        """
        self.ground.check_unchanged()

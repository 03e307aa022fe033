"""A source whose tensors are rounded to another element type as they are read. Knows nothing of why."""

from collections.abc import Collection, Iterable, Sequence

from cuvee.sources.named import NamedTensors
from cuvee.spec import DTYPES, DType, Fetching, Source, TensorSpec, folders_of
from cuvee.tensors.framework import np
from cuvee.tensors.widen import narrowed, widened

__all__ = ["Rounded", "loses", "rounded"]

BLOCK = 1 << 20  # bytes read at a time, at most
EXACT = {  # what holds every value of a type, besides itself
    "BF16": ("F32", "F64"),
    "F16": ("F32", "F64"),
    "F32": ("F64",),
    "F8_E4M3": ("F16", "BF16", "F32", "F64"),
    "F8_E5M2": ("F16", "BF16", "F32", "F64"),
    "F8_E4M3FNUZ": ("F16", "BF16", "F32", "F64"),
    "F8_E5M2FNUZ": ("BF16", "F32", "F64"),
}


def loses(stored: DType, dtype: DType) -> bool:
    """Say whether values of a floating-point type may have to be rounded to fit another one."""
    return stored != dtype and dtype.name not in EXACT.get(stored.name, ())


class Rounded(NamedTensors):
    """A source with its floating-point tensors rounded to a type. Tensors that fit it as they are stay so.

    Args:
        whole: the source; closed by whoever opened it.
        dtype: the type.

    Attributes:
        ground: the source.
        changed: names of the tensors that are rounded.
        folders: the source's.
    """

    def __init__(self, whole: Source, dtype: DType) -> None:
        self.ground: Source = whole
        self.folders = folders_of(whole)
        self.changed: Collection[str] = {
            name for name, spec in whole.header.items() if spec.dtype.kind == "float" and loses(spec.dtype, dtype)
        }
        super().__init__(
            reference=whole.reference,
            header={
                name: TensorSpec(spec.shape, dtype) if name in self.changed else spec
                for name, spec in whole.header.items()
            },
            shared=whole.shared,
            config=whole.config,
            sidecars=whole.sidecars,
            paths=whole.paths,
            identity=f"{whole.identity}\nrounded to {dtype}" if whole.identity else "",
            location=whole.location,
            memory=whole.memory + 4 * BLOCK,
            preparation=whole.preparation,
        )

    def made_of(self, name: str) -> Sequence[tuple[Source, str]]:
        """Return the ground's tensor of that name, if it has one."""
        return [(self.ground, name)] if name in self.ground.header else []

    def cost(self, name: str) -> int:
        """Return what the source says."""
        return self.ground.cost(name)

    def locate(self, name: str) -> str:
        """Return what the source says."""
        return self.ground.locate(name)

    def fetch(self, names: Iterable[str]) -> None:
        """Ask the source, if it is one that fetches."""
        if isinstance(self.ground, Fetching):
            self.ground.fetch(names)

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Read from the source, and round. See `cuvee.spec.Source.read_into`.

        Raises:
            SourceError: see there.
        """
        if name not in self.changed:
            self.ground.read_into(buffer, name, offset)
            return
        end = self._end(name, offset, buffer)
        width, stored = self.header[name].dtype.bits // 8, self.ground.header[name].dtype
        target, done = np.frombuffer(buffer.cast("B"), np.uint8), 0
        first, last = offset // width, -(-end // width)
        skip = offset % width  # bytes of the first element that were not asked for
        step = BLOCK // (stored.bits // 8)
        for start in range(first, last, step):
            raw = np.empty((min(start + step, last) - start) * stored.bits // 8, np.uint8)
            self.ground.read_into(raw.data, name, start * stored.bits // 8)
            made = narrowed(widened(raw, stored), self.header[name].dtype)[skip:]
            part = made[: len(target) - done]
            target[done : done + len(part)] = part
            skip, done = 0, done + len(part)

    def check_unchanged(self) -> None:
        """Ask the source."""
        self.ground.check_unchanged()


def rounded(source: Source, dtype: str) -> Source:
    """Return a source whose tensors are rounded to a type, or the source itself if none of them has to be.

    Args:
        source: the source.
        dtype: safetensors name of the type.
    """
    made = Rounded(source, DTYPES[dtype])
    return made if made.header != source.header else source

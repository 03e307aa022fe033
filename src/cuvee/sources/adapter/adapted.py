"""A base with an adapter merged into it, as a Source: tensors that change are formed as they are read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, cast

from cuvee.errors import FormatError, SourceError
from cuvee.sources.adapter.binding import Altered, Bound, add, replace_rows, scale
from cuvee.sources.adapter.changes import AddProduct, Change, Magnitudes
from cuvee.sources.adapter.experts import add_to_parameters
from cuvee.sources.adapter.folder import AdapterFolder, Factors, Tokens, Vector
from cuvee.sources.adapter.ground import Ground
from cuvee.sources.adapter.lowrank import LowRank
from cuvee.sources.adapter.product import Product
from cuvee.sources.adapter.recent import PRODUCTS, Recent
from cuvee.sources.named import NamedTensors
from cuvee.sources.reference import PLUS
from cuvee.sources.strict_json import shown
from cuvee.spec import DTYPES, Fetching, Location, Source, TensorSpec
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Adapted", "location_with"]

FLOAT = DTYPES["F32"]
WIDTH = FLOAT.bits // 8


class Adapted(NamedTensors):
    """Named tensors of a base, with an adapter merged into those that it changes.

    What changes is float32, whatever the base's type, so that nothing is rounded before it is merged with others;
    ``TensorSpec.stored`` keeps the base's type. What does not change is read through. A tensor's bytes are the same
    whichever part of it is read, and by whichever thread.

    Takes the memory of the adapter's factors as float32, once any of them is needed.

    Args:
        base: the base; closed with this source.
        folder: the adapter; closed with this source.
        reference: what the user called both.
        changes_only: leave out whole tensors that factors change besides: peft saves embeddings with their factors.

    Attributes:
        folder: the adapter by itself.
        header: the base's tensors in their order, then those that only the adapter has.
        identity: the base's, and that of the adapter's file and configuration; empty if the base has none.
        location: BASE+ADAPTER; of a merge, its recipe and the adapters; empty if the base has none.
        parts: the base.
        memory: the base's, what reading the adapter takes, the factors, and some bands of a product.

    Raises:
        SourceError: the adapter does not fit the base.
        FormatError: it is malformed.
        UnsupportedError: it is of a kind that is not read; says what to do.
    """

    def __init__(self, base: Source, folder: AdapterFolder, reference: str, *, changes_only: bool = False) -> None:
        self._base = base
        self.parts = (base,)
        self.folder = folder
        try:
            bound = _bind(base, self.folder)
        except SourceError:
            self.folder.close()
            raise
        whole = {
            name: each.whole
            for name, each in bound.altered.items()
            if each.whole is not None and not (changes_only and each.change is not None)
        }
        self._ground = Ground(base, self.folder, whole | bound.added)
        self._products = Recent()
        self._altered = bound.altered
        self._changes = {name: self._change(name, each) for name, each in bound.altered.items()}
        self._uses: dict[str, int] = defaultdict(int)
        for each in bound.altered.values():
            for factor in each.factors:
                self._uses[factor] += 1
        header = {name: self._formed(name) for name in base.header}
        super().__init__(
            reference=reference,
            header=header | {name: self._ground.spec(name) for name in bound.added},
            shared=(*base.shared, *bound.shared),
            config=base.config,
            sidecars=base.sidecars,
            paths=[*base.paths, *self.folder.paths],
            identity=f"{base.identity}\n+ {self.folder.identity}" if base.identity and self.folder.identity else "",
            location=location_with(base, folder.location),
            memory=base.memory + folder.memory + self._own_memory(),
            preparation=base.preparation,
        )

    def fetch(self, names: Iterable[str]) -> None:
        """Have the adapter at hand, and what holds the base's tensors.

        Raises:
            SourceError: it cannot be had.
        """
        self.folder.fetch()
        if isinstance(self._base, Fetching):
            self._base.fetch(name for name in names if name in self._base.header)

    def cost(self, name: str) -> int:
        """Return the bytes that reading the tensor takes; factors that several tensors use are shared out.

        DoRA reads the base's tensor once more, for its norms.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        change = self._changes.get(name)
        if change is None:
            return self._ground.cost(name)
        factors = (self.folder.header[each].nbytes // self._uses[each] for each in self._altered[name].factors)
        return self._ground.cost(name) * change.readings + sum(factors)

    def locate(self, name: str) -> str:
        """Return the base's file, the adapter's, or both.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        ground = self._ground.locate(name)
        return ground if self._changes.get(name) is None else f"{ground} + {self.folder.file}"

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or a file cannot be read.
        """
        end = self._end(name, offset, buffer)
        change = self._changes.get(name)
        if change is None:
            self._ground.read_into(buffer, name, offset)
            return
        target, done = np.frombuffer(buffer.cast("B"), np.uint8), 0
        skip = offset % WIDTH  # bytes of the first element that were not asked for
        for start, stop in change.spans(offset // WIDTH, -(-end // WIDTH)):
            made = change.apply(self._ground.floats(name, start, stop), start)
            data = _rounded(made).view(np.uint8)[skip : skip + len(target) - done]
            target[done : done + len(data)] = data
            skip, done = 0, done + len(data)

    def check_unchanged(self) -> None:
        """Verify that base and adapter are what they were when their headers were read.

        Raises:
            SourceError: a file is not; names it.
        """
        self._base.check_unchanged()
        self.folder.check_unchanged()

    def close(self) -> None:
        """Close base and adapter. Reading afterwards is an error."""
        self._base.close()
        self.folder.close()
        self._products.clear()

    def _own_memory(self) -> int:
        """Return the bytes that the factors take, and some bands of a product."""
        factors = sum(WIDTH * self.folder.header[name].size for name in self._uses)
        kept = sorted((each.kept for each in self._changes.values() if isinstance(each, AddProduct)), reverse=True)
        bands = max((each.memory for each in self._changes.values() if each), default=0)
        return factors + sum(kept[:PRODUCTS]) + bands

    def _formed(self, name: str) -> TensorSpec:
        """Return the specification of a tensor of the base with the adapter."""
        spec = self._base.header[name]
        dtype = self._ground.spec(name).dtype if self._changes.get(name) is None else FLOAT
        return spec if dtype == spec.dtype else TensorSpec(spec.shape, dtype, stored=spec.stored or spec.dtype)

    def _change(self, name: str, altered: Altered) -> Change | None:
        """Return what is done to the elements of a tensor, with all that it needs to read them."""
        change = altered.change
        if not isinstance(change, LowRank):
            return change
        magnitudes = None
        if change.magnitude:
            ground, what = partial(self._ground.floats, name), f"{self.folder.reference}: {name}"
            magnitudes = Magnitudes(values=change.magnitude, axis=change.axis, ground=ground, what=what)
        product = partial(self._products.get, name, lambda: Product(change.left(), change.right()))
        return AddProduct(product, change.shape, change.scaling, change.rank, magnitudes)


def location_with(base: Source, adapter: str) -> Location:
    """Return what opens a base with one adapter more: text, if that can be read back; nothing, if nothing opens it."""
    place = base.location
    if not place:
        return ""
    model, others = place, cast("list[str]", [])
    if isinstance(place, str) and isinstance(base, Adapted):
        model, *others = place.split(PLUS)
    elif isinstance(place, Mapping) and "adapters" in place:
        model, others = cast("Location", place["model"]), cast("list[str]", place["adapters"])
    parts = [model, *others, adapter]
    if all(isinstance(part, str) and PLUS not in part for part in parts):
        return PLUS.join(cast("list[str]", parts))
    return {"model": model, "adapters": [*others, adapter]}


def _rounded(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round once; what is beyond float32 is infinite, which whoever merges refuses by name."""
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _bind(base: Source, folder: AdapterFolder) -> Bound:
    """Find out what changes."""
    bound = Bound(base, folder)
    below = {part.module for part in folder.parts if isinstance(part, Factors) and part.depth}
    nested: dict[str, list[Factors]] = defaultdict(list)
    for part in folder.parts:
        if isinstance(part, Vector):
            scale(bound, part)
        elif isinstance(part, Tokens):
            replace_rows(bound, part)
        elif part.module in below or not bound.has(f"{part.module}.weight"):
            nested[part.module].append(part)
        else:
            add(bound, part)
    for module, parts in nested.items():
        add_to_parameters(bound, module, parts)
    _share(bound, base.shared)
    return bound


def _share(bound: Bound, groups: Sequence[Sequence[str]]) -> None:
    """Let a change of one name be a change of all names of the same storage."""
    for group in groups:
        changed = [name for name in group if name in bound.altered]
        if len(changed) > 1:
            raise FormatError(
                f"{bound.folder.file} changes {' and '.join(map(shown, changed))}, which are one tensor in "
                f"{bound.base.reference}. Save the base with a tensor of its own for each (tie_word_embeddings false)."
            )
        for name in group if changed else ():
            bound.altered[name] = bound.altered[changed[0]]

"""A source with another vocabulary: tables of tokens have the rows that are asked for, in the order asked for.

Rows are put together as they are read; see `cuvee.sources.table`. Knows nothing of tokenizers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from cuvee.sources.named import NamedTensors
from cuvee.sources.table import BLOCK, Held, Table, mean_of_all, pieces, put_together
from cuvee.spec import Fetching, File, Source, folders_of
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Bytes = NDArray[np.uint8]

__all__ = ["Vocabulary"]


class Vocabulary(NamedTensors):
    """The named tensors of a source, of which some tables have other rows.

    Tables of a smaller type than those that their rows come from are widened to float32; ``TensorSpec.stored`` keeps
    their own type. Everything else is read through. Any number of threads may read at once, and a tensor's bytes are
    the same whichever part of it is read.

    Takes the memory of the arrays of row numbers, and of some blocks of rows for each thread.

    Args:
        ground: the source; it and the givers are closed by whoever opened them.
        tables: the tables that are made, by name; the ground may lack some.
        config: the configuration of the model with these tables.
        sidecars: the files that travel with it.
        content: names what `tables` say of rows.

    Attributes:
        ground: the source that it stands on.
        changed: names of the tables that are made.
        folders: the ground's.
        shared: the ground's groups: names of one table are made alike.
        identity: the ground's and the givers', with what the tables say of rows; empty if one of them has none.
        location: the ground's: the recipe says how its tables are changed.
        memory: what ground and givers take, the row numbers, and blocks of rows.
        parts: ground and givers.
        held: the arrays of row numbers.
        takes: blocks of rows: as read, as float64, and as made.
        preparation: what the ground reads beforehand, and all rows of tables whose mean is needed.
        bytes_prepared: bytes of them that have been read so far, but for the ground's.
        progress: called with bytes that were read beforehand.
    """

    def __init__(
        self,
        ground: Source,
        tables: Mapping[str, Table],
        config: Mapping[str, object],
        sidecars: Mapping[str, File],
        content: str,
    ) -> None:
        givers = {id(held.source): held.source for table in tables.values() for _, held, _ in table.held()}
        sources = [ground, *(source for source in givers.values() if source is not ground)]
        names = [source.identity for source in sources]
        held = {number: size for table in tables.values() for number, size in table.rows.sizes.items()}
        takes = _taken(tables.values())
        super().__init__(
            reference=ground.reference,
            header={**ground.header, **{name: table.spec for name, table in tables.items()}},
            shared=ground.shared,
            config=config,
            sidecars=sidecars,
            paths=list(dict.fromkeys(path for source in sources for path in source.paths)),
            identity="\n".join([*names, f"vocabulary {content}"]) if all(names) else "",
            location=ground.location,
            memory=sum(source.memory for source in sources) + sum(held.values()) + takes,
            preparation=ground.preparation + sum(table.cost for table in tables.values() if table.needs_mean),
        )
        self.ground: Source = ground
        self.changed: Collection[str] = tables.keys()
        self.folders = folders_of(ground)
        self.parts: Sequence[Source] = sources
        self.held: Mapping[int, int] = held
        self.takes = takes
        self.bytes_prepared = 0
        self.progress: Callable[[int], None] = lambda _: None
        self._tables = tables
        self._costs = {name: table.cost for name, table in tables.items()}
        self._means: dict[str, Bytes] = {}
        self._lock = threading.Lock()

    def fetch(self, names: Iterable[str]) -> None:
        """Have at hand what holds the tensors, and the rows of others that their tables take.

        Raises:
            SourceError: it cannot be had.
        """
        needed: dict[int, tuple[Source, dict[str, None]]] = {}
        for name in names:
            table = self._tables.get(name)
            taken = [held for held, _, _ in table.taken()] if table else [Held(source=self.ground, name=name)]
            for held in taken:
                needed.setdefault(id(held.source), (held.source, {}))[1][held.name] = None
        for source, own in needed.values():
            if isinstance(source, Fetching):
                source.fetch(own)

    @property
    def givers(self) -> Collection[Source]:
        """The other sources that rows of its tables are taken from."""
        taken = [held.source for table in self._tables.values() for held, _, _ in table.taken()]
        return list({id(source): source for source in taken if source is not self.ground}.values())

    def made_of(self, name: str) -> Sequence[tuple[Source, str]]:
        """Return the ground's tensor of that name, if it has one, and those that rows are taken from."""
        own = [(self.ground, name)] if name in self.ground.header else []
        table = self._tables.get(name)
        taken = [(held.source, held.name) for held, _, _ in table.taken()] if table else []
        return own + [each for each in taken if each not in own]

    def cost(self, name: str) -> int:
        """Return the bytes that are read, of the ground and of givers, when the tensor is read once.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        return self._costs[name] if name in self._costs else self.ground.cost(name)

    def locate(self, name: str) -> str:
        """Return where the ground stores the tensor, or what its own rows are taken from.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        givers = self._tables[name].held() if name in self._tables else ()
        return self.ground.locate(next((held.name for _, held, _ in givers if held.source is self.ground), name))

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or a file cannot be read.
        """
        end = self._end(name, offset, buffer)
        table = self._tables.get(name)
        if table is None:
            self.ground.read_into(buffer, name, offset)
            return
        if not buffer.nbytes:
            return
        target = np.frombuffer(buffer.cast("B"), np.uint8)
        width = table.spec.nbytes // len(table.rows.giver)
        mean = self._mean(name, table) if table.needs_mean else None
        for start, stop, run in pieces(table, offset // width, -(-end // width), width):
            first, last = max(start * width, offset), min(stop * width, end)
            part = target[first - offset : last - offset]
            if run is not None:
                held = table.givers[run]
                assert held is not None
                shift = (int(table.rows.row[start]) - start) * width
                held.source.read_into(part.data, held.name, first + shift)
            else:
                made = put_together(table, start, stop, width, mean).reshape(-1)
                part[:] = made[first - start * width : last - start * width]

    def check_unchanged(self) -> None:
        """Verify that ground and givers are what they were.

        Raises:
            SourceError: a file is not; names it.
        """
        for source in self.parts:
            source.check_unchanged()

    def _mean(self, name: str, table: Table) -> Bytes:
        """Return the mean of all rows that are none themselves, as bytes; found once."""
        with self._lock:
            if name not in self._means:
                self._means[name] = mean_of_all(table)
                self.bytes_prepared += self._costs[name]
                self.progress(self._costs[name])
            return self._means[name]


def _taken(tables: Collection[Table]) -> int:
    """Return the bytes that a thread takes to put rows of a table together."""
    widest = max((width for table in tables for _, _, width in table.held()), default=0)
    return 20 * (BLOCK + widest) if tables else 0

"""A model's tables of tokens, and how they are put together for another vocabulary. Reads headers, and no weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain

from cuvee.architectures.tied import tied_names
from cuvee.architectures.vocabulary import resized, vocabulary_tensors
from cuvee.errors import PlanError
from cuvee.sources.table import MEAN, MEAN_OF_ALL, Held, Rows, Table
from cuvee.spec import DTYPES, DType, Source, TensorSpec
from cuvee.tensors.framework import np
from cuvee.tokenizers.alignment import Alignment

__all__ = ["Model", "content_of", "models_of", "tables_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A model, and its tables that are indexed by its vocabulary.

    Attributes:
        label: the model's label.
        source: the model.
        tables: name of each table to its number of rows, all equal.
        ties: names that stand for another tensor, to that tensor.
    """

    label: str
    source: Source
    tables: Mapping[str, int]
    ties: Mapping[str, str]

    @property
    def rows(self) -> int:
        """Rows of its tables; 0 if it has none."""
        return next(iter(self.tables.values()), 0)

    def held(self, name: str, like: TensorSpec, other: str) -> Held | None:
        """Return the table that it has under a name, if its rows are as wide as those of another model's table.

        Args:
            name: the tensor; the one that it is tied to counts, too.
            like: specification of the other model's table.
            other: name of that.
        """
        own = name if name in self.tables else self.ties.get(name)
        if own is None or own not in self.tables:
            return None
        fits = resized(own, self.source.header[own], 1) == resized(other, like, 1)
        return Held(source=self.source, name=own) if fits else None


def models_of(sources: Mapping[str, Source]) -> Sequence[Model]:
    """Find the tables of every model.

    Args:
        sources: the models by label, in the order in which they count.
    """
    tables = {label: vocabulary_tensors(source.header, source.config) for label, source in sources.items()}
    names = dict.fromkeys(chain.from_iterable(tables.values()))
    return [
        Model(
            label=label,
            source=source,
            tables=tables[label],
            ties=tied_names(source.header, source.config, source.shared, names),
        )
        for label, source in sources.items()
    ]


def tables_of(
    models: Sequence[Model], index: int, alignment: Alignment, wanted: Callable[[str], bool] = lambda _: True
) -> dict[str, Table]:
    """Return the tables of one model that have to be put together anew.

    A table that the model has by a tie only, and another model by itself, becomes one of its own where it takes rows
    of that: those of a head are not those of an embedding.

    Args:
        models: all models, in the alignment's order.
        index: which of them.
        alignment: where rows come from.
        wanted: says whether a table of this name is.

    Raises:
        PlanError: the recipe gives a row of a model that has no such table.
    """
    own, tables = models[index], {}
    for name in filter(wanted, dict.fromkeys(chain(own.tables, *(model.tables for model in models)))):
        stored = name if name in own.tables else own.ties.get(name, "")
        if stored not in own.tables:
            continue
        spec = own.source.header[stored]
        givers = [model.held(name, spec, name) for model in models]
        present = [held is not None for held in givers]
        for model, held in zip(models, givers, strict=True):
            if held is None and alignment.gives(models.index(model)):
                raise PlanError(
                    f"{name}: the recipe takes rows of tokens from '{model.label}', which has no such tensor, or one "
                    f"of another width than that of '{own.label}' ({resized(name, spec, 1)[-1]}).",
                    ("tokenizer", "tokens"),
                )
        rows = alignment.rows(index, present)
        is_needed = (
            not alignment.is_identity(index, present, own.rows)
            if stored == name
            else bool(((rows.giver != index) & (rows.giver != MEAN_OF_ALL)).any())
        )
        if is_needed:
            tables[name] = Table(spec=_spec(name, spec, givers, rows), givers=givers, rows=rows)
    return tables


def _spec(name: str, own: TensorSpec, givers: Sequence[Held | None], rows: Rows) -> TensorSpec:
    """Return the specification of a table: of its own element type, if all rows are of that; else widened."""
    used = set(np.unique(rows.giver).tolist())
    is_used = [g in used or (MEAN in used and bool((rows.places[g] >= 0).any())) for g in range(len(givers))]
    types = {held.spec.dtype for held, taken in zip(givers, is_used, strict=True) if held and taken} or {own.dtype}
    shape = resized(name, own, len(rows.giver))
    if types == {own.dtype} and (not used & {MEAN, MEAN_OF_ALL} or own.dtype.bits >= 32):  # a mean is rounded once
        return TensorSpec(shape, own.dtype, own.stored)
    return TensorSpec(shape, _widest(types), own.stored or own.dtype)


def _widest(types: set[DType]) -> DType:
    """Return the type that holds what several do: float32, unless one is float64."""
    return DTYPES["F64"] if DTYPES["F64"] in types else DTYPES["F32"]


def content_of(tables: Mapping[str, Table]) -> str:
    """Name what tables say of rows: the same for the same rows, 32 hexadecimal digits."""
    digest, known = blake2b(digest_size=16), dict[int, bytes]()
    for name, table in tables.items():
        if id(table.rows) not in known:
            arrays = (table.rows.giver, table.rows.row, table.rows.places)
            known[id(table.rows)] = blake2b(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).digest()
        digest.update(repr((name, table.spec.shape, table.spec.dtype.name)).encode() + known[id(table.rows)])
        digest.update(repr([held.name if held else None for held in table.givers]).encode())
    return digest.hexdigest()

"""An adapter and the header of a base: which tensors change, and how. Every shape is verified; no weight is read.

Shapes, with r the rank, E experts, k a kernel::

    what           base                A                   B
    linear         (out, in)           (r, in)             (out, r)
    its transpose  (in, out)           (r, in)             (out, r)          GPT-2
    embedding      (rows, columns)     (r, rows)           (columns, r)
    convolution    (out, in, k...)     (r, in, k...)       (out, r, 1...)

Factors of packed experts are bound by `experts`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from cuvee.errors import FormatError, SourceError, UnsupportedError, nearest
from cuvee.sources.adapter.changes import AddVector, Change, Multiply, ReplaceRows
from cuvee.sources.adapter.configuration import MERGE_FIRST
from cuvee.sources.adapter.folder import AdapterFolder, Factors, Tokens, Vector
from cuvee.sources.adapter.lowrank import LowRank, flat, is_transposed, swapped
from cuvee.sources.adapter.matching import Matcher
from cuvee.sources.adapter.tying import HEAD, embedding_equal_to
from cuvee.sources.strict_json import shown
from cuvee.spec import Source

if TYPE_CHECKING:
    from cuvee.sources.adapter.changes import Load

__all__ = ["Altered", "Bound"]

Shape = tuple[int, ...]


@dataclass
class Altered:
    """What becomes of one tensor.

    Attributes:
        whole: the file's tensor that takes its place, or None.
        change: what is done to the elements then, or None.
        factors: the file's tensors that the change reads.
    """

    whole: str | None = None
    change: Change | LowRank | None = None
    factors: Sequence[str] = field(default_factory=tuple)


class Bound:
    """An adapter and a base, while it is found out what changes.

    Args:
        base: the base; only its header and configuration are looked at.
        folder: the adapter.

    Attributes:
        altered: by the base's names, what changes.
        added: tensors that the base lacks, to the file's names for them.
        shared: names of tensors that are equal: an embedding of the base, and a head that was added.

    Raises:
        SourceError: a whole tensor of the adapter does not fit the base.
    """

    def __init__(self, base: Source, folder: AdapterFolder) -> None:
        self.base, self.folder = base, folder
        self.altered: dict[str, Altered] = defaultdict(Altered)
        self.added: dict[str, str] = {}
        self.shared: list[tuple[str, str]] = []
        self._matcher = Matcher(base.header, base.reference)
        for name, stored in folder.whole.items():
            self._replace(name, stored)

    def has(self, name: str) -> bool:
        """Say whether the base has a tensor that the adapter calls `name`."""
        return self._matcher.find(name) is not None

    def find(self, name: str) -> str:
        """Return the base's name for a tensor that the adapter changes.

        Raises:
            SourceError: it has none.
            UnsupportedError: it is no floating-point tensor.
        """
        found = self._matcher.find(name)
        if found is None:
            raise self._lacking(name)
        dtype = self.base.header[found].dtype
        if dtype.kind != "float":
            raise UnsupportedError(
                f"{self.base.locate(found)}: tensor {shown(found)} is stored as {dtype}; adapters are added to "
                "floating-point weights only. Name a base that is not quantised."
            )
        return found

    def _lacking(self, name: str) -> SourceError:
        """Return the error for a tensor that the base lacks."""
        start = f"{self.folder.file} changes {shown(name)}, which {self.base.reference} lacks"
        if name.split(".")[-2:-1] == [HEAD] and self.base.config.get("tie_word_embeddings") is not False:
            return SourceError(
                f"{start}: its head is its embedding. Save the base with a head of its own (tie_word_embeddings "
                "false), or merge the adapter with peft."
            )
        made = self.folder.configuration.base
        made_for = f" The adapter says that it was made for {shown(made)}." if made else ""
        return SourceError(
            f"{start}.{nearest(name, self.base.header)} Name the base that the adapter was trained on.{made_for}"
        )

    def shape(self, stored: str) -> Shape:
        """Return the shape of one of the file's tensors."""
        return self.folder.header[stored].shape

    def load(self, stored: str) -> Load:
        """Return what loads one of the file's tensors."""
        return partial(self.folder.floats, stored)

    def misfit(self, stored: str, name: str, expected: str) -> FormatError:
        """Return the error for a tensor of the file whose shape does not fit.

        Args:
            stored: the file's tensor.
            name: the base's tensor.
            expected: what would fit.
        """
        return FormatError(
            f"{self.folder.file}: tensor {shown(stored)} has shape {self.shape(stored)}; for {shown(name)} of shape "
            f"{self.base.header[name].shape} in {self.base.reference}, expected {expected}. The adapter is another "
            "base's, or its configuration is another adapter's."
        )

    def require(self, stored: str, name: str, *expected: Shape) -> None:
        """Verify the shape of one of the file's tensors.

        Raises:
            FormatError: it is another one.
        """
        if self.shape(stored) not in expected:
            raise self.misfit(stored, name, " or ".join(map(str, dict.fromkeys(expected))))

    def alter(self, name: str, change: Change | LowRank, *factors: str) -> None:
        """Note a change.

        Raises:
            UnsupportedError: the tensor is changed already.
        """
        altered = self.altered[name]
        if altered.change is not None:
            raise UnsupportedError(f"{self.folder.file} changes {shown(name)} in more than one way. {MERGE_FIRST}")
        altered.change, altered.factors = change, factors

    def _replace(self, name: str, stored: str) -> None:
        """Let a whole tensor take the place of the base's, or be there besides."""
        found = self._matcher.find(name)
        if found is not None:
            self._same_shape(stored, found)
            if self.altered[found].whole is not None:
                raise FormatError(
                    f"{self.folder.file}: {shown(self.altered[found].whole)} and {shown(stored)} both stand for "
                    f"{shown(found)} of {self.base.reference}. Save the adapter again with peft."
                )
            self.altered[found].whole = stored
            return
        if not self.folder.configuration.saves(name):
            self.find(name)
        if self.base.config.get("tie_word_embeddings") is True and name.split(".")[-2:-1] == [HEAD]:
            self._keep_tied(name, stored)
        self.added[name] = stored

    def _keep_tied(self, name: str, stored: str) -> None:
        """Keep a head that the base ties to its embedding one with an equal embedding that the adapter holds."""
        embedding = embedding_equal_to(self.folder, stored)
        found = self._matcher.find(embedding) if embedding is not None else None
        if found is not None:
            self.shared.append((found, name))

    def _same_shape(self, stored: str, found: str) -> None:
        """Refuse a whole tensor of another shape: a vocabulary that was enlarged, mostly."""
        ours, theirs = self.shape(stored), self.base.header[found].shape
        if ours != theirs:
            raise SourceError(
                f"{self.folder.file}: tensor {shown(stored)} of shape {ours} stands for {shown(found)}, of shape "
                f"{theirs} in {self.base.reference}. If the adapter's vocabulary was enlarged, enlarge the "
                "base's first (transformers: resize_token_embeddings, save_pretrained)."
            )


def scale(bound: Bound, part: Vector) -> None:
    """Bind (IA)^3: inputs are scaled, or outputs and bias.

    Raises:
        FormatError: the vector's shape does not fit.
    """
    name = bound.find(f"{part.module}.weight")
    shape, load = bound.base.header[name].shape, bound.load(part.vector)
    if len(shape) < 2:
        raise bound.misfit(part.vector, name, "a weight of two axes or more in the base")
    if len(shape) == 2:
        change = _scale_matrix(bound, part, name)
    elif part.scales_inputs:
        groups = max(bound.shape(part.vector), default=0) // max(shape[1], 1)
        fits = groups > 0 and shape[0] % groups == 0
        bound.require(part.vector, name, (1, shape[1] * (groups if fits else 1), *(1 for _ in shape[2:])))
        change = Multiply(load, shape, "columns", groups)
    else:
        bound.require(part.vector, name, (1, shape[0], *(1 for _ in shape[2:])))
        change = Multiply(load, shape, "rows")
    bound.alter(name, change, part.vector)
    if not part.scales_inputs and bound.has(f"{part.module}.bias"):
        bias = bound.find(f"{part.module}.bias")
        bound.alter(bias, Multiply(load, bound.base.header[bias].shape, "rows"), part.vector)


def _scale_matrix(bound: Bound, part: Vector, name: str) -> Multiply:
    """Scale rows or columns of a matrix, (out, in) or its transpose."""
    rows, columns = shape = bound.base.header[name].shape
    straight, crossed = (columns, rows) if part.scales_inputs else (rows, columns)
    count = max(bound.shape(part.vector), default=0)
    if rows == columns:
        transposed = is_transposed(part.module, bound.folder.configuration.fan_in_fan_out, bound.base.config)
    else:
        transposed = count == crossed
    wanted = crossed if transposed else straight
    bound.require(part.vector, name, (1, wanted) if part.scales_inputs else (wanted, 1))
    return Multiply(bound.load(part.vector), shape, "rows" if part.scales_inputs == transposed else "columns")


def replace_rows(bound: Bound, part: Tokens) -> None:
    """Bind rows of an embedding that are replaced.

    Raises:
        FormatError: shapes or indices do not fit.
    """
    name = bound.find(f"{part.module}.weight")
    shape = bound.base.header[name].shape
    if len(shape) != 2 or max(part.indices) >= shape[0]:
        raise FormatError(
            f"{bound.folder.configuration.where}: token {max(part.indices)} is trained, and {shown(name)} in "
            f"{bound.base.reference} has shape {shape}. The adapter is another base's."
        )
    bound.require(part.values, name, (len(part.indices), shape[1]))
    bound.alter(name, ReplaceRows(bound.load(part.values), part.indices, shape[1]), part.values)


def add(bound: Bound, part: Factors) -> None:
    """Bind the factors of a module with a weight.

    Raises:
        FormatError: shapes do not fit.
        UnsupportedError: the module is a convolution in groups.
    """
    name = bound.find(f"{part.module}.weight")
    shape = bound.base.header[name].shape
    a, b = bound.load(part.a), bound.load(part.b)
    if part.is_embedding or len(shape) != 2:
        if part.is_embedding:
            bound.require(part.a, name, (part.rank, shape[0]))
            bound.require(part.b, name, (shape[-1], part.rank))
        else:
            _require_convolution(bound, part, name)
        crossed = part.is_embedding
    else:
        crossed = _is_crossed(bound, part, name)
    width = 1
    for extent in shape[1:]:
        width *= extent
    axis_length = width if crossed else shape[0]
    if part.magnitude:
        bound.require(part.magnitude, name, (axis_length,), (1, axis_length, *(1 for _ in shape[2:])))
    change = LowRank(
        left=swapped(a) if crossed else flat(b),
        right=swapped(b) if crossed else flat(a),
        shape=(1, shape[0], width),
        rank=part.rank,
        scaling=part.scaling,
        magnitude=bound.load(part.magnitude) if part.magnitude else None,
        axis="columns" if crossed else "rows",
    )
    bound.alter(name, change, *(each for each in part.names if each != part.bias))
    if part.bias:
        _add_bias(bound, part, part.bias)


def _is_crossed(bound: Bound, part: Factors, name: str) -> bool:
    """Verify the factors of a matrix; say whether it is stored (in, out)."""
    rows, columns = bound.base.header[name].shape
    a, b, rank = bound.shape(part.a), bound.shape(part.b), part.rank
    straight, crossed = ((rank, columns), (rows, rank)), ((rank, rows), (columns, rank))
    if rows == columns and (a, b) == straight:
        return is_transposed(part.module, bound.folder.configuration.fan_in_fan_out, bound.base.config)
    if (a, b) in (straight, crossed):
        return (a, b) == crossed
    wrong = part.a if a not in (straight[0], crossed[0]) else part.b
    place = 0 if wrong == part.a else 1
    raise bound.misfit(wrong, name, f"{straight[place]}, the rank being {rank} by the configuration")


def _require_convolution(bound: Bound, part: Factors, name: str) -> None:
    """Verify the factors of a convolution."""
    shape, rank = bound.base.header[name].shape, part.rank
    if len(shape) < 3:
        raise bound.misfit(part.a, name, "a weight of two axes or more in the base")
    ones = tuple(1 for _ in shape[2:])
    a, b = bound.shape(part.a), bound.shape(part.b)
    if a == (rank, *a[1:2], *shape[2:]) and a[1] != shape[1] and len(b) == len(shape) and b[1] < rank:
        raise UnsupportedError(
            f"{bound.folder.file}: {shown(part.module)} is a convolution in groups, whose factors cannot be merged; "
            "peft cannot either. Train an adapter that leaves it out."
        )
    bound.require(part.a, name, (rank, *shape[1:]))
    bound.require(part.b, name, (shape[0], rank, *ones))


def _add_bias(bound: Bound, part: Factors, stored: str) -> None:
    """Bind what is added to a bias."""
    if not bound.has(f"{part.module}.bias"):
        raise SourceError(
            f"{bound.folder.file}: {shown(stored)} is added to the bias of {shown(part.module)}, which has none in "
            f"{bound.base.reference}. Such an adapter cannot be merged; peft cannot either."
        )
    bias = bound.find(f"{part.module}.bias")
    bound.require(stored, bias, bound.base.header[bias].shape)
    bound.alter(bias, AddVector(bound.load(stored), part.scaling), stored)

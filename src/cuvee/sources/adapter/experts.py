"""Factors of parameters that have no module of their own: packed experts, mostly.

Shapes, with r the rank, E experts::

    what           base                A                   B
    a matrix       (out, in)           (r, in)             (out, r)
    experts        (E, out, in)        (E r, in)           (out, r E)        or (E, in, out)
    one expert     (part of out, in)   the same, where the checkpoint keeps apart what the model packs when it is loaded

An adapter's file does not say which parameter of a module its factors are of; only the configuration names them. Where
a module has several, shapes decide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.adapter.binding import Bound
from cuvee.sources.adapter.configuration import MERGE_FIRST
from cuvee.sources.adapter.folder import Factors
from cuvee.sources.adapter.lowrank import LowRank, experts_transposed, one_expert, stacked
from cuvee.sources.strict_json import shown

__all__ = ["add_to_parameters"]

MOST_PARAMETERS = 5  # of one module; ways to give them to factors grow fast
# What the model packs, and what checkpoints call its parts, in order along the outputs.
PARTS = {
    "gate_up_proj": (("gate_proj", "up_proj"), ("w1", "w3")),
    "down_proj": (("down_proj",), ("w2",)),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """A tensor of the base that factors can be added to."""

    name: str
    change: LowRank


def add_to_parameters(bound: Bound, module: str, parts: Sequence[Factors]) -> None:
    """Bind the factors of a module's parameters.

    Args:
        bound: the binding.
        module: name of the module.
        parts: its factors.

    Raises:
        SourceError: the base lacks the parameters.
        FormatError: shapes do not fit.
        UnsupportedError: it cannot be told which parameter has which factors.
    """
    parameters = bound.folder.configuration.parameters(module)
    if not parameters:
        bound.find(f"{module}.weight")
    if len(parameters) > MOST_PARAMETERS or len(parts) > len(parameters):
        raise FormatError(
            f"{bound.folder.file} has {len(parts)} pairs of factors for {shown(module)}, and 'target_parameters' names "
            f"{len(parameters)} of its parameters. The configuration is another adapter's."
        )
    for part in parts:
        if part.bias or part.magnitude:
            raise FormatError(
                f"{bound.folder.file}: {shown(part.bias or part.magnitude)} is beside the factors of a parameter "
                "('target_parameters'), which have neither bias nor magnitudes. The configuration is another adapter's."
            )
    ways = [list(way) for way in _ways(bound, module, parts, parameters)]
    if not ways:
        _refuse(bound, module, parts, parameters)
    if len(ways) > 1:
        raise UnsupportedError(
            f"{bound.folder.file}: the shapes of the factors of {shown(module)} leave open which belong to which of "
            f"{', '.join(map(shown, parameters))}. {MERGE_FIRST}"
        )
    for part, places in zip(parts, ways[0], strict=True):
        for place in places:
            bound.alter(place.name, place.change, part.a, part.b)


def _ways(
    bound: Bound, module: str, parts: Sequence[Factors], parameters: Sequence[str]
) -> Iterator[list[list[_Place]]]:
    """Yield every way to give factors to parameters that shapes allow."""
    for chosen in permutations(parameters, len(parts)):
        places = [_places(bound, module, part, name) for part, name in zip(parts, chosen, strict=True)]
        if all(places):
            yield places


def _places(bound: Bound, module: str, part: Factors, parameter: str) -> list[_Place]:
    """Return where factors go if they are of a parameter; nothing if they do not fit it."""
    full = f"{module}.{parameter}"
    rank, scaling = bound.folder.configuration.scaling(full)
    part = replace(part, rank=rank, scaling=scaling)
    if not bound.has(full):
        return _apart(bound, module, part, parameter)
    name = bound.find(full)
    shape = bound.base.header[name].shape
    experts = shape[0] if len(shape) == 3 else 1
    a, b = bound.shape(part.a), bound.shape(part.b)
    if len(shape) not in (2, 3) or len(a) != 2 or len(b) != 2 or a[0] != rank * experts or b[1] != rank * experts:
        return []
    out, inputs = shape[-2:]
    straight, crossed = (b[0], a[1]) == (out, inputs), (b[0], a[1]) == (inputs, out) and len(shape) == 3
    if not straight and not crossed:
        return []
    transposed = experts_transposed(bound.base.config) if straight and crossed else crossed
    left, right = stacked(bound.load(part.a), bound.load(part.b), experts, transposed=transposed)
    return [_Place(name, LowRank(left=left, right=right, shape=(experts, out, inputs), rank=rank, scaling=scaling))]


def _apart(bound: Bound, module: str, part: Factors, parameter: str) -> list[_Place]:
    """Return where factors go in a checkpoint that keeps apart what the model packs."""
    a, b, rank = bound.shape(part.a), bound.shape(part.b), part.rank
    if len(a) != 2 or len(b) != 2 or a[0] % rank or b[1] != a[0]:
        return []
    experts = a[0] // rank
    if experts > len(bound.base.header):  # a file can name any number of rows that have no columns
        return []
    for leaves in PARTS.get(parameter, ()):
        names = [[f"{module}.{expert}.{leaf}.weight" for leaf in leaves] for expert in range(experts)]
        beyond = f"{module}.{experts}.{leaves[0]}.weight"
        if not all(bound.has(name) for row in names for name in row) or bound.has(beyond):
            continue
        found = [[bound.find(name) for name in row] for row in names]
        rows = b[0] // len(leaves)
        if (
            all(bound.base.header[name].shape == (rows, a[1]) for row in found for name in row)
            and rows * len(leaves) == b[0]
        ):
            return [
                _Place(name, _of_expert(bound, part, experts, expert, slice(i * rows, (i + 1) * rows)))
                for expert, row in enumerate(found)
                for i, name in enumerate(row)
            ]
    return []


def _of_expert(bound: Bound, part: Factors, experts: int, expert: int, rows: slice) -> LowRank:
    """Return the change of a part of one expert's matrix."""
    left, right = one_expert(bound.load(part.a), bound.load(part.b), experts, expert, rows)
    shape = (1, rows.stop - rows.start, bound.shape(part.a)[1])
    return LowRank(left=left, right=right, shape=shape, rank=part.rank, scaling=part.scaling)


def _refuse(bound: Bound, module: str, parts: Sequence[Factors], parameters: Sequence[str]) -> None:
    """Say why no parameter fits."""
    there = {
        name: bound.base.header[bound.find(f"{module}.{name}")].shape
        for name in parameters
        if bound.has(f"{module}.{name}")
    }
    given = ", ".join(f"{bound.shape(part.a)} and {bound.shape(part.b)}" for part in parts)
    if there:
        raise FormatError(
            f"{bound.folder.file}: the factors of {shown(module)} have shapes {given} and rank {parts[0].rank} by the "
            f"configuration, which fits none of {shown(there)} in {bound.base.reference}. The adapter is "
            "another base's."
        )
    raise SourceError(
        f"{bound.folder.file} changes {', '.join(map(shown, parameters))} of {shown(module)} (factors of "
        f"shapes {given}), and "
        f"{bound.base.reference} has neither these nor experts kept apart that would make them up. {MERGE_FIRST}"
    )

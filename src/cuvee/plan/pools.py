"""Domains: which rows take their passes together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from cuvee.methods.declare import Method
from cuvee.plan.rows import Domain, Row
from cuvee.plan.treatment import Treatment

__all__ = ["Pools"]

Values = tuple[str, ...]
"""What the parameters that passes depend on are set to."""


@dataclass(slots=True)
class _Pool:
    """A domain while its rows are planned."""

    scope: Literal["model", "tensor", "row", "column"]
    size: int = 0
    cells: int = 0


class Pools:
    """Gives every job its domain: its row, or, in model scope, all rows with the same method and pooled parameters.

    Args:
        first: index of the first domain.
    """

    def __init__(self, first: int) -> None:
        self._first = first
        self._pools: list[_Pool] = []
        self._shared: dict[tuple[Method, Values], int] = {}
        # By identity: many tensors are treated alike. The treatment is kept, so that its identity stays its own.
        self._places: dict[int, tuple[Treatment, int]] = {}

    def domain_for(self, treatment: Treatment) -> int:
        """Return the index of the domain of one more row that is treated so."""
        if id(treatment) in self._places:
            return self._places[id(treatment)][1]
        method, parameters = treatment.method, treatment.parameters
        scope, place = method.scope(parameters), self._first + len(self._pools)
        if scope == "model":
            values = tuple(f"{parameters[name]}" for name in _pooled(method))
            place = self._shared.setdefault((method, values), place)
            self._places[id(treatment)] = treatment, place
        if place == self._first + len(self._pools):
            self._pools.append(_Pool(scope))
        return place

    def add(self, row: Row) -> None:
        """Count a row into the domain of its job."""
        pool = self._pools[row.jobs[0].domain - self._first]
        own = {"row": row.width, "column": row.size // max(row.width, 1)}
        pool.size = own.get(pool.scope, pool.size + row.size)
        pool.cells += row.cells

    @property
    def domains(self) -> Sequence[Domain]:
        """The domains, the first one first."""
        return [Domain(scope=pool.scope, size=pool.size, cells=pool.cells) for pool in self._pools]

    def splits(self) -> list[str]:
        """Say where a whole-model pass is not taken over the whole model, because its parameters vary."""
        found: dict[Method, list[Values]] = {}
        for method, values in self._shared:
            found.setdefault(method, []).append(values)
        return [
            f"method '{method.name}' takes its whole-model passes over {len(pools)} groups of tensors, each by itself, "
            f"because {_varying(method, pools)}."
            for method, pools in found.items()
            if len(pools) > 1
        ]


def _pooled(method: Method) -> tuple[str, ...]:
    """Return the parameters that passes depend on: those the method names, and the space its operands lie in."""
    return (*method.pooled, *(p.name for p in method.parameters.values() if p.role == "space"))


def _varying(method: Method, pools: Iterable[Values]) -> str:
    """Say which pooled parameters differ between pools."""
    columns = zip(_pooled(method), zip(*pools, strict=True), strict=True)
    names = [name for name, found in columns if len(set(found)) > 1]
    return f"{' and '.join(names)} {'vary' if len(names) > 1 else 'varies'}"

"""Domains: which rows take their passes together."""

from collections.abc import Sequence
from dataclasses import replace

from cuvee.methods.declare import Method
from cuvee.plan.rows import Domain, Job, Row

__all__ = ["pool", "split_pools"]


def pool(rows: Sequence[Row], domains: list[Domain]) -> list[Row]:
    """Give every job its domain: its row, or, in model scope, all rows with the same method and pooled parameters."""
    pools: dict[object, list[int]] = {}
    for i, row in enumerate(rows):
        (job,) = row.jobs
        scope = job.method.scope(job.parameters)
        key = _pool_of(job) if scope == "model" else i
        pools.setdefault(key, []).append(i)
    result = list(rows)
    for members in pools.values():
        first = rows[members[0]]
        scope = first.jobs[0].method.scope(first.jobs[0].parameters)
        size = first.width if scope == "row" else sum(rows[i].size for i in members)
        domains.append(Domain(scope=scope, size=size, cells=sum(rows[i].cells for i in members)))
        for i in members:
            result[i] = replace(rows[i], jobs=(replace(rows[i].jobs[0], domain=len(domains) - 1),))
    return result


def _pool_of(job: Job) -> tuple[str, ...]:
    """Return what jobs pooled in model scope have in common: method, and parameters that passes depend on."""
    return (job.method.name, *(f"{job.parameters[name]}" for name in _pooled(job.method)))


def _pooled(method: Method) -> tuple[str, ...]:
    """Return the parameters that passes depend on: those the method names, and the space its operands lie in."""
    return (*method.pooled, *(p.name for p in method.parameters.values() if p.role == "space"))


def split_pools(rows: Sequence[Row]) -> list[str]:
    """Say where a whole-model pass is not taken over the whole model, because its parameters vary."""
    pools: dict[Method, set[tuple[str, ...]]] = {}
    for job in (job for row in rows for job in row.jobs):
        if job.method.scope(job.parameters) == "model":
            pools.setdefault(job.method, set()).add(_pool_of(job))
    return [
        f"method '{method.name}' takes its whole-model passes over {len(keys)} groups of tensors, each by itself, "
        f"because {' and '.join(_varying(method, keys))} varies."
        for method, keys in pools.items()
        if len(keys) > 1
    ]


def _varying(method: Method, keys: set[tuple[str, ...]]) -> list[str]:
    """Return the pooled parameters that differ between pools."""
    values = zip(*(key[1:] for key in keys), strict=True)
    return [name for name, found in zip(_pooled(method), values, strict=True) if len(set(found)) > 1]

"""A plan as plain values: what ``cuvee plan --json`` prints and the table is made of."""

from collections.abc import Mapping

from cuvee.plan.limits import Limits, peak_memory
from cuvee.plan.planner import Plan
from cuvee.plan.rows import Job, Row

__all__ = ["describe"]


def describe(plan: Plan, limits: Limits) -> dict[str, object]:
    """Return what a plan says.

    Args:
        plan: the plan.
        limits: the workers and block size it would run with.

    Returns:
        Keys ``variants`` (recipes, without paths), ``rows`` (one per row and variant), ``bytes_read`` and
        ``bytes_written`` (of tensors), ``peak_memory`` (resident bytes, predicted), ``workers``, ``block_bytes`` and
        ``warnings``.
    """
    return {
        "variants": [resolved.recipe.canonical() for resolved in plan.variants],
        "rows": [_row(plan, row, job) for row in plan.rows for job in row.jobs],
        "bytes_read": plan.bytes_read,
        "bytes_written": plan.bytes_written,
        "peak_memory": peak_memory(plan, limits),
        "workers": limits.workers,
        "block_bytes": limits.block_bytes_for(plan),
        "warnings": list(plan.warnings),
    }


def _row(plan: Plan, row: Row, job: Job) -> Mapping[str, object]:
    """Describe one variant's use of a row."""
    return {
        "tensor": row.name,
        "outputs": [view.name for view in job.outputs],
        "start": row.start,
        "shape": list(job.outputs[0].shape),
        "dtype": str(job.dtype),
        "variant": job.variant,
        "method": job.method.name,
        "parameters": dict(job.parameters),
        "models": list(job.labels),
        "scope": plan.domains[job.domain].scope if job.method.passes(job.parameters) else None,
        "readings": plan.readings(job),
        "lane": job.lane,
        "fallback": job.reason or None,
    }

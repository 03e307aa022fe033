"""A plan and what it will cost as plain values: what ``cuvee plan --json`` prints and the table is made of."""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cuvee.execute.adapter.merge import AdapterMerge
from cuvee.execute.forecast import Forecast, forecast
from cuvee.execute.merged import Merged, merges_in, open_sources
from cuvee.plan.limits import Limits, Share
from cuvee.plan.modules import AdapterPlan
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.plan.rows import Job, Row
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.several import recipes_of
from cuvee.tensors.kernels.machine_code import MISSING, is_missing
from cuvee.writers.target import check_name

__all__ = ["describe", "plan", "predict"]


def plan(recipe: Recipe | str | Path | Mapping[str, Any]) -> Plan:
    """Work out what a merge will do, from headers alone.

    Args:
        recipe: what to merge: a recipe, the path of a file of one or several, or plain values.

    Returns:
        The plan. Its sources are closed.

    Raises:
        SourceError: a model cannot be opened.
        PlanError: the recipe and its models do not fit together.
    """
    recipes = recipes_of(recipe).values()
    with open_sources() as sources, ExitStack() as stack:
        adapters = [_adapter(each, stack).plan for each in recipes if each.output.adapter]
        planned = make_plan([sources.resolve(each) for each in recipes if not each.output.adapter])
        return replace(planned, adapters=adapters)


def predict(
    recipe: Recipe | str | Path | Mapping[str, Any], limits: Limits | None = None, folder: Path | None = None
) -> dict[str, object]:
    """Plan a merge, and say what it will cost on this machine.

    Args:
        recipe: what to merge: a recipe, the path of one, or one as plain values.
        limits: what the run may use.
        folder: where the output will lie.

    Returns:
        See `describe`.

    Raises:
        OutputError: `folder` is an address, or named like a file of another kind.
        SourceError: a model cannot be opened.
        PlanError: the recipe and its models do not fit together, or the memory does not suffice.
    """
    if folder is not None:
        check_name(str(folder))
    recipes, limits = recipes_of(recipe).values(), limits or Limits()
    with open_sources() as sources, ExitStack() as stack:
        adapters = [_adapter(each, stack) for each in recipes if each.output.adapter]
        planned = make_plan([sources.resolve(each) for each in recipes if not each.output.adapter])
        planned = replace(planned, adapters=[each.plan for each in adapters])
        told = _about_the_machine(planned, folder)
        shares = [each.share(limits) for each in adapters]
        return describe(planned, forecast(planned, limits, folder), told, shares)


def _adapter(recipe: Recipe, stack: ExitStack) -> AdapterMerge:
    """Open a merge of adapters."""
    merge = AdapterMerge(recipe)
    stack.callback(merge.close)
    return merge


def _about_the_machine(plan: Plan, folder: Path | None) -> list[str]:
    """Warn of a library that is missing, and of a disk that is too small."""
    notes = [MISSING] if is_missing() else []
    place = next((parent for parent in (folder, *folder.parents) if parent.is_dir()), None) if folder else None
    if place is not None and (free := shutil.disk_usage(place).free) < plan.bytes_written:
        notes.append(f"The output takes {plan.bytes_written:,} bytes, but only {free:,} are free at {place}.")
    return notes


def describe(
    plan: Plan, expected: Forecast, told: Sequence[str] = (), shares: Sequence[Share] = ()
) -> dict[str, object]:
    """Return what a plan says.

    Args:
        plan: the plan.
        expected: what it will cost.
        told: more that the user should know.
        shares: how the work on each of the plan's adapters is shared out.

    Returns:
        Keys ``variants`` (recipes, without paths), ``rows`` (one per row and variant), ``bytes_read`` (usually),
        ``bytes_read_at_most`` and ``bytes_written`` (of tensors), ``seconds`` (of the run; None where adapters are
        made), ``compute_seconds`` (of them, arithmetic, all workers together), ``read_rate`` and ``write_rate`` (bytes
        per second and thread, as measured), ``peak_memory`` (resident bytes), ``workers``, ``block_bytes``,
        ``keep_bytes``, ``warnings``, ``merges``: for each merge that is a source of this one, ``reference``, ``rows``
        (without lanes) and ``bytes_read`` to prepare it; and ``adapters``: for each that is made, ``recipe``,
        ``modules``, ``whole`` (tensors), ``bytes_read``, ``bytes_written`` (at most), ``peak_memory`` and ``workers``.
    """
    lanes = [lane for own in expected.lanes for lane in own]
    jobs = [(row, job) for row in plan.rows for job in row.jobs]
    used = [each.workers for each in shares] + ([expected.budget.workers] if plan.rows or not shares else [])
    notes = [*plan.warnings, *(note for each in plan.adapters for note in each.warnings)]
    return {
        "variants": [resolved.recipe.canonical() for resolved in plan.variants],
        "rows": [_row(plan, row, job, lane) for (row, job), lane in zip(jobs, lanes, strict=True)],
        "bytes_read": expected.bytes_read + sum(each.bytes_read for each in plan.adapters),
        "bytes_read_at_most": plan.bytes_read_at_most,
        "bytes_written": plan.bytes_written,
        "seconds": None if plan.adapters else expected.seconds,
        "compute_seconds": expected.compute_seconds,
        "read_rate": _per_second(expected.reading.seconds),
        "write_rate": _per_second(expected.writing.seconds),
        "peak_memory": max([expected.budget.peak_memory, *(each.peak_memory for each in shares)]),
        "workers": max(used),
        "block_bytes": expected.budget.block_bytes,
        "keep_bytes": expected.budget.keep_bytes,
        "warnings": [*told, *(note for each in merges_in(plan) for note in each.plan.warnings), *notes],
        "merges": [_merge(each) for each in merges_in(plan)],
        "adapters": [_described(each, share) for each, share in zip(plan.adapters, shares, strict=True)],
    }


def _described(adapter: AdapterPlan, share: Share) -> Mapping[str, object]:
    """Describe an adapter that is made."""
    return {
        "recipe": adapter.recipe.canonical(),
        "modules": [{**asdict(each), "bytes_written": each.bytes_written} for each in adapter.modules],
        "whole": [
            {"tensor": name, "shape": list(spec.shape), "dtype": str(spec.dtype)}
            for name, spec in adapter.whole.items()
        ],
        "bytes_read": adapter.bytes_read,
        "bytes_written": adapter.bytes_written,
        "peak_memory": share.peak_memory,
        "workers": share.workers,
    }


def _merge(source: Merged) -> Mapping[str, object]:
    """Describe a merge that is read by another."""
    rows = [_row(source.plan, row, job, "") for row in source.plan.rows for job in row.jobs]
    return {"reference": source.reference, "rows": rows, "bytes_read": source.preparation}


def _per_second(seconds: float) -> float | None:
    """Return bytes per second, or None where nothing was moved."""
    return 1 / seconds if seconds else None


def _row(plan: Plan, row: Row, job: Job, lane: str) -> Mapping[str, object]:
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
        "readings_at_most": plan.readings(job, most=True),
        "lane": lane,
        "fallback": job.reason or None,
    }

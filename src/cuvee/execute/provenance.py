"""What a merge was made of, by what, and what it cost: plain values, kept beside the weights as ``cuvee.json``.

Beside weights that are one file, ``merged.safetensors``, it is ``merged.cuvee.json``.
"""

import json
import os
import platform
from collections.abc import Mapping
from typing import Any

from cuvee.digest import digest_of_bytes, digest_of_set, digests_of
from cuvee.execute.merged import Merged
from cuvee.execute.report import Report
from cuvee.execute.versions import versions
from cuvee.layered import beneath, ground_of
from cuvee.plan.plan import Plan
from cuvee.recipe.licence import licence_of
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.sidecars import CARD
from cuvee.writers.target import SIDECAR, record_of

__all__ = ["FORMAT", "SIDECAR", "digests_of_files", "provenance", "record_of", "recorded", "written"]

FORMAT = 1


def provenance(plan: Plan, variant: int, report: Report, files: Mapping[str, bytes]) -> dict[str, Any]:
    """Tell where a merged checkpoint comes from.

    Args:
        plan: the plan that was carried out.
        variant: which of its outputs.
        report: what the run says.
        files: what is written beside the weights, by name.

    Returns:
        Keys ``format``, ``recipe`` (models as places that open them again, if they have one), ``inputs`` (for each
        label: ``reference``, ``location``, ``licence``, ``digest`` of all tensors that were read, the names of those
        that were ``unused``; of a merge its ``inputs``, too, and of a model with ``adapters`` their ``location`` and
        ``licence``), ``output`` (``digest`` of all tensors, and of each; ``files``, see `digests_of_files`), ``notes``,
        ``versions``, ``machine`` and ``costs``.
    """
    resolved = plan.variants[variant]
    recipe = resolved.recipe.to_mapping({label: source.location for label, source in resolved.sources.items()})
    output = digests_of(plan.outputs[variant], report.outputs[variant])
    output["files"] = digests_of_files(files)
    return recorded(recipe, _inputs(plan, variant, report), output, report)


def digests_of_files(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the digests of the files beside the weights, by name.

    Neither the card nor the record is among them: the record has the digests and the card its costs, and people add to
    the card.

    Args:
        files: their content; "folder/name" lies in a component's folder.
    """
    return {name: digest_of_bytes(data) for name, data in files.items() if name not in (CARD, SIDECAR)}


def recorded(
    recipe: Mapping[str, Any], inputs: Mapping[str, Any], output: Mapping[str, Any], report: Report
) -> dict[str, Any]:
    """Put a record together; see `provenance` for the parts."""
    return {
        "format": FORMAT,
        "recipe": dict(recipe),
        "inputs": dict(inputs),
        "output": dict(output),
        "notes": list(report.notes),
        "versions": versions(),
        "machine": {"system": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()},
        "costs": _costs(report),
    }


def _inputs(plan: Plan, variant: int, report: Report) -> dict[str, dict[str, Any]]:
    """Describe the sources of a variant."""
    resolved = plan.variants[variant]
    read = plan.grounds_read(variant)
    inputs: dict[str, dict[str, Any]] = {}
    for label, source in resolved.sources.items():
        ground = ground_of(source)
        digests = {name: report.inputs[id(source)][name] for name in read[id(source)]}
        below = list(beneath(ground))
        merge = next((each for each in below if isinstance(each, Merged)), None)  # a source stands on one at most
        inputs[label] = {
            "reference": source.reference,
            "location": source.location,
            "licence": None if merge else licence_of(source),
            "digest": digest_of_set(ground.header, digests),
            "unused": [name for name in ground.header if name not in digests],
        }
        if merge:
            inputs[label]["inputs"] = _inputs(merge.plan, 0, report)
        adapters = [each.folder for each in reversed(below) if isinstance(each, Adapted)]
        if adapters:
            inputs[label]["adapters"] = [{"location": each.location, "licence": licence_of(each)} for each in adapters]
    return inputs


def _costs(report: Report) -> Mapping[str, float]:
    """Return what a run took: seconds, seconds of processor, bytes read and written, peak memory in bytes."""
    return {
        "seconds": round(report.seconds, 3),
        "cpu_seconds": round(report.cpu_seconds, 3),
        "bytes_read": report.bytes_read,
        "bytes_written": report.bytes_written,
        "peak_memory": report.peak_memory,
    }


def written(record: Mapping[str, Any]) -> bytes:
    """Return a record as the bytes of the sidecar."""
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode("utf-8", "replace")

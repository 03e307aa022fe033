"""The files beside the weights of a merge: those of the donor, the model card, the record."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuvee.execute.merged import Merged, merges_in
from cuvee.execute.provenance import provenance, record_of, written
from cuvee.execute.report import Report
from cuvee.plan.plan import Plan
from cuvee.recipe.licence import conflict
from cuvee.sources.sidecars import CARD, is_of_diffusers
from cuvee.spec import File, Source, folders_of
from cuvee.writers.card import Card, model_card
from cuvee.writers.sidecars import sidecar_files
from cuvee.writers.target import is_single_file

__all__ = ["companions"]

UNWRITTEN = "The tokenizer is not written, as the output is one file; to have both, let --out name a folder."


def companions(plan: Plan, variant: int, out: Path, report: Report) -> dict[str, bytes]:
    """Make the files that go beside a variant's weights: beside a single file, the record alone.

    Args:
        plan: the plan that was carried out.
        variant: which of its outputs.
        out: the output; its name is that of the merged model.
        report: what the run says; its notes may get one more, about licences.

    Raises:
        OutputError: a file cannot be copied.
    """
    resolved = plan.variants[variant]
    recipe = resolved.recipe
    is_alone = is_single_file(out)
    donor = resolved.sources[resolved.donor]
    files = {} if is_alone else _beside(plan, variant, donor.sidecars)
    record = provenance(plan, variant, report, files)
    differ = conflict(_licences(record["inputs"]))
    if differ and differ not in report.notes:
        report.notes.append(differ)
        record["notes"].append(differ)
    if is_alone and recipe.tokenizer is not None:
        record["notes"].append(UNWRITTEN)
        report.notes.append(UNWRITTEN)
    if is_alone:
        return {record_of(out).name: written(record)}
    methods = {job.method: None for row in plan.rows for job in row.jobs if job.variant == variant}
    methods |= {job.method: None for inner in _merges(plan, variant) for row in inner.plan.rows for job in row.jobs}
    card = Card(
        title=out.name,
        method=recipe.method,
        recipe=recipe.to_yaml(),
        record=record,
        library=_library(donor),
        citations=list({m.paper.url: m.paper.bibtex(m.name) for m in methods if m.paper is not None}.values()),
    )
    return {**files, CARD: model_card(card), record_of(out).name: written(record)}


def _library(donor: Source) -> str:
    """Say what loads a model, or nothing where it does not tell."""
    if folders_of(donor) or is_of_diffusers(donor.config):
        return "diffusers"
    return "transformers" if donor.config else ""


def _beside(plan: Plan, variant: int, sidecars: Mapping[str, File]) -> dict[str, bytes]:
    """Make the files that come from the donor, folder by folder: each has element types of its own."""
    outputs, updates = plan.outputs[variant], plan.config[variant]
    custom_code = plan.variants[variant].recipe.output.custom_code
    folders: dict[str, dict[str, File]] = {}
    for name, file in sidecars.items():
        folder, slash, bare = name.rpartition("/")
        folders.setdefault(folder + slash, {})[bare] = file
    files: dict[str, bytes] = {}
    for folder, own in folders.items():
        types = {spec.dtype for name, spec in outputs.items() if name.startswith(folder) and spec.dtype.kind == "float"}
        dtype = types.pop() if len(types) == 1 else None
        made = sidecar_files(own, dtype=dtype, custom_code=custom_code, config_updates={} if folder else updates)
        files |= {folder + name: data for name, data in made.items()}
    return files


def _merges(plan: Plan, variant: int) -> Sequence[Merged]:
    """Return the merges that a variant is made of."""
    return merges_in(replace(plan, variants=[plan.variants[variant]]))


def _licences(inputs: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the licences of inputs and of what they are merged from, by label; "a/b" is b within a."""
    found = {}
    for label, stated in inputs.items():
        found[label] = stated["licence"] if "inputs" not in stated else None
        found |= {f"{label}/{inner}": each for inner, each in _licences(stated.get("inputs", {})).items()}
    return found

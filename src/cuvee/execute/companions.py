"""The files beside the weights of a merge: those of the donor, the model card, the record."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from cuvee.execute.beside import files_beside
from cuvee.execute.merged import Merged, merges_in
from cuvee.execute.provenance import provenance, record_of, written
from cuvee.execute.report import Report
from cuvee.plan.plan import Plan
from cuvee.recipe.licence import conflict, licences_of
from cuvee.sources.sidecars import CARD, is_of_diffusers
from cuvee.spec import Source, folders_of
from cuvee.writers.card import Card, model_card
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
    files = {} if is_alone else files_beside(plan, variant, donor.sidecars)
    record = provenance(plan, variant, report, files)
    licences = licences_of(record["inputs"])
    differ = conflict(licences)
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
        licences=licences,
        library=_library(donor),
        citations=list({m.paper.url: m.paper.bibtex(m.name) for m in methods if m.paper is not None}.values()),
    )
    return {**files, CARD: model_card(card), record_of(out).name: written(record)}


def _library(donor: Source) -> str:
    """Say what loads a model, or nothing where it does not tell."""
    if folders_of(donor) or is_of_diffusers(donor.config):
        return "diffusers"
    return "transformers" if donor.config else ""


def _merges(plan: Plan, variant: int) -> Sequence[Merged]:
    """Return the merges that a variant is made of."""
    return merges_in(replace(plan, variants=[plan.variants[variant]]))

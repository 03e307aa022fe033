"""Declared suites as documents tell of them: a table made of the declarations and their plans."""

from collections.abc import Iterable

from cuvee.report.content import Column, Number, Table
from cuvee.report.tables import as_markdown
from cuvee.studies.catalogue import find_study, studies
from cuvee.studies.external.declaration import Declaration
from cuvee.studies.external.facts import Amount, total
from cuvee.studies.external.plan import Plan, planned
from cuvee.studies.external.scoring import Drawings, Harness, Images, Nothing, Texts

__all__ = ["external_table"]

LIKE = "compositional"
"""Whose arms stand for those of a study that there is not yet."""
ADAPTERS = {
    Images: "image classification",
    Texts: "text to text",
    Harness: "lm-eval",
    Drawings: "image generation",
    Nothing: "none yet",
}


def external_table(declarations: Iterable[Declaration]) -> str:
    """Return a table of declared suites in Markdown: what each needs and costs."""
    columns = (
        Column(title="suite"), Column(title="what"), Column(title="for"), Column(title="cells"),
        Column(title="held-in"), Column(title="adapter"), Column(title="trained"), Column(title="merges"),
        Column(title="download"), Column(title="disk"), Column(title="GPU memory"), Column(title="GPU hours"),
    )  # fmt: skip
    rows = []
    for each in declarations:
        known = studies()
        name = next(iter(each.factors))
        plan = planned(find_study(name if name in known else LIKE), each)
        rows.append(
            (
                f"`{each.name}`",
                each.what,
                ", ".join(each.factors),
                Number(value=float(len(each.cells))),
                Number(value=float(len(each.held_in))),
                ADAPTERS[type(each.scoring)],
                Number(value=float(sum(trained.count for trained in plan.trained))),
                Number(value=float(plan.merges.settings + plan.merges.chosen)),
                _gigabytes(total(download.size for download in plan.downloads)),
                _gigabytes(plan.disk),
                _gigabytes(plan.gpu),
                _hours(plan),
            )
        )
    return as_markdown(Table(name="external", title="Declared suites", columns=columns, rows=rows))


def _gigabytes(amount: Amount) -> str:
    """Write bytes; what is not known is on top."""
    return f"{'>= ' if amount.unknown else ''}{amount.known / 1e9:,.1f} GB"


def _hours(plan: Plan) -> str:
    return f"{plan.gpu_hours:,.1f}"

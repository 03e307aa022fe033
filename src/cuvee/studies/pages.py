"""Suites as documents tell of them: tables made of what suites say of themselves."""

from collections.abc import Iterable

from cuvee.report.content import Column, Number, Table
from cuvee.report.tables import as_markdown
from cuvee.studies.suite import About

__all__ = ["suites_table"]


def suites_table(suites: Iterable[About]) -> str:
    """Return a table of suites in Markdown."""
    columns = (
        Column(title="suite"), Column(title="what"), Column(title="cells"), Column(title="held-in"),
        Column(title="networks (parameters)"), Column(title="trained"), Column(title="weak base"),
        Column(title="strong base"),
    )  # fmt: skip
    rows = []
    for about in suites:
        networks = ", ".join(f"`{name}` ({each.num_parameters:,})" for name, each in about.architectures.items())
        rows.append(
            (
                f"`{about.name}`",
                f"{about.what} Scored by {about.metrics[0].name}.",
                Number(value=float(len(about.cells))),
                Number(value=float(len(about.held_in))),
                networks,
                ", ".join(dict.fromkeys(way for each in about.architectures.values() for way in each.tunings)),
                about.bases["weak"],
                about.bases["strong"],
            )
        )
    return as_markdown(Table(name="suites", title="Suites", columns=columns, rows=rows))

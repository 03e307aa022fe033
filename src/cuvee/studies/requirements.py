"""What a user must have for each method, read from its declaration and from what was tried."""

from collections.abc import Sequence

from cuvee.methods.page import needs
from cuvee.methods.registry import find_method
from cuvee.report.content import Column, Table
from cuvee.studies.rows import Row

__all__ = ["requirements"]


def requirements(rows: Sequence[Row]) -> Table:
    """Make the table of requirements: a row per trial that was merged."""
    trials = {row.name: row for row in rows if row.kind == "merge"}
    said = {name: needs(find_method(row.method)) for name, row in trials.items()}
    kinds = list(next(iter(said.values()), {}))
    columns = (
        Column(title="method"),
        *(Column(title=kind) for kind in kinds),
        Column(title="chosen on validation"),
        Column(title="settings tried"),
        Column(title="besides"),
    )
    table = []
    for name, row in trials.items():
        swept = [key for key in row.settings if len({str(settings.get(key)) for settings, _ in row.tried}) > 1]
        tried = str(len(row.tried)) if row.tried else "none"
        table.append((name, *(said[name][kind] for kind in kinds), ", ".join(swept) or "nothing", tried, row.given))
    return Table(name="requirements", title="Requirements", columns=columns, rows=table)

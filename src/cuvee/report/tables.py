"""Tables as files: CSV and JSON with every number in full, Markdown for a README."""

import csv
import io
import json
from collections.abc import Mapping, Sequence

from cuvee.report.content import Cell, Number, Table
from cuvee.report.numbers import text_of

__all__ = ["as_csv", "as_json", "as_markdown"]


def as_csv(table: Table) -> str:
    """Write a table with a column for each end of an interval, and one that says where numbers come from."""
    has_range = _numeric(table)
    titles = []
    for column, wide in zip(table.columns, has_range, strict=True):
        titles += [column.title, f"{column.title} low", f"{column.title} high"] if wide else [column.title]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*titles, *(["group"] if table.groups else []), "origin"])
    for i, row in enumerate(table.rows):
        values: list[object] = []
        for cell, wide in zip(row, has_range, strict=True):
            values += _parts(cell) if wide else [cell or ""]
        group = [table.groups[i]] if table.groups else []
        writer.writerow([*values, *group, _origin(row)])
    return out.getvalue()


def _numeric(table: Table) -> list[bool]:
    """Say of each column whether it has numbers."""
    return [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.columns))]


def _parts(cell: Cell) -> list[object]:
    if not isinstance(cell, Number):
        return [cell or "", "", ""]
    return [cell.value, "" if cell.low is None else cell.low, "" if cell.high is None else cell.high]


def _origin(row: Sequence[Cell]) -> str:
    """Say once where a row's numbers come from."""
    return "; ".join(dict.fromkeys(cell.origin for cell in row if isinstance(cell, Number) and cell.origin))


def as_json(table: Table) -> str:
    """Write a table as a list of mappings."""
    rows = []
    for i, row in enumerate(table.rows):
        content: dict[str, object] = {"group": table.groups[i]} if table.groups else {}
        content |= {column.title: _plain(cell) for column, cell in zip(table.columns, row, strict=True)}
        rows.append(content)
    return json.dumps({"title": table.title, "note": table.note, "rows": rows}, indent=1, ensure_ascii=False) + "\n"


def _plain(cell: Cell) -> "str | Mapping[str, float | str | None] | None":
    if not isinstance(cell, Number):
        return cell
    return {"value": cell.value, "low": cell.low, "high": cell.high, "origin": cell.origin}


def as_markdown(table: Table) -> str:
    """Write a table for people, numbers rounded; every group but the first has a row that names it."""
    lines = [
        "| " + " | ".join(_escaped(_title(column.title, column.unit)) for column in table.columns) + " |",
        "|" + "|".join("---:" if numeric else "---" for numeric in _numeric(table)) + "|",
    ]
    for i, row in enumerate(table.rows):
        if i and table.groups and table.groups[i] != table.groups[i - 1]:
            lines.append(f"| **{_escaped(table.groups[i])}** " + "|  " * (len(table.columns) - 1) + "|")
        cells = [text_of(cell, column.unit) for cell, column in zip(row, table.columns, strict=True)]
        lines.append("| " + " | ".join(map(_escaped, cells)) + " |")
    return "\n".join(lines) + "\n"


def _title(title: str, unit: str) -> str:
    return f"{title}, %" if unit == "percent" else title


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")

"""``cuvee plan``."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cuvee.cli.lines import say
from cuvee.cli.tables import family, print_unfolded, table_of
from cuvee.cli.units import duration, size
from cuvee.execute.describe import predict
from cuvee.plan.limits import Limits
from cuvee.tensors.kernels.machine_code import on_compile

__all__ = ["run"]


def run(recipe: Path, *, as_json: bool, every_row: bool, limits: Limits, out: Path | None) -> None:
    """Plan and print."""
    on_compile(
        lambda: Console(stderr=True).print("Compiling for this machine; this happens once and takes some seconds.")
    )
    described: Any = predict(recipe, limits, out)
    if as_json:
        print(json.dumps(described, indent=2))
        return
    console = Console(emoji=False)
    for merge in described["merges"]:
        say(console, f"{merge['reference']}, merged as it is read:")
        print_unfolded(_table(merge["rows"], every_row))
    print_unfolded(_table(described["rows"], every_row))
    most = described["bytes_read_at_most"]
    console.print(
        f"{len(described['rows'])} rows. {size(described['bytes_read'])} to read"
        f"{f' (at most {size(most)})' if most > described['bytes_read'] else ''} and "
        f"{size(described['bytes_written'])} to write; about {duration(described['seconds'])}, and at most "
        f"{size(described['peak_memory'])} of memory with {described['workers']} "
        f"worker{'s' if described['workers'] > 1 else ''}.",
        highlight=False,
        soft_wrap=True,
    )
    for warning in described["warnings"]:
        say(console, f"Note: {warning}")


def _table(rows: list[dict[str, Any]], every_row: bool) -> Table:
    """Make the table: a line for each row, or for rows that differ in numbers in their names only."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        name = row["tensor"] if every_row else family(row["tensor"])
        method = f"{row['method']}{': ' + row['fallback'] if row['fallback'] else ''}"
        shape = " × ".join(map(str, row["shape"])) or "scalar"
        groups[name, shape, row["dtype"], method, row["scope"] or "", row["readings"], row["lane"]].append(row)
    table = table_of(("tensor",), ("rows", "readings"), ("shape", "type", "method", "scope", "lane"))
    for (name, shape, dtype, method, scope, readings, lane), members in groups.items():
        table.add_row(name, str(len(members)), str(readings), shape, dtype, method, scope, lane)
    return table

"""``cuvee plan``."""

import json
from collections import defaultdict
from collections.abc import Sequence
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
    if described["rows"]:
        print_unfolded(_table(described["rows"], every_row))
    for adapter in described["adapters"]:
        print_unfolded(_modules(adapter["modules"], every_row))
        for whole in adapter["whole"]:
            say(console, f"{whole['tensor']}, as a whole: {_shape(whole['shape'])}, {whole['dtype']}.")
    say(console, _cost(described))
    for warning in described["warnings"]:
        say(console, f"Note: {warning}")


def _cost(described: dict[str, Any]) -> str:
    """Say in a sentence what the whole takes."""
    modules = sum(len(each["modules"]) for each in described["adapters"])
    parts = [f"{len(described['rows'])} rows"] if described["rows"] or not modules else []
    parts += [f"{modules} modules of adapters"] if described["adapters"] else []
    most, seconds = described["bytes_read_at_most"], described["seconds"]
    return (
        f"{', '.join(parts)}. {size(described['bytes_read'])} to read"
        f"{f' (at most {size(most)})' if most > described['bytes_read'] else ''} and "
        f"{size(described['bytes_written'])} to write; {'' if seconds is None else f'about {duration(seconds)}, and '}"
        f"at most {size(described['peak_memory'])} of memory with {described['workers']} "
        f"worker{'s' if described['workers'] > 1 else ''}."
    )


def _modules(modules: list[dict[str, Any]], every_one: bool) -> Table:
    """Make the table of an adapter: a line for each module, or for modules that differ in numbers in their names."""
    groups: dict[tuple[str, ...], int] = defaultdict(int)
    for each in modules:
        ranks = " + ".join(map(str, each["ranks"].values()))
        rank = f"{'' if each['rank_is_known'] else 'at most '}{each['rank']}"
        name = each["module"] if every_one else family(f"{each['module']}.").removesuffix(".")
        groups[name, ranks, rank, _shape(each["shape"]), each["method"], each["way"]] += 1
    table = table_of(("module",), ("modules", "ranks", "rank"), ("shape", "method", "factors"))
    for (name, ranks, rank, shape, method, way), count in groups.items():
        table.add_row(name, str(count), ranks, rank, shape, method, way)
    return table


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "scalar"


def _table(rows: list[dict[str, Any]], every_row: bool) -> Table:
    """Make the table: a line for each row, or for rows that differ in numbers in their names only."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        name = row["tensor"] if every_row else family(row["tensor"])
        method = f"{row['method']}{': ' + row['fallback'] if row['fallback'] else ''}"
        shape = _shape(row["shape"])
        groups[name, shape, row["dtype"], method, row["scope"] or "", row["readings"], row["lane"]].append(row)
    table = table_of(("tensor",), ("rows", "readings"), ("shape", "type", "method", "scope", "lane"))
    for (name, shape, dtype, method, scope, readings, lane), members in groups.items():
        table.add_row(name, str(len(members)), str(readings), shape, dtype, method, scope, lane)
    return table

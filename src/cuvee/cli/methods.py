"""``cuvee methods``."""

import json

from rich.console import Console
from rich.table import Table

from cuvee.methods.declare import Method
from cuvee.methods.page import as_mapping, needs, page
from cuvee.methods.registry import find_method, methods

__all__ = ["run"]


def run(name: str | None, *, as_json: bool) -> None:
    """Print the list, or one method's page."""
    if name is not None:
        found = find_method(name)
        print(json.dumps(as_mapping(found), indent=2) if as_json else page(found))
        return
    if as_json:
        print(json.dumps([as_mapping(method) for method in methods().values()], indent=2))
        return
    console = Console()
    known = list(methods().values())
    width = max(len(method.name) for method in known)
    for method in known:
        console.print(f"{method.name:{width}}  {method.summary}", highlight=False)
    console.print()
    console.print(_table(known))
    console.print("\n`cuvee methods NAME` shows one in full, with its settings, cost and paper.", highlight=False)


def _table(known: list[Method]) -> Table:
    """Make the table of methods and what they need."""
    table = Table(box=None, pad_edge=False, title="What each needs", title_justify="left")
    for title in ("method", "models", *needs(known[0])):
        table.add_column(title)
    for method in known:
        fewest, most = method.models
        count = f"{fewest}" if fewest == most else f"{fewest}+" if most is None else f"{fewest}-{most}"
        table.add_row(method.name, count, *(_short(value) for value in needs(method).values()))
    return table


def _short(need: str) -> str:
    """Shorten a need that depends on a setting."""
    return need if need in ("yes", "no") else "if set"

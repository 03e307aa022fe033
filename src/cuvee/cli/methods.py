"""``cuvee methods``."""

import json
import textwrap
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from cuvee.cli.tables import print_unfolded, table_of
from cuvee.methods.declare import Method
from cuvee.methods.page import as_mapping, needs, page
from cuvee.methods.registry import find_method, methods

__all__ = ["run"]

NARROWEST, WIDEST = 40, 120  # columns: text in a narrower terminal is not wrapped further, nor spread in a wider one


def run(name: str | None, *, as_json: bool) -> None:
    """Print the list, or one method's page."""
    if name is not None:
        found = find_method(name)
        print(json.dumps(as_mapping(found), indent=2) if as_json else _reflowed(page(found)))
        return
    known = list(methods().values())
    if as_json:
        print(json.dumps([as_mapping(method) for method in known], indent=2))
        return
    width = max(len(method.name) for method in known) + 2
    for method in known:
        print(_wrapped(f"{method.name:{width}}{method.summary}", " " * width))
    needed = {method.name: {need: _said(method, value) for need, value in needs(method).items()} for method in known}
    idle = [need for need in needs(known[0]) if all(row[need] == "no" for row in needed.values())]
    print("\nWhat each needs:\n")
    print_unfolded(_table(known, needed, idle))
    print()
    if idle:
        print(_wrapped(f"None of them needs {_listed(idle)}."))
    print(_wrapped("`default`: with the default settings; `if set`: with other settings only."))
    print(_wrapped("`cuvee methods NAME` shows one in full, with its settings, cost and paper."))


def _table(known: Sequence[Method], needed: Mapping[str, Mapping[str, str]], idle: Sequence[str]) -> Table:
    """Make the table of methods and what they need, without what none of them does."""
    shown = [need for need in needs(known[0]) if need not in idle]
    table = table_of(("method", "models", *shown))
    for method in known:
        fewest, most = method.models
        count = f"{fewest}" if fewest == most else f"{fewest}+" if most is None else f"{fewest}-{most}"
        table.add_row(method.name, count, *(needed[method.name][need] for need in shown))
    return table


def _said(method: Method, need: str) -> str:
    """Shorten a need that depends on a setting: say whether the default is that setting."""
    name, _, word = need.partition(": ")
    if not word:
        return need
    return "default" if method.parameters[name].default == word else "if set"


def _listed(words: Sequence[str]) -> str:
    """Write a list: a, b or c."""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _reflowed(text: str) -> str:
    """Wrap a page to the terminal: paragraphs anew, indented lines and items of a list one by one."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and _goes_on(lines[-1]) and _goes_on(line):
            lines[-1] += f" {line}"
        else:
            lines.append(line)
    return "\n".join(_wrapped(line, " " * (len(line) - len(line.lstrip()))) for line in lines)


def _goes_on(line: str) -> bool:
    """Say whether a line is part of a paragraph, not blank, indented or an item of a list."""
    return bool(line) and line[0] not in " *-"


def _wrapped(text: str, indent: str = "") -> str:
    """Wrap a line at words, the lines after the first with an indent."""
    width = min(max(Console().width, NARROWEST), WIDEST)
    return textwrap.fill(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)

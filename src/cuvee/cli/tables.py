"""Tables as the terminal shows them: what a row is called first, one line for each row, nothing cut."""

import re
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from cuvee.cli.lines import plain

__all__ = ["family", "print_unfolded", "table_of"]


class PlainTable(Table):
    """A table whose cells are text; what cannot be printed in them is escaped."""

    def add_row(self, *cells: str) -> None:  # type: ignore[override]
        """Add a row of one line."""
        super().add_row(*map(plain, cells))


def table_of(words: Iterable[str], numbers: Iterable[str] = (), more: Iterable[str] = ()) -> PlainTable:
    """Make an empty table: columns of words, of which the first says what a row is, then of numbers, then of words."""
    table = PlainTable(box=None, pad_edge=False)
    for title in words:
        table.add_column(title, no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    for title in more:
        table.add_column(title, no_wrap=True)
    return table


def print_unfolded(table: Table) -> None:
    """Print a table with one line for each row, however narrow the terminal, so that it can be read and searched.

    Rich would leave out the columns for which there is no room. Cells are shown as they are: a name may hold brackets.
    """
    needed = Console(width=10_000, markup=False, emoji=False).measure(table).maximum
    Console(width=max(Console().width, needed), markup=False, emoji=False).print(table)


def family(name: str) -> str:
    """Return a tensor's name with its layer's number, and other numbers between dots, replaced by a star."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "*", name)

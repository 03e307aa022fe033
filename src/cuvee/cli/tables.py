"""Tables as the terminal shows them."""

from rich.console import Console
from rich.table import Table

__all__ = ["print_unfolded"]


def print_unfolded(table: Table) -> None:
    """Print a table of many rows, one line for each however narrow the terminal, so that it can be searched."""
    needed = Console(width=10_000).measure(table).maximum
    Console(width=max(Console().width, needed)).print(table)

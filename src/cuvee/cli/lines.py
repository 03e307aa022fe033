"""Lines of text as the terminal shows them. Names come from files that may be anyone's: nothing in them acts."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["plain", "say"]


def plain(text: str) -> str:
    """Return text with what cannot be printed, such as the beginning of a terminal's command, escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def say(console: "Console", text: str, *, style: str | None = None) -> None:
    """Print a line as it is, whole, however narrow the terminal."""
    lines = "\n".join(map(plain, text.split("\n")))
    console.print(lines, markup=False, highlight=False, soft_wrap=True, style=style)

"""What the signatures and docstrings of plug-ins say, whatever their kind."""

from dataclasses import dataclass

__all__ = ["Range", "argument_help"]


@dataclass(frozen=True, slots=True)
class Range:
    """Closed interval a number must lie in.

    Attributes:
        low, high: its ends.
        usual: where useful values lie, for searches and for readers; None means everywhere in it.
    """

    low: float
    high: float
    usual: tuple[float, float] | None = None

    @property
    def searched(self) -> tuple[float, float]:
        """The ends of the part that is worth a search."""
        return self.usual or (self.low, self.high)


def argument_help(doc: str) -> dict[str, str]:
    """Read the Args section of a docstring: parameter name to text on one line."""
    section = doc.partition("\nArgs:\n")[2]
    helps: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line.strip() and not line.startswith("    "):
            break
        if line.startswith("    ") and not line.startswith("     ") and ":" in line:
            name, text = line.strip().split(":", 1)
            helps[name] = text.strip()
        elif line.strip() and name:
            helps[name] += " " + line.strip()
    return helps

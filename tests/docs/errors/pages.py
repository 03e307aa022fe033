"""The pages that list errors, as data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ENTRANCE", "GOES_ON", "PAGES", "Entry", "entries", "entry_of"]

ENTRANCE = Path(__file__).resolve().parents[3] / "docs" / "errors.md"
PAGES = sorted((ENTRANCE.parent / "errors").glob("*.md"))

SECTION = re.compile(
    r"^### (?P<ticks>`+) ?(?P<heading>.+?) ?(?P=ticks)\n(?P<text>.*?)(?=^#|\Z)", re.DOTALL | re.MULTILINE
)
KIND = re.compile(r"`(\w+)`\. ")
PLACEHOLDER = re.compile(r"(\{[^{}]*\})")
GOES_ON = "…"
BEFORE_HUB = re.compile(r"'[^']+' is not a local folder or file\..* Taken as a name on the hub: ", re.DOTALL)
"""What comes before what the hub said; the page says so once."""


@dataclass(frozen=True)
class Entry:
    """An error on a page.

    Attributes:
        page: name of the page's file.
        heading: the message, or its first sentences and an ellipsis; what differs from case to case in braces.
        text: below it.
    """

    page: str
    heading: str
    text: str

    @property
    def kind(self) -> str:
        """Name of the exception's class, with which the text begins."""
        found = KIND.match(self.text)
        assert found, (
            f"{self.page}: {self.heading}: the text must begin with the exception, as in `PlanError`. Then why."
        )
        return found[1]

    @property
    def parts(self) -> list[str]:
        """What the message begins with: words, and placeholders."""
        return PLACEHOLDER.split(self.heading.removesuffix(GOES_ON).rstrip())

    @property
    def num_letters(self) -> int:
        """Letters of the heading that are the same in every message."""
        return sum(len(part) for part in self.parts if not PLACEHOLDER.fullmatch(part))

    def matches(self, message: str) -> bool:
        """Say whether the message may be one of this entry's."""
        pattern = "".join(".+" if PLACEHOLDER.fullmatch(part) else re.escape(part) for part in self.parts)
        match = re.match if self.heading.endswith(GOES_ON) else re.fullmatch
        return match(pattern, message, re.DOTALL) is not None


@cache
def entries() -> tuple[Entry, ...]:
    """Return the entries of all pages."""
    return tuple(_entries())


def entry_of(message: str) -> Entry | None:
    """Return the entry of a message: of those whose headings match, the one that has most of its words."""
    message = BEFORE_HUB.sub("", message, count=1)
    return max((entry for entry in entries() if entry.matches(message)), key=lambda e: e.num_letters, default=None)


def _entries() -> Iterator[Entry]:
    for page in PAGES:
        text = page.read_text()
        found = list(SECTION.finditer(text))
        assert len(found) == len(re.findall("^### ", text, re.MULTILINE)), f"{page.name}: a heading is not in backticks"
        for section in found:
            yield Entry(page.name, section["heading"], section["text"].strip())

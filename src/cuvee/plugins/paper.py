"""Where a method was published, and how that is cited."""

from dataclasses import dataclass

__all__ = ["Paper"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    """Where a method was published."""

    title: str
    authors: str
    venue: str
    year: int
    url: str

    def cite(self) -> str:
        """Return the reference as one line."""
        return f"{self.authors}. {self.title}. {self.venue} {self.year}. {self.url}"

    def bibtex(self, key: str) -> str:
        """Return the reference as a BibTeX entry with the given key."""
        fields = {
            "title": self.title,
            "author": self.authors.replace(", ", " and "),
            "year": self.year,
            "note": self.venue,
        }
        body = "".join(f"  {name} = {{{value}}},\n" for name, value in (fields | {"url": self.url}).items())
        return f"@misc{{{key},\n{body}}}\n"

"""A report as Markdown, for documents that lie beside its figures."""

from cuvee.report.content import Figure, Item, Report, Section, Sheet, Table
from cuvee.report.tables import as_markdown

__all__ = ["as_document"]


def as_document(report: Report, folder: str) -> str:
    """Return a report without its title: answers, sections with tables and pictures, and where it comes from.

    Args:
        report: what to tell.
        folder: where its ``figures`` lie, seen from the document.
    """
    cards = "".join(f"* {card.question} **{card.answer}.** {card.detail}\n" for card in report.cards)
    sections = "\n".join(_section(section, folder) for section in report.sections)
    return f"{cards}\n{sections}\n{report.foot}\n"


def _section(section: Section, folder: str) -> str:
    parts = [f"### {section.title}", *section.text, *(_item(item, folder) for item in section.items)]
    return "\n\n".join(parts) + "\n"


def _item(item: Item, folder: str) -> str:
    match item:
        case Table():
            return f"**{item.title}**\n\n{as_markdown(item)}{_note(item.note)}".rstrip("\n")
        case Figure():
            return f"![{item.title}: {item.y} against {item.x}]({folder}/figures/{item.name}.svg){_note(item.note)}"
        case Sheet():
            return f"![{item.title}]({folder}/figures/{item.name}.png){_note(item.note)}"


def _note(text: str) -> str:
    return f"\n\n{text}" if text else ""

"""What a report shows, as plain values. Whoever has results makes these; `write` makes files of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

__all__ = ["Card", "Cell", "Column", "Figure", "Item", "Line", "Number", "Point", "Report", "Section", "Sheet", "Table"]

Unit = Literal["", "percent", "seconds", "bytes", "flops"]
"""How numbers are written: as they are, a share in percent, and quantities with units that fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number with its interval and where it comes from.

    Attributes:
        value: what was measured.
        low, high: ends of its interval, or None.
        origin: what it is taken over, for who wants to know: shown when it is touched, and in the files.
    """

    value: float
    low: float | None = None
    high: float | None = None
    origin: str = ""


Cell: TypeAlias = str | Number | None
"""What stands in a table: text, a number, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        title: a word or two.
        unit: of its numbers.
        is_better_high: whether the best number is the largest (True), the smallest (False), or none is best (None).
    """

    title: str
    unit: Unit = ""
    is_better_high: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        name: of its files.
        title: above it.
        columns: the first says what a row is.
        rows: as long as there are columns.
        groups: a word for each row that sets it apart ("baseline"); rows of a group stand together. The best numbers
            are marked in the first group alone.
        note: below it.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    groups: Sequence[str] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point of a figure.

    Attributes:
        x, y: where it is.
        x_range, y_range: ends of intervals, or None.
        label: what it is, shown when it is touched.
    """

    x: float
    y: float
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Points that belong together.

    Attributes:
        name: in the legend.
        points: in the order in which they are joined.
        is_published: somebody else's numbers, drawn dashed.
    """

    name: str
    points: Sequence[Point]
    is_published: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure.

    Attributes:
        name: of its files.
        title: above it.
        x, y: what the axes are.
        lines: what is drawn.
        is_joined: points of a line are joined.
        is_log_x: the x axis is logarithmic.
        note: below it.
    """

    name: str
    title: str
    x: str
    y: str
    lines: Sequence[Line]
    is_joined: bool = True
    is_log_x: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Small grey images side by side.

    Attributes:
        name: of its files.
        title: above it.
        columns: what stands in a column.
        rows: (name, for each column images, each a list of rows of 0 to 255).
        note: below it.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Sequence[Sequence[Sequence[int]]]]]]
    note: str = ""


Item: TypeAlias = Table | Figure | Sheet


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """An answer in one look.

    Attributes:
        question: what a reader asks.
        answer: a few words.
        detail: a sentence or two.
    """

    question: str
    answer: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a report.

    Attributes:
        title: its heading.
        text: paragraphs.
        items: tables, figures and sheets.
    """

    title: str
    text: Sequence[str] = ()
    items: Sequence[Item] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A report.

    Attributes:
        title: of the page.
        lead: what it is about, a sentence or two.
        cards: the answers.
        sections: the rest.
        foot: where it comes from.
    """

    title: str
    lead: str
    cards: Sequence[Card]
    sections: Sequence[Section]
    foot: str

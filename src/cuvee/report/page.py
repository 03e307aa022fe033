"""A report as one page of HTML that needs nothing else: no network, no other file, and, for all text, no script."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from cuvee.report.content import Card, Cell, Figure, Item, Number, Report, Section, Sheet, Table
from cuvee.report.figures import drawn, image_png
from cuvee.report.numbers import text_of
from cuvee.report.plots import plot_of

__all__ = ["page"]

LONG = 40  # letters: longer text gets a wider column


def page(report: Report) -> str:
    """Return the page; plotly's script in it makes it about 5 MB."""
    from plotly.offline import get_plotlyjs

    read = files(__package__)
    sections = "".join(map(_section, report.sections))
    links = "".join(f'<a href="#{_anchor(s.title)}">{escape(s.title)}</a>' for s in report.sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(report.title)}</title>\n<style>\n{read.joinpath('page.css').read_text()}</style>\n</head>\n"
        "<body>\n"
        f'<header>\n<h1>{escape(report.title)}</h1>\n<p class="lead">{escape(report.lead)}</p>\n'
        f'<nav aria-label="Contents">{links}</nav>\n</header>\n<main>\n'
        f'<div class="cards">\n{"".join(map(_card, report.cards))}</div>\n{sections}</main>\n'
        f"<footer><p>{escape(report.foot)}</p></footer>\n"
        '<output id="origin" role="status" hidden></output>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>\n{read.joinpath('page.js').read_text()}</script>\n"
        "</body>\n</html>\n"
    )


def _anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def _card(card: Card) -> str:
    return (
        f'<section class="card"><h2>{escape(card.question)}</h2><strong>{escape(card.answer)}</strong>'
        f"<p>{escape(card.detail)}</p></section>\n"
    )


def _section(section: Section) -> str:
    text = "".join(f"<p>{escape(paragraph)}</p>\n" for paragraph in section.text)
    return (
        f'<section id="{_anchor(section.title)}">\n<h2>{escape(section.title)}</h2>\n{text}'
        f"{''.join(map(_item, section.items))}</section>\n"
    )


def _item(item: Item) -> str:
    match item:
        case Table():
            return _table(item)
        case Figure():
            return _figure(item)
        case Sheet():
            return _sheet(item)


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>\n' if text else ""


def _table(table: Table) -> str:
    """Write a table in a box of its own that scrolls; the first column names rows."""
    is_number = [any(isinstance(row[i], Number) for row in table.rows) for i in range(len(table.columns))]
    heads = []
    for column, numeric in zip(table.columns, is_number, strict=True):
        title = f"{column.title}, %" if column.unit == "percent" else column.title
        kind = "" if numeric else ' class="words"'
        heads.append(f'<th scope="col"{kind} aria-sort="none"><button type="button">{escape(title)}</button></th>')
    bodies = "".join(_bodies(table))
    return (
        f'<h3 id="table-{escape(table.name)}">{escape(table.title)}</h3>\n'
        f'<div class="box" tabindex="0" role="region" aria-labelledby="table-{escape(table.name)}">'
        f"<table><thead><tr>{''.join(heads)}</tr></thead>{bodies}</table></div>\n{_note(table.note)}"
    )


def _bodies(table: Table) -> Iterator[str]:
    """Write the rows, those of a group in a body of their own; the best numbers of the first group are marked."""
    groups = list(table.groups) or [""] * len(table.rows)
    best = (
        _best(table, [row for row, group in zip(table.rows, groups, strict=True) if group == groups[0]])
        if groups
        else []
    )
    for place, group in enumerate(dict.fromkeys(groups)):
        head = (
            f'<tr class="group"><th colspan="{len(table.columns)}">{escape(group)}</th></tr>' if place and group else ""
        )
        rows = [row for row, own in zip(table.rows, groups, strict=True) if own == group]
        yield f"<tbody>{head}{''.join(_row(table, row, best if place == 0 else []) for row in rows)}</tbody>"


def _best(table: Table, rows: Sequence[Sequence[Cell]]) -> list[float | None]:
    """Return the best number of each column, where one is better than others."""
    found: list[float | None] = []
    for i, column in enumerate(table.columns):
        values = [cell.value for row in rows if isinstance(cell := row[i], Number) and cell.value == cell.value]
        asked = column.is_better_high is not None and len(values) > 1
        found.append((max if column.is_better_high else min)(values) if asked else None)
    return found


def _row(table: Table, row: Sequence[Cell], best: Sequence[float | None]) -> str:
    cells = [f'<th scope="row">{escape(text_of(row[0], ""))}</th>']
    for i, (cell, column) in enumerate(zip(row[1:], table.columns[1:], strict=True), start=1):
        text = escape(text_of(cell, column.unit))
        if isinstance(cell, Number):
            mark = ' class="best"' if best and cell.value == best[i] else ""
            said = escape(cell.origin, quote=True)
            more = f' data-origin="{said}" title="{said}" tabindex="0"' if cell.origin else ""
            cells.append(f'<td data-value="{cell.value!r}"{mark}{more}>{text}</td>')
        else:
            kind = "words long" if len(text) > LONG else "words"
            cells.append(f'<td class="{kind}">{text}</td>' if cell else "<td></td>")
    return f"<tr>{''.join(cells)}</tr>"


def _figure(figure: Figure) -> str:
    data = json.dumps(plot_of(figure), ensure_ascii=True).replace("<", "\\u003c")
    still = b64encode(drawn(figure)["png"]).decode()
    name = escape(figure.name)
    alt = escape(f"{figure.title}: {figure.y} against {figure.x}, {len(figure.lines)} lines.", quote=True)
    return (
        f'<figure>\n<h3>{escape(figure.title)}</h3>\n<div class="plot" data-plot="plot-{name}" role="img" '
        f'aria-label="{alt}"></div>\n'
        f'<noscript><img alt="{alt}" width="100%" src="data:image/png;base64,{still}"></noscript>\n'
        f'<script type="application/json" id="plot-{name}">{data}</script>\n'
        f"<figcaption>{escape(figure.note)} Files: figures/{name}.png, figures/{name}.svg.</figcaption>\n</figure>\n"
    )


def _sheet(sheet: Sheet) -> str:
    """Write images in a grid with names of rows and columns."""
    columns = f'style="grid-template-columns: repeat({len(sheet.columns) + 1}, max-content)"'
    heads = "<span></span>" + "".join(f"<span>{escape(name)}</span>" for name in sheet.columns)
    rows = []
    for name, blocks in sheet.rows:
        cells = []
        for column, images in zip(sheet.columns, blocks, strict=True):
            alt = escape(f"{name}, {column}", quote=True)
            data = b64encode(image_png(images)).decode()
            cells.append(f'<img alt="{alt}" src="data:image/png;base64,{data}">')
        rows.append(f"<span>{escape(name)}</span>{''.join(cells)}")
    return (
        f'<figure>\n<h3 id="sheet-{escape(sheet.name)}">{escape(sheet.title)}</h3>\n'
        f'<div class="box" tabindex="0" role="region" aria-labelledby="sheet-{escape(sheet.name)}">'
        f'<div class="sheet" {columns}>{heads}{"".join(rows)}</div></div>\n'
        f"<figcaption>{escape(sheet.note)}</figcaption>\n</figure>\n"
    )

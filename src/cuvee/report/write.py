"""A report as a folder: a page, and each figure and table as files of their own."""

from pathlib import Path

from cuvee.errors import OutputError
from cuvee.report.content import Figure, Report, Sheet, Table
from cuvee.report.figures import check_libraries, drawn, sheet_png
from cuvee.report.page import page
from cuvee.report.tables import as_csv, as_json, as_markdown

__all__ = ["PAGE", "write"]

PAGE = "index.html"


def write(report: Report, folder: Path, *, with_page: bool = True) -> None:
    """Write ``index.html``, ``figures/NAME.png`` and ``.svg``, and ``tables/NAME.csv``, ``.json`` and ``.md``.

    The same report gives the same bytes. What stands there under these names is replaced.

    Args:
        report: what to write.
        folder: made if it is not there.
        with_page: write the page, which is large.

    Raises:
        MissingLibraryError: matplotlib or plotly is not installed.
        OutputError: a file cannot be written.
    """
    check_libraries()
    contents: dict[str, bytes] = {PAGE: page(report).encode()} if with_page else {}
    for section in report.sections:
        for item in section.items:
            match item:
                case Table():
                    for kind, written in (("csv", as_csv), ("json", as_json), ("md", as_markdown)):
                        contents[f"tables/{item.name}.{kind}"] = written(item).encode()
                case Figure():
                    contents |= {f"figures/{item.name}.{kind}": data for kind, data in drawn(item).items()}
                case Sheet():
                    contents[f"figures/{item.name}.png"] = sheet_png(item)
    for name, data in contents.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise OutputError(f"{path}: the report cannot be written: {error.strerror}.") from error

"""Reports as files: tables in three formats, pictures, and a page that needs nothing else."""

import csv
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cuvee.errors import MissingLibraryError, OutputError
from cuvee.report.figures import drawn, sheet_png
from cuvee.report.numbers import shown
from cuvee.report.page import page
from cuvee.report.tables import as_csv, as_json, as_markdown
from cuvee.report.write import write
from report.contents import CURVES, EVIL, REPORT, SHEET, TABLE

VOID = {"meta", "img", "br", "link", "input"}


class Reader(HTMLParser):
    """Checks that tags nest, and notes what is asked for from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.asked: list[str] = []
        self.ids: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags[tag] += 1
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("data:", "#")):
                self.asked.append(value)
            if name == "id":
                self.ids.append(value)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data


@pytest.fixture(scope="module")
def read() -> Reader:
    reader = Reader()
    reader.feed(page(REPORT))
    return reader


def test_tags_nest_and_names_are_unique(read: Reader) -> None:
    assert read.open == []
    assert len(read.ids) == len(set(read.ids))
    assert read.tags["h1"] == read.tags["main"] == read.tags["header"] == read.tags["footer"] == 1


def test_the_page_asks_for_nothing_from_elsewhere(read: Reader) -> None:
    assert read.asked == []


def test_text_stays_text(read: Reader) -> None:
    """Two scripts of our own, and the data of two figures; none of the text's."""
    assert read.tags["script"] == 4
    assert read.text.count(EVIL) == 6  # title and heading, a card, a row's name and setting, a figure's note


def test_every_number_of_a_table_is_in_the_page_without_a_script(read: Reader) -> None:
    for text in ("70.0 ± 5.0", "80.0 ± 10.0", "0.02 s", "5 min", "scale 0.5"):
        assert text in read.text


def test_the_best_of_the_first_group_is_marked() -> None:
    marked = re.findall(r'<td data-value="([^"]+)" class="best"', page(REPORT))
    assert marked == ["0.02", "0.8"]


def test_csv_has_every_number_in_full_with_its_origin() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert rows[1]["held-in"] == "0.8"
    assert (rows[1]["held-in low"], rows[1]["held-in high"]) == ("0.7", "0.9")
    assert rows[1]["origin"] == "3 seeds; 4 sets"
    assert (rows[3]["group"], rows[3]["merge"]) == ("Baselines", "")
    assert rows[2]["method"] == EVIL


def test_json_is_the_same_table() -> None:
    content = json.loads(as_json(TABLE))
    assert content["rows"][1]["held-in"] == {"value": 0.8, "low": 0.7, "high": 0.9, "origin": "3 seeds; 4 sets"}
    assert content["rows"][3] == {"group": "Baselines", "method": "base", "settings": "", "merge": None,
                                  "held-in": {"value": 0.9, "low": None, "high": None, "origin": ""}}  # fmt: skip


def test_markdown_has_a_cell_for_each_column() -> None:
    lines = as_markdown(TABLE).splitlines()
    assert lines[0] == "| method | held-in, % | merge | settings |"
    assert lines[3] == "| ties | 80.0 ± 10.0 | 0.5 s | scale 0.5 |"
    assert lines[5] == "| **Baselines** |  |  |  |"
    assert lines[6].startswith("| base |")
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in lines)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(REPORT, tmp_path / name)
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert {path.as_posix() for path in files[0]} == {
        "index.html", "tables/board.csv", "tables/board.json", "tables/board.md", "figures/samples.png",
        *(f"figures/{name}.{kind}" for name in ("curves", "scatter") for kind in ("png", "svg")),
    }  # fmt: skip


def test_figures_are_pictures_with_their_text() -> None:
    files = drawn(CURVES)
    assert files["png"].startswith(b"\x89PNG")
    assert b"Held-in by number" in files["svg"]
    assert b"theirs" in files["svg"]


def test_a_sheet_shows_every_pixel(tmp_path: Path) -> None:
    from matplotlib import image

    pixels = (image.imread(io.BytesIO(sheet_png(SHEET)))[::3, ::3, 0] * 255).round().astype(int)
    assert pixels.shape == (2 * 6, 4 * 6)  # two rows, two columns of two images, a frame of two pixels around each
    assert pixels[2:4, 2:4].tolist() == [[0, 255], [255, 0]]
    assert pixels[8:10, 2:4].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0042, "seconds", "4.2 ms"), (0.0123, "seconds", "0.012 s"), (0.5, "seconds", "0.5 s"),
        (300, "seconds", "5 min"), (7200, "seconds", "2.0 h"), (2.5e9, "bytes", "2.5 GB"), (3e12, "flops", "3 TFLOP"),
        (0.1234, "percent", "12.3"), (12345.0, "", "12,345"), (float("nan"), "percent", "–"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(value: float, unit: Any, text: str) -> None:
    assert shown(value, unit) == text


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tables").write_text("")
    with pytest.raises(OutputError, match=r"tables/board\.csv: the report cannot be written"):
        write(REPORT, tmp_path, with_page=False)


def test_a_missing_library_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "plotly", None)
    with pytest.raises(
        MissingLibraryError, match=r"plotly, which is not installed; run: pip install 'cuvee\[report\]'"
    ):
        write(REPORT, tmp_path)

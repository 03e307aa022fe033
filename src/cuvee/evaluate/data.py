"""Files that models are scored with: a text, or a table of examples. Read whole, checked, with a digest.

A table is JSON Lines (an object on each line), CSV or TSV (a line of titles first); its name says which.
"""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cuvee.digest import digest_of_bytes
from cuvee.errors import ScoreError, nearest
from cuvee.sources.strict_json import shown

__all__ = ["Row", "Table", "Text", "number_in", "read_table", "read_text", "word_in", "words_in"]

SEPARATORS = {".csv": ",", ".tsv": "\t"}
LINES = ".jsonl"


@dataclass(frozen=True, slots=True)
class Text:
    """A text to read.

    Attributes:
        path: its file.
        text: its content.
        digest: of the file's bytes.
    """

    path: Path
    text: str
    digest: str


@dataclass(frozen=True, slots=True)
class Row:
    """An example.

    Attributes:
        line: of the file, for messages; the first is 1.
        values: by column; text, of JSON Lines any JSON.
        path: the table's file.
    """

    line: int
    values: Mapping[str, object]
    path: Path

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True)
class Table:
    """Examples, in order.

    Attributes:
        path: its file.
        rows: the examples.
        digest: of the file's bytes.
    """

    path: Path
    rows: Sequence[Row]
    digest: str

    def first(self, limit: int | None) -> "Table":
        """Return the table with at most so many rows."""
        return self if limit is None else replace(self, rows=self.rows[:limit])


def read_text(path: Path) -> Text:
    """Read a text.

    Raises:
        ScoreError: it cannot be read, is not UTF-8, or is empty.
    """
    raw = _bytes(path)
    text = _decoded(path, raw)
    if not text.strip():
        raise ScoreError(f"{path} is empty; a text to score with was expected.")
    return Text(path, text, digest_of_bytes(raw))


def read_table(path: Path, columns: Sequence[str]) -> Table:
    """Read a table.

    Args:
        path: its file.
        columns: what every row must have.

    Raises:
        ScoreError: it cannot be read, is none, is empty, or a row lacks a column.
    """
    kind = path.suffix.lower()
    if kind != LINES and kind not in SEPARATORS:
        raise ScoreError(
            f"{path} is no table that is read here; give JSON Lines (.jsonl), comma-separated (.csv) or tab-separated "
            "values (.tsv)."
        )
    raw = _bytes(path)
    text = _decoded(path, raw)
    rows = list(_lines(path, text) if kind == LINES else _separated(path, text, SEPARATORS[kind]))
    if not rows:
        raise ScoreError(f"{path} has no examples.")
    for row in rows:
        _check(row, columns)
    return Table(path, rows, digest_of_bytes(raw))


def word_in(row: Row, column: str) -> str:
    """Return the text in a column.

    Raises:
        ScoreError: it is no text.
    """
    value = row.values[column]
    if not isinstance(value, str):
        raise ScoreError(f"{row.place}: '{column}' is {shown(value)}; text was expected.")
    return value


def words_in(row: Row, column: str) -> Sequence[str]:
    """Return the texts in a column: a list of them, or one.

    Raises:
        ScoreError: it is neither, or there is none.
    """
    value = row.values[column]
    listed = value if isinstance(value, list) else [value]
    texts = [each for each in listed if isinstance(each, str)]
    if not listed or len(texts) < len(listed):
        raise ScoreError(f"{row.place}: '{column}' is {shown(value)}; text, or a list of texts, was expected.")
    return texts


def number_in(row: Row, column: str) -> float:
    """Return the number in a column.

    Raises:
        ScoreError: it is none, or is not finite.
    """
    value = row.values[column]
    try:
        number = float("nan") if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise ScoreError(f"{row.place}: '{column}' is {shown(value)}; a number was expected.")
    return number


def _bytes(path: Path) -> bytes:
    """Read a file whole."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ScoreError(f"{path}, which a score needs, cannot be read: {error.strerror}.") from error


def _decoded(path: Path, raw: bytes) -> str:
    """Return a file's bytes as text."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ScoreError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}. Convert it.") from error


def _lines(path: Path, text: str) -> Iterator[Row]:
    """Yield the rows of JSON Lines; empty lines are none."""
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: a string may hold other ends of a line
        if line.strip():
            try:
                values = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ScoreError(f"{path}:{number} is not valid JSON: {error}.") from error
            if not isinstance(values, dict):
                raise ScoreError(f"{path}:{number} is JSON of type {type(values).__name__}; expected an object, {{…}}.")
            yield Row(number, values, path)


def _separated(path: Path, text: str, separator: str) -> Iterator[Row]:
    """Yield the rows of a table with separators, whose first line are titles."""
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        titles = reader.fieldnames or []
        if twice := next((title for title in titles if titles.count(title) > 1), None):
            raise ScoreError(f"{path}:1 has two columns called '{twice}'; rename one.")
        for values in reader:
            if None in values:
                raise ScoreError(
                    f"{path}:{reader.line_num} has more cells than the {len(titles)} titles of the first line. Put a "
                    "cell that holds the separator in double quotes."
                )
            yield Row(reader.line_num, {key: value for key, value in values.items() if value is not None}, path)
    except csv.Error as error:
        raise ScoreError(f"{path}:{reader.line_num + 1} cannot be read as a table: {error}.") from error


def _check(row: Row, columns: Sequence[str]) -> None:
    """Verify that a row has what it must have."""
    for column in columns:
        if row.values.get(column, "") is None:
            raise ScoreError(f"{row.place}: '{column}' is null; every row needs a value.")
        if column not in row.values:
            there = [str(key) for key in row.values]
            raise ScoreError(
                f"{row.place} has no '{column}'.{nearest(column, there)} It has: {', '.join(there) or 'nothing'}."
            )

"""Strict reading of the JSON beside and inside weights: no duplicate keys, no surprise types, no unbounded work.

Knows nothing of tensors.
"""

import json
import reprlib
import stat
from pathlib import Path

from cuvee.errors import FormatError, SourceError

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_JSON_BYTES",
    "MEMORY_PER_BYTE",
    "check_small",
    "parse_object",
    "read_object",
    "read_small",
    "shown",
]

MAX_JSON_BYTES = 100_000_000
"""The limit of the safetensors format on its own header."""
MAX_FILE_BYTES = 32_000_000
"""Largest index, configuration or record: an index takes 100 bytes for each tensor, and the others less."""
MEMORY_PER_BYTE = 32
"""Bytes of memory that parsing takes for each byte of JSON, at most. Python's objects are large: 15 for a header of
tiny tensors, 28 for the worst, a list of objects of one member each (measured). So the largest header of tensors takes
1.5 GB, a hostile one 2.8 GB until it is refused, and any other file 0.9 GB."""

# Names come from files we do not trust; a message must stay one readable paragraph.
SHOWN_CHARACTERS = 200


def shown(text: object) -> str:
    """Return `text` as Python would write it, for a message: control characters escaped, what is long left out."""
    return repr(_shortened(text)) if isinstance(text, str) else reprlib.repr(text)


def _shortened(text: str) -> str:
    half = SHOWN_CHARACTERS // 2
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:half]}…{text[-half:]}"


def parse_object(raw: bytes, where: str, *, constants: bool = False) -> dict[str, object]:
    """Parse UTF-8 JSON whose outermost value is an object.

    Args:
        raw: the bytes.
        where: what they are, to begin a message with (a file, or a part of one).
        constants: accept ``NaN`` and ``Infinity``, as Python writes them (the configuration of Mamba models holds
            some).

    Raises:
        FormatError: not UTF-8, not JSON, not an object, a key given twice, a number or nesting beyond reason.
    """
    try:
        value = json.loads(
            raw.decode("utf-8"),
            # Only an escape can make a lone surrogate: UTF-8 has none.
            object_pairs_hook=_encodable if b"\\u" in raw else _unique,
            parse_constant=None if constants else _refuse_constant,
        )
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise FormatError(f"{where} is not UTF-8 text ({error.reason}); expected JSON. Download it again.") from error
    except RecursionError as error:
        raise FormatError(
            f"{where} is nested too deeply to be read; expected a plain JSON object. Download it again."
        ) from error
    except ValueError as error:
        raise FormatError(f"{where} is not valid JSON: {_shortened(str(error))}. Download it again.") from error
    if not isinstance(value, dict):
        raise FormatError(
            f"{where} is JSON of type {type(value).__name__}; expected an object, {{…}}. Download it again."
        )
    return value


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its members, each named once."""
    table = dict(pairs)
    if len(table) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the name {shown(key)} is given twice")
            seen.add(key)
    return table


def _encodable(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Make an object of its members, each named once, of names and words that are text."""
    table = _unique(pairs)
    for key, value in pairs:
        # A lone surrogate ("\ud800") is JSON but no text: it could neither be printed nor written again.
        key.encode()
        if isinstance(value, str):
            value.encode()
    return table


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not a JSON number")


def read_object(path: Path, *, constants: bool = False) -> dict[str, object]:
    """Read a small JSON file whose outermost value is an object.

    Args:
        path: the file.
        constants: accept ``NaN`` and ``Infinity``.

    Raises:
        SourceError: the file cannot be read.
        FormatError: it is too large, or not such JSON.
    """
    return parse_object(read_small(path), str(path), constants=constants)


def read_small(path: Path) -> bytes:
    """Read a small file whole.

    Raises:
        SourceError: it cannot be read.
        FormatError: it is too large to be JSON beside weights.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise SourceError(f"{path} is not an ordinary file; expected a JSON file. Copy it to one.")
        check_small(status.st_size, str(path))
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error


def check_small(nbytes: int, where: str) -> None:
    """Verify that a file is of a size that JSON beside weights may have.

    Raises:
        FormatError: it is too large.
    """
    if nbytes > MAX_FILE_BYTES:
        raise FormatError(
            f"{where} has {nbytes:,} bytes; a JSON file of at most {MAX_FILE_BYTES:,} was expected. Download it again."
        )

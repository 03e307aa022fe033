"""Reading the record that a merge has left: where it lies, and whether it is as it was written.

Knows nothing of the weights that it speaks of.
"""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from cuvee.errors import FormatError, SourceError, some
from cuvee.execute.provenance import FORMAT, SIDECAR, record_of
from cuvee.sources.folder import SUFFIX
from cuvee.sources.strict_json import read_object, shown

__all__ = ["output_of", "read_record"]

MOST_NAMED = 8


def output_of(path: Path) -> Path:
    """Return the output that a path means: that beside which it lies if it is a record, or else itself."""
    if path.name == SIDECAR and path.is_file():
        return path.parent
    if path.name.endswith(f".{SIDECAR}") and path.is_file():
        return path.with_name(path.name.removesuffix(f".{SIDECAR}") + SUFFIX)
    return path


def read_record(out: Path) -> Mapping[str, Any]:
    """Read the record beside a merge.

    Args:
        out: the folder, or the file, that the merge has written.

    Returns:
        The record; what is used of it has the types that `cuvee.execute.provenance` gives it.

    Raises:
        SourceError: there is no record; names those that are within.
        FormatError: it is not as it was written, or of another version.
    """
    path = record_of(out)
    if not path.is_file():
        raise _missing(out, path)
    try:
        record = read_object(path)
    except FormatError as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise _damaged(path, f"it is no JSON object{cause}") from error
    version = record.get("format")
    if type(version) is int and version != FORMAT:
        raise FormatError(f"{path} has format {version}; this version reads format {FORMAT}.")
    for key, value in _wrong(record):
        raise _damaged(path, f"'{key}' is {'missing' if value is None else shown(value)}")
    return record


def _missing(out: Path, path: Path) -> SourceError:
    """Say that there is no record, and where there are some."""
    merges = _merges_within(out) if out.is_dir() else []
    if not merges:
        return SourceError(f"{out} has no record, which a merge leaves as {path}: there is nothing to compare with.")
    return SourceError(
        f"{out} has no record of its own, but holds the merges {some([each.name for each in merges], MOST_NAMED)}. "
        f"Verify each by itself: cuvee verify {shlex.quote(str(merges[0]))}"
    )


def _merges_within(folder: Path) -> list[Path]:
    """Return what a folder holds that has a record."""
    records = sorted([*folder.glob(f"*/{SIDECAR}"), *folder.glob(f"*.{SIDECAR}")])
    return [output_of(record) for record in records if record.is_file()]


def _damaged(path: Path, what: str) -> FormatError:
    return FormatError(
        f"{path} is not the record of a merge, or is damaged: {what}. Copy it again from where the merge was made, or "
        "merge again."
    )


def _wrong(record: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield what is not as a merge writes it, as key and value; the value is None where there is none."""
    if type(record.get("format")) is not int:
        yield "format", record.get("format")
    if not isinstance(record.get("recipe"), dict):
        yield "recipe", record.get("recipe")
    output, inputs = record.get("output"), record.get("inputs")
    if isinstance(output, dict):
        files = output.get("files", {})  # earlier releases wrote none
        if not isinstance(output.get("digest"), str):
            yield "output.digest", output.get("digest")
        if not _are_digests(output.get("tensors")):
            yield "output.tensors", output.get("tensors")
        if not _are_digests(files) or not all(map(_lies_within, files)):
            yield "output.files", files
    else:
        yield "output", output
    if isinstance(inputs, dict):
        yield from ((f"inputs.{label}", value) for label, value in inputs.items() if not _is_input(value))
    else:
        yield "inputs", inputs


def _are_digests(value: object) -> bool:
    """Say whether a value has a digest for each of some names."""
    return isinstance(value, dict) and all(isinstance(digest, str) for digest in value.values())


def _lies_within(name: str) -> bool:
    """Say whether a name is that of a file in a folder, or further within."""
    path = PurePosixPath(name)
    return bool(path.name) and not path.is_absolute() and ".." not in path.parts


def _is_input(value: object) -> bool:
    """Say whether a value describes an input as a merge does."""
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        return False
    unused, location = value.get("unused"), value.get("location")
    are_names = isinstance(unused, list) and all(isinstance(name, str) for name in unused)
    places = str if value.get("adapter") else str | dict | None
    return are_names and isinstance(location, places)

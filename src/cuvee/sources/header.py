"""The header of a safetensors file, parsed as if its author meant harm.

A file is 8 bytes (length of the header, little-endian), the header (JSON: name → dtype, shape, first and last byte),
and the data. The file's word is believed only as far as the file's real size agrees with it.
Format: https://huggingface.co/docs/safetensors/index#format (no code consulted).
"""

import gc
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

import xxhash

from cuvee.errors import FormatError, SourceError, nearest
from cuvee.sources.strict_json import MAX_JSON_BYTES, parse_object, shown
from cuvee.spec import DTYPES, DType, TensorSpec

__all__ = ["FileHeader", "Placed", "fetch_header", "read_header"]

LENGTH_BYTES = 8
FIRST_BYTES = 256 << 10  # fetched at once from elsewhere: nearly every header is shorter
LFS_START = b"version "  # a pointer that stands for a file kept elsewhere; no header is that long
FIELDS = ("dtype", "shape", "data_offsets")
_KNOWN = frozenset(FIELDS)
# numpy and torch stop at 64 axes.
MAX_RANK = 64
# Strides and sizes are signed 64-bit in every library that could read the tensor.
MAX_EXTENT = 2**63 - 1

ADVICE = "The file is damaged or was not written as safetensors: download or write it again."


@dataclass(frozen=True, slots=True)
class Placed:
    """A tensor and where its bytes are.

    Attributes:
        spec: shape and element type.
        begin: offset of its first byte, counted from the beginning of the file.
    """

    spec: TensorSpec
    begin: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileHeader:
    """What a safetensors file says of itself, verified against its size.

    Attributes:
        data_offset: where the data begins, in bytes.
        tensors: every tensor and its place, in the order in which the bytes are stored.
        metadata: free text the writer left.
        file_bytes: size of the file when the header was read.
        version: another one as soon as the file is changed: on a disk the time of its last change, in nanoseconds.
        digest: XXH3 hash of the header's text, 32 hexadecimal digits.
    """

    data_offset: int
    tensors: Mapping[str, Placed]
    metadata: Mapping[str, str]
    file_bytes: int
    version: str
    digest: str


def read_header(path: Path) -> FileHeader:
    """Read and verify the header of a safetensors file; no weight is read.

    Takes memory in proportion to the header, which is at most 100 MB and never more than the file; at most
    `MEMORY_PER_BYTE` for each of its bytes.

    Raises:
        SourceError: the file cannot be opened or is not an ordinary file.
        FormatError: it is not a whole, well-formed safetensors file; names the file, the tensor and the cause.
    """
    try:
        # Looked at before it is opened: opening a pipe would wait for a writer.
        if not stat.S_ISREG(path.stat().st_mode):
            raise SourceError(f"{path} is not an ordinary file; expected a safetensors file. Copy it to one.")
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            raw = _header_bytes(lambda _, count: file.read(count), status.st_size, str(path))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    return _parsed(raw, status.st_size, str(status.st_mtime_ns), str(path))


def fetch_header(read: Callable[[int, int], bytes], file_bytes: int, version: str, where: str) -> FileHeader:
    """Read and verify the header of a safetensors file that lies elsewhere; no weight is read.

    Args:
        read: returns bytes of the file, given the first and how many, at most as many as there are; called at most
            twice, in order.
        file_bytes: size of the file.
        version: goes into the header.
        where: what messages call the file.

    Raises:
        SourceError: what `read` raises.
        FormatError: see `read_header`.
    """
    start = read(0, min(FIRST_BYTES, file_bytes))

    def part(position: int, count: int) -> bytes:
        return start[position : position + count] if position + count <= len(start) else read(position, count)

    return _parsed(_header_bytes(part, file_bytes, where), file_bytes, version, where)


def _parsed(raw: bytes, file_bytes: int, version: str, path: str) -> FileHeader:
    """Make sense of a header's text."""
    data_offset = LENGTH_BYTES + len(raw)
    with _uncollected():
        table = parse_object(raw, f"{path}: the header")
        metadata = _metadata(table.pop("__metadata__", {}), path)
        spans = {name: _span(path, name, fields) for name, fields in table.items()}
        tensors = _tiled(path, spans, data_offset, file_bytes)
    return FileHeader(
        data_offset=data_offset,
        tensors=tensors,
        metadata=metadata,
        file_bytes=file_bytes,
        version=version,
        digest=xxhash.xxh3_128_hexdigest(raw),
    )


@contextmanager
def _uncollected() -> Iterator[None]:
    """Put off Python's search for cycles: a large header makes many objects and no cycle, and each search sees all."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _header_bytes(read: Callable[[int, int], bytes], file_bytes: int, path: str) -> bytes:
    start = read(0, min(LENGTH_BYTES, file_bytes))
    if len(start) < LENGTH_BYTES:
        raise FormatError(
            f"{path} has {len(start)} bytes; a safetensors file begins with {LENGTH_BYTES} that hold its header's "
            f"length. {ADVICE}"
        )
    if start == LFS_START:
        raise FormatError(f"{path} is a git-lfs pointer, not the weights. Run `git lfs pull` in its folder.")
    length = int.from_bytes(start, "little")
    if length > file_bytes - LENGTH_BYTES:
        raise FormatError(
            f"{path}: the header claims {length:,} bytes, but only {file_bytes - LENGTH_BYTES:,} follow. "
            f"The file is truncated or not safetensors: download it again."
        )
    if length > MAX_JSON_BYTES:
        raise FormatError(f"{path}: the header claims {length:,} bytes; the format allows {MAX_JSON_BYTES:,}. {ADVICE}")
    raw = read(LENGTH_BYTES, length)
    if not raw.startswith(b"{"):
        raise FormatError(f"{path}: the header begins with {shown(raw[:8])}; expected '{{'. {ADVICE}")
    return raw


def _metadata(value: object, path: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise FormatError(f"{path}: __metadata__ is {shown(value)}; expected an object of texts. {ADVICE}")
    for key, text in value.items():
        if not isinstance(text, str):
            raise FormatError(f"{path}: __metadata__ {shown(key)} is {shown(text)}; expected text. {ADVICE}")
    return value


def _bad(path: str, name: str, cause: str, hint: str = "") -> FormatError:
    return FormatError(f"{path}: tensor {shown(name)}: {cause}.{hint} {ADVICE}")


def _span(path: str, name: str, fields: object) -> tuple[TensorSpec, int, int]:
    """Return specification, first byte and end of a tensor within the data, each verified by itself."""
    if not isinstance(fields, dict):
        raise _bad(path, name, f"is described by {shown(fields)}; expected an object with {', '.join(FIELDS)}")
    if fields.keys() != _KNOWN:
        raise _bad(path, name, f"{_misfit(fields)}; expected {', '.join(FIELDS)}")
    dtype = _dtype(path, name, fields["dtype"])
    spec = _specification(_shape(path, name, fields["shape"]), dtype.name)
    begin, end = _offsets(path, name, fields["data_offsets"])
    bits = spec.size * dtype.bits
    if bits % 8:
        raise _bad(path, name, f"{spec.size} elements of {dtype} do not fill whole bytes")
    if end - begin != bits // 8:
        raise _bad(path, name, f"takes {end - begin:,} bytes, but shape {spec.shape} of {dtype} needs {bits // 8:,}")
    return spec, begin, end


def _misfit(fields: Mapping[str, object]) -> str:
    """Say which field is missing, or else which is unknown."""
    for field in FIELDS:
        if field not in fields:
            return f"'{field}' is missing"
    return next(f"unknown field {shown(field)}" for field in fields if field not in _KNOWN)


@lru_cache(maxsize=1 << 12)
def _specification(shape: tuple[int, ...], dtype: str) -> TensorSpec:
    """Return one object for equal specifications: a model has few, and tens of thousands of tensors."""
    return TensorSpec(shape, DTYPES[dtype])


def _dtype(path: str, name: str, value: object) -> DType:
    dtype = DTYPES.get(value) if isinstance(value, str) else None
    if dtype is None:
        hint = nearest(value[:32].upper(), DTYPES) if isinstance(value, str) else ""
        raise _bad(path, name, f"unknown dtype {shown(value)}; expected one of {', '.join(DTYPES)}", hint)
    return dtype


def _no_counts(values: list[object]) -> list[object]:
    """Return the values that count nothing; bool is an int to isinstance, but no extent."""
    return [value for value in values if type(value) is not int or not 0 <= value <= MAX_EXTENT]


def _shape(path: str, name: str, value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise _bad(path, name, f"shape is {shown(value)}; expected a list of integers")
    if len(value) > MAX_RANK:
        raise _bad(path, name, f"shape has {len(value):,} axes; at most {MAX_RANK} are allowed")
    wrong = _no_counts(value)
    if wrong:
        raise _bad(path, name, f"shape holds {shown(wrong[0])}; expected integers from 0 to {MAX_EXTENT}")
    if prod(filter(None, value)) > MAX_EXTENT:
        raise _bad(path, name, f"shape {tuple(value)} has more elements than any file can hold")
    return tuple(value)


def _offsets(path: str, name: str, value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or _no_counts(value):
        raise _bad(path, name, f"data_offsets are {shown(value)}; expected two integers, 0 ≤ begin ≤ end")
    begin, end = value
    if begin > end:
        raise _bad(path, name, f"data_offsets [{begin}, {end}] are reversed; expected begin ≤ end")
    return begin, end


def _tiled(
    path: str, spans: Mapping[str, tuple[TensorSpec, int, int]], data_offset: int, file_bytes: int
) -> dict[str, Placed]:
    """Order tensors by offset and verify that they tile the data: no overlap, no hole, nothing left over."""
    num_bytes = file_bytes - data_offset
    ordered = sorted(spans.items(), key=lambda item: item[1][1:])
    placed: dict[str, Placed] = {}
    previous, expected = "", 0
    for name, (spec, begin, end) in ordered:
        if end > num_bytes:
            cause = f"ends at byte {end:,} of the data, but the file holds only {num_bytes:,}; the file is truncated"
            raise _bad(path, name, cause)
        if begin < expected:
            cause = f"begins at byte {begin:,}, inside {shown(previous)}, which ends at {expected:,}; they overlap"
            raise _bad(path, name, cause)
        if begin > expected:
            cause = (
                f"begins at byte {begin:,}, but the tensor before ends at {expected:,}; the bytes between are no one's"
            )
            raise _bad(path, name, cause)
        placed[name] = Placed(spec, data_offset + begin)
        previous, expected = name, end
    if expected != num_bytes:
        raise FormatError(
            f"{path}: {num_bytes - expected:,} bytes follow the last tensor, which belong to none. {ADVICE}"
        )
    return placed

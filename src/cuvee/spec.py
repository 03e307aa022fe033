"""What a tensor is before its bytes are read, and the protocols of things that hold tensors.

Knows no library of tensors, no file format and no method.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

__all__ = [
    "BY_TORCH_NAME",
    "DEFAULT_SHARD_BYTES",
    "DTYPES",
    "PAIRED",
    "Composite",
    "DType",
    "Fetching",
    "File",
    "Header",
    "Location",
    "Sink",
    "Source",
    "TensorSpec",
    "View",
    "folders_of",
]

Kind = Literal["float", "integer", "boolean", "complex", "packed"]


@dataclass(frozen=True, slots=True)
class DType:
    """An element type, named as in the safetensors format.

    Attributes:
        name: safetensors name, for example ``"BF16"``.
        bits: bits per element; below 8 several elements share a byte.
        kind: ``"float"`` is merged; ``"integer"`` and ``"boolean"`` are copied; ``"packed"`` (elements smaller than a
            byte, or a scale that other elements need) and ``"complex"`` are only ever copied, and only when asked.
        torch_name: attribute of `torch` that is the same type.
    """

    name: str
    bits: int
    kind: Kind
    torch_name: str

    def __str__(self) -> str:
        return self.name


DTYPES: Mapping[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("F64", 64, "float", "float64"),
        DType("F32", 32, "float", "float32"),
        DType("F16", 16, "float", "float16"),
        DType("BF16", 16, "float", "bfloat16"),
        DType("F8_E4M3", 8, "float", "float8_e4m3fn"),
        DType("F8_E5M2", 8, "float", "float8_e5m2"),
        DType("F8_E4M3FNUZ", 8, "float", "float8_e4m3fnuz"),
        DType("F8_E5M2FNUZ", 8, "float", "float8_e5m2fnuz"),
        DType("F8_E8M0", 8, "packed", "float8_e8m0fnu"),
        DType("F6_E2M3", 6, "packed", ""),
        DType("F6_E3M2", 6, "packed", ""),
        DType("F4", 4, "packed", "float4_e2m1fn_x2"),
        DType("C64", 64, "complex", "complex64"),
        DType("I64", 64, "integer", "int64"),
        DType("I32", 32, "integer", "int32"),
        DType("I16", 16, "integer", "int16"),
        DType("I8", 8, "integer", "int8"),
        DType("U64", 64, "integer", "uint64"),
        DType("U32", 32, "integer", "uint32"),
        DType("U16", 16, "integer", "uint16"),
        DType("U8", 8, "integer", "uint8"),
        DType("BOOL", 8, "boolean", "bool"),
    )
}


BY_TORCH_NAME: Mapping[str, DType] = {dtype.torch_name: dtype for dtype in DTYPES.values() if dtype.torch_name}
"""The element types that torch has, by its names for them."""

PAIRED = "float4_e2m1fn_x2"
"""torch's name for a type that packs two elements of four bits into a byte, and counts pairs in its shapes."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and element type of a tensor.

    Attributes:
        shape: extent of each axis; ``()`` is a scalar of one element.
        dtype: element type.
        stored: the type that its file has, where reading it gives another one (a weight with an adapter merged into
            it); None where that is `dtype`. What is written has this type unless the recipe says otherwise.
    """

    shape: tuple[int, ...]
    dtype: DType
    stored: DType | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes the tensor takes when stored without gaps."""
        return self.size * self.dtype.bits // 8


Header = Mapping[str, TensorSpec]
"""Name and specification of every tensor of a source, in the order in which its bytes are stored."""


DEFAULT_SHARD_BYTES = 5_000_000_000
"""Bytes of tensors in one file of an output, at most, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class View:
    """A run of consecutive elements of a named tensor, seen in a shape of its own.

    Attributes:
        name: the tensor.
        shape: shape of the view; its last axis is its rows.
        start: flat index, in elements, of the view's first element within the tensor.
    """

    name: str
    shape: tuple[int, ...]
    start: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


Location = str | Mapping[str, object]
"""What opens a source: a path, a name on the hub, an address; or, for a merge, its recipe as plain values; or, for a
merge with adapters on it, ``model`` and ``adapters``."""


class File(Protocol):
    """A small file beside weights, wherever it lies; `pathlib.Path` is one. As text it says where."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def suffix(self) -> str: ...  # noqa: D102

    def read_bytes(self) -> bytes:
        """Return all of it.

        Raises:
            OSError: it cannot be read from a disk.
            SourceError: it cannot be fetched from elsewhere.
        """
        ...


class Source(Protocol):
    """Read-only named tensors whose header is known before a byte is read.

    Attributes:
        reference: what the user called it, for messages.
        header: every tensor's specification, in stored order.
        shared: groups of names known to share one storage (in memory); empty for files.
        config: the model's configuration (``config.json``), or an empty mapping.
        sidecars: files that travel with the weights (configuration, tokenizer, ...), by name; ``folder/name`` where
            they lie in a folder of the source.
        paths: files and folders the source reads, so that no output can replace them.
        identity: names the content as far as that can be told without reading it: another one as soon as a file is
            changed; empty where nothing can be told, as in memory.
        location: what opens the same source again, from any folder; empty where nothing does, as in memory.
        memory: bytes that each thread takes to read, besides its buffer.
        preparation: bytes that are read, once, before the first tensor can be.
    """

    @property
    def reference(self) -> str: ...  # noqa: D102
    @property
    def header(self) -> Header: ...  # noqa: D102
    @property
    def shared(self) -> Sequence[Sequence[str]]: ...  # noqa: D102
    @property
    def config(self) -> Mapping[str, object]: ...  # noqa: D102
    @property
    def sidecars(self) -> Mapping[str, File]: ...  # noqa: D102
    @property
    def paths(self) -> Sequence[Path]: ...  # noqa: D102
    @property
    def identity(self) -> str: ...  # noqa: D102
    @property
    def location(self) -> Location: ...  # noqa: D102
    @property
    def memory(self) -> int: ...  # noqa: D102
    @property
    def preparation(self) -> int: ...  # noqa: D102

    def cost(self, name: str) -> int:
        """Return the bytes that are read, from wherever they are kept, when the tensor is read once."""
        ...

    def locate(self, name: str) -> str:
        """Say where a tensor is stored (its file), for messages."""
        ...

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on.

        Safe to call from several threads at once.

        Args:
            buffer: writable bytes; its length says how many to read.
            name: a name of the header.
            offset: first byte, counted from the tensor's beginning.

        Raises:
            SourceError: the bytes cannot be had; names file and tensor.
        """
        ...

    def check_unchanged(self) -> None:
        """Verify that what has been read so far is still what a reader would find.

        Raises:
            SourceError: a file has been changed, replaced or removed since its header was read; names it.
        """
        ...

    def close(self) -> None:
        """Release files. Reading afterwards is an error."""
        ...


@runtime_checkable
class Fetching(Protocol):
    """A source that may bring weights to this machine, and wants to know beforehand which will be read."""

    def fetch(self, names: Iterable[str]) -> None:
        """Have at hand what holds these tensors. Call it from the main thread, where the user may interrupt it.

        Raises:
            SourceError: it cannot be had.
        """
        ...


@runtime_checkable
class Composite(Protocol):
    """A source whose tensors are stored in several folders: ``folder/name`` is the tensor ``name`` of that folder.

    Attributes:
        folders: what the weight files of each folder are called, without suffix, by the folder's bare name; empty where
            there are none after all.
    """

    @property
    def folders(self) -> Mapping[str, str]: ...  # noqa: D102


def folders_of(source: Source) -> Mapping[str, str]:
    """Return the folders that a source's tensors are stored in; see `Composite`. Empty for any other source."""
    return source.folders if isinstance(source, Composite) else {}


class Sink(Protocol):
    """Takes the bytes of named tensors, in any order and from several threads.

    Attributes:
        stores: what was written can be read back.
    """

    @property
    def stores(self) -> bool: ...  # noqa: D102

    def write_at(self, name: str, offset: int, buffer: memoryview) -> None:
        """Store `buffer` at byte `offset` of the tensor.

        Raises:
            OutputError: the bytes cannot be stored, for example because the disk is full.
        """
        ...

    def keep(self, name: str, offset: int, nbytes: int) -> None:
        """Count bytes of a tensor as stored: an earlier attempt has written them."""
        ...

    def read_back(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with bytes of a tensor that have been stored, from byte `offset` on.

        Raises:
            OutputError: they cannot be read.
        """
        ...

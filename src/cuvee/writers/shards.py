"""Which tensor goes into which file, and where: decided from specifications alone, before a byte is written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cuvee.errors import OutputError
from cuvee.sources.folder import INDEX_SUFFIX, STEMS, SUFFIX
from cuvee.spec import DEFAULT_SHARD_BYTES, TensorSpec
from cuvee.writers.target import is_single_file

__all__ = ["Arrangement", "Entries", "Shard", "index_files", "shard"]

Entries = Sequence[tuple[str, TensorSpec]]

STEM = STEMS[0]

METADATA = "__metadata__"
# The data begins at a multiple of 8, so that every element is aligned in a mapped file.
ALIGNMENT = 8
# The format's own limit; longer headers are refused by every reader.
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of a checkpoint.

    Attributes:
        file: its name; ``folder/name`` where it does not lie at the top.
        entries: its tensors, in the order in which their bytes are stored, under their names in the whole output.
        index: name of the index that lists it; empty where it is the only file of its folder.
        prefix: what their names begin with, and the file leaves out.
    """

    file: str
    entries: Entries
    index: str = ""
    prefix: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of data, without the header."""
        return sum(spec.nbytes for _, spec in self.entries)

    @property
    def begins(self) -> Mapping[str, int]:
        """Offset of each tensor's first byte, counted from the beginning of the data."""
        begins, position = {}, 0
        for name, spec in self.entries:
            begins[name] = position
            position += spec.nbytes
        return begins

    def header_bytes(self, metadata: Mapping[str, str]) -> bytes:
        """Return the first bytes of the file, up to the data: length, then JSON padded with spaces.

        The same shard and metadata always give the same bytes.

        Args:
            metadata: free text to store, written in order of its keys.

        Raises:
            OutputError: the header is longer than the format allows.
        """
        table: dict[str, object] = {METADATA: dict(sorted(metadata.items()))} if metadata else {}
        for (name, spec), begin in zip(self.entries, self.begins.values(), strict=True):
            offsets = [begin, begin + spec.nbytes]
            table[name.removeprefix(self.prefix)] = {
                "dtype": spec.dtype.name,
                "shape": list(spec.shape),
                "data_offsets": offsets,
            }
        text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % ALIGNMENT)
        if len(text) > MAX_HEADER_BYTES:
            raise OutputError(
                f"{self.file}: its header would take {len(text):,} bytes; the format allows {MAX_HEADER_BYTES:,}. "
                f"Choose a smaller shard size."
            )
        return len(text).to_bytes(8, "little") + text


def shard(entries: Entries, shard_bytes: int = DEFAULT_SHARD_BYTES, stem: str = STEM, folder: str = "") -> list[Shard]:
    """Divide tensors into files of at most `shard_bytes` of data, filling one after the other in the given order.

    A tensor larger than that gets a file of its own. Within a file wider elements come first, so that each tensor
    begins at a multiple of its element's size; otherwise the given order stays.

    Args:
        entries: name and specification of every tensor.
        shard_bytes: limit per file, in bytes of data, at least 1.
        stem: what the files are called, without number and suffix.
        folder: folder that they lie in; all names begin with it and a slash, which files and index leave out.

    Raises:
        OutputError: the format keeps a name for itself.
        AssertionError: a name is given twice, elements do not fill whole bytes, or `shard_bytes` is below 1.
    """
    assert shard_bytes >= 1, f"the shard size is {shard_bytes} bytes"
    prefix = f"{folder}/" if folder else ""
    _check(entries, prefix)
    groups: list[list[tuple[str, TensorSpec]]] = [[]]
    filled = 0
    for name, spec in entries:
        if groups[-1] and filled + spec.nbytes > shard_bytes:
            groups.append([])
            filled = 0
        groups[-1].append((name, spec))
        filled += spec.nbytes
    total = len(groups)
    if total == 1:
        return [Shard(f"{prefix}{stem}{SUFFIX}", tuple(_aligned(groups[0])), prefix=prefix)]
    index = f"{prefix}{stem}{INDEX_SUFFIX}"
    return [
        Shard(f"{prefix}{stem}-{i + 1:05}-of-{total:05}{SUFFIX}", tuple(_aligned(group)), index, prefix)
        for i, group in enumerate(groups)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """How an output lies in files: in one, in several of limited size, or in folders of such.

    Attributes:
        shard_bytes: limit of the data of one file, in bytes; has no meaning where everything goes into one.
        file: name of the one file that everything goes into; None divides and names files as transformers does.
        stem: what the files at the top are called, without number and suffix.
        folders: what the files of each folder are called, by the folder's name: tensors whose names begin with it and a
            slash go there, and the file has the rest of the name. Tensors of no folder lie at the top.
    """

    shard_bytes: int = DEFAULT_SHARD_BYTES
    file: str | None = None
    stem: str = STEM
    folders: Mapping[str, str] = field(default_factory=dict)

    def shards(self, out: Path, entries: Entries) -> list[Shard]:
        """Return the files of an output.

        Args:
            out: where it goes: a folder, or a file, which then holds everything.
            entries: name and specification of every tensor, in the order in which files are filled.

        Raises:
            OutputError: see `shard`; or it is to be one file and to lie in folders.
        """
        file = out.name if is_single_file(out) else self.file
        if file is None:
            return self._in_folders(entries) if self.folders else shard(entries, self.shard_bytes, self.stem)
        if self.folders:
            raise OutputError(
                f"{out} is one file; the output has several models, in the folders {', '.join(self.folders)}. Name a "
                "folder."
            )
        everything = max(1, sum(spec.nbytes for _, spec in entries))
        return [Shard(file, part.entries) for part in shard(entries, everything)]

    def _in_folders(self, entries: Entries) -> list[Shard]:
        groups: dict[str, list[tuple[str, TensorSpec]]] = {}
        for name, spec in entries:
            folder, slash, _ = name.partition("/")
            groups.setdefault(folder if slash and folder in self.folders else "", []).append((name, spec))
        return [
            part
            for folder, group in groups.items()
            for part in shard(group, self.shard_bytes, self.folders.get(folder, self.stem), folder)
        ]


def index_files(shards: Iterable[Shard]) -> dict[str, bytes]:
    """Return the index of every folder of several files, by its name: which tensor is where, and the size of all."""
    folders: dict[str, list[Shard]] = {}
    for part in shards:
        if part.index:
            folders.setdefault(part.index, []).append(part)
    return {index: _index_bytes(parts) for index, parts in folders.items()}


def _index_bytes(shards: Sequence[Shard]) -> bytes:
    weight_map = {
        name.removeprefix(part.prefix): part.file.removeprefix(part.prefix)
        for part in shards
        for name, _ in part.entries
    }
    index = {"metadata": {"total_size": sum(shard.nbytes for shard in shards)}, "weight_map": weight_map}
    return (json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _aligned(group: Entries) -> Entries:
    return sorted(group, key=lambda entry: -entry[1].dtype.bits)  # stable


def _check(entries: Entries, prefix: str) -> None:
    seen: set[str] = set()
    for name, spec in entries:
        if name.removeprefix(prefix) == METADATA:
            raise OutputError(
                f"A tensor cannot be called '{METADATA}': the safetensors format keeps that name for itself. Rename it."
            )
        assert name not in seen, f"tensor '{name}' would be written twice"
        assert spec.size * spec.dtype.bits % 8 == 0, f"tensor '{name}': {spec.size} elements of {spec.dtype}"
        seen.add(name)

"""``cuvee inspect``: what a checkpoint holds, from its headers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

from rich.console import Console
from rich.table import Table

from cuvee.architectures.layers import depth_of, layer_of, stacks
from cuvee.architectures.packed import refuse_packed
from cuvee.architectures.roles import ROLES, role_of
from cuvee.architectures.tied import stored_twice, tied_names
from cuvee.cli.adapter import inspect_adapter
from cuvee.cli.lines import say
from cuvee.cli.tables import print_unfolded, table_of
from cuvee.cli.units import size
from cuvee.errors import UnsupportedError
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.open import open_model_or_adapter
from cuvee.spec import Source

__all__ = ["describe", "inspect"]


class Tensor(TypedDict):
    """One tensor of the description."""

    name: str
    shape: list[int]
    dtype: str
    role: str
    layer: str | None
    depth: float
    elements: int
    bytes: int
    file: str


class Group(TypedDict):
    """Tensors that have something in common."""

    tensors: int
    elements: int
    bytes: int


class Description(TypedDict):
    """What `describe` returns; keys may be added, not removed."""

    reference: str
    parameters: int
    elements: int
    bytes: int
    roles: dict[str, Group]
    dtypes: dict[str, Group]
    files: dict[str, Group]
    layers: dict[str, int]
    tied: dict[str, str]
    stored_twice: dict[str, str]
    obstacle: str | None
    tensors: list[Tensor]


def inspect(path: str, *, as_json: bool, tensors: bool) -> None:
    """Print what a checkpoint holds; reads headers only.

    The JSON is an object with the keys of `describe`, or of `describe_adapter`, always with every tensor.

    Args:
        path: checkpoint folder, safetensors file, pickled weights, or the folder of an adapter.
        as_json: print JSON instead of tables.
        tensors: list every tensor in a table.

    Raises:
        SourceError: the checkpoint cannot be read.
    """
    source = open_model_or_adapter(path)
    try:
        if isinstance(source, AdapterFolder):
            inspect_adapter(source, as_json=as_json, tensors=tensors)
            return
        described = describe(source)
    finally:
        source.close()
    if as_json:
        print(json.dumps(described, indent=2))
        return
    console = Console(emoji=False)
    _print_summary(console, described)
    if tensors:
        console.print()
        print_unfolded(_tensor_table(described["tensors"]))


def describe(source: Source) -> Description:
    """Say what a source holds.

    Returns:
        * ``reference``: what it is called.
        * ``parameters``: elements that training learns: all but statistics and buffers, tied ones once.
        * ``elements``, ``bytes``: of everything stored.
        * ``roles``, ``dtypes``, ``files``: role, element type, or file to its ``tensors``, ``elements`` and ``bytes``.
        * ``layers``: stack to number of layers.
        * ``tied``: name to the stored name that holds its bytes.
        * ``stored_twice``: names that the configuration calls tied, though both are stored; they may differ.
        * ``obstacle``: why the source cannot be merged as it is (packed weights), or null.
        * ``tensors``: in stored order, each with ``name``, ``shape``, ``dtype``, ``role``, ``layer`` (or null),
          ``depth`` in [0, 1], ``elements``, ``bytes`` and ``file``.
    """
    counts = stacks(source.header)
    tied = tied_names(source.header, source.config, source.shared)
    tensors = [_tensor(source, name, counts) for name in source.header]
    learned = [tensor for tensor in tensors if tensor["role"] not in ("statistic", "buffer")]
    files = _short([tensor["file"] for tensor in tensors])
    return {
        "reference": source.reference,
        "parameters": sum(tensor["elements"] for tensor in learned if tensor["name"] not in tied),
        "elements": sum(tensor["elements"] for tensor in tensors),
        "bytes": sum(tensor["bytes"] for tensor in tensors),
        "roles": _grouped(tensors, [tensor["role"] for tensor in tensors]),
        "dtypes": _grouped(tensors, [tensor["dtype"] for tensor in tensors]),
        "files": _grouped(tensors, files),
        "layers": dict(counts),
        "tied": dict(tied),
        "stored_twice": dict(stored_twice(source.header, source.config)),
        "obstacle": _obstacle(source),
        "tensors": tensors,
    }


def _short(files: Sequence[str]) -> list[str]:
    """Return names of files without their folders, but for the last folder where two would be called the same."""
    bare = [Path(file).name for file in files]
    if len({*bare}) == len({*files}):
        return bare
    return [str(Path(Path(file).parent.name, Path(file).name)) for file in files]


def _tensor(source: Source, name: str, counts: Mapping[str, int]) -> Tensor:
    """Describe one tensor."""
    spec, layer = source.header[name], layer_of(name)
    return {
        "name": name,
        "shape": list(spec.shape),
        "dtype": str(spec.dtype),
        "role": role_of(name, spec),
        "layer": None if layer is None else f"{layer.stack}.{layer.index}".lstrip("."),
        "depth": depth_of(name, counts),
        "elements": spec.size,
        "bytes": spec.nbytes,
        "file": source.locate(name),
    }


def _grouped(tensors: Iterable[Tensor], keys: Iterable[str]) -> dict[str, Group]:
    """Add up tensors by key, in the order in which keys appear."""
    groups: dict[str, Group] = {}
    for tensor, key in zip(tensors, keys, strict=True):
        group = groups.setdefault(key, {"tensors": 0, "elements": 0, "bytes": 0})
        group["tensors"] += 1
        group["elements"] += tensor["elements"]
        group["bytes"] += tensor["bytes"]
    return groups


def _obstacle(source: Source) -> str | None:
    """Say why a source cannot be merged as it is, or return None."""
    try:
        refuse_packed(source.header, source.config, source.reference)
    except UnsupportedError as error:
        return str(error)
    return None


def _print_summary(console: Console, described: Description) -> None:
    """Print everything but the list of tensors."""
    tensors = described["tensors"]
    say(console, described["reference"], style="bold")
    console.print(
        f"{len(tensors):,} tensors, {described['parameters']:,} parameters, {size(described['bytes'])} in "
        f"{len(described['files']):,} file{'s' if len(described['files']) != 1 else ''}.",
        highlight=False,
    )
    layers = [f"{stack or 'top level'} ({count})" for stack, count in described["layers"].items()]
    lines = {
        "Layers": layers,
        "Tied": [f"{alias} = {name}" for alias, name in described["tied"].items()],
        "Stored twice": [f"{alias}, {name}" for alias, name in described["stored_twice"].items()],
        "Cannot be merged": [described["obstacle"]] if described["obstacle"] else [],
    }
    for title, entries in lines.items():
        for index, entry in enumerate(entries):
            start = f"{title}: " if index == 0 else " " * (len(title) + 2)
            say(console, f"{start}{entry}")
    console.print()
    print_unfolded(_role_table(tensors))
    if len(described["files"]) > 1:
        console.print()
        print_unfolded(_file_table(described["files"]))


def _role_table(tensors: Sequence[Tensor]) -> Table:
    """Make the table of roles and element types."""
    table = table_of(("role", "type"), ("tensors", "elements", "size"))
    pairs = [f"{tensor['role']} {tensor['dtype']}" for tensor in tensors]
    groups = _grouped(tensors, pairs)
    order: dict[str, int] = {role: place for place, role in enumerate(ROLES)}
    for pair in sorted(groups, key=lambda pair: order[pair.split()[0]]):
        group = groups[pair]
        table.add_row(*pair.split(), f"{group['tensors']:,}", f"{group['elements']:,}", size(group["bytes"]))
    return table


def _file_table(files: Mapping[str, Group]) -> Table:
    """Make the table of files."""
    table = table_of(("file",), ("tensors", "size"))
    for name, group in files.items():
        table.add_row(name, f"{group['tensors']:,}", size(group["bytes"]))
    return table


def _tensor_table(tensors: Iterable[Tensor]) -> Table:
    """Make the table of all tensors."""
    table = table_of(("tensor", "role", "type", "shape"), ("size",))
    for tensor in tensors:
        shape = " × ".join(map(str, tensor["shape"])) or "scalar"
        table.add_row(tensor["name"], tensor["role"], tensor["dtype"], shape, size(tensor["bytes"]))
    return table

"""The files of an adapter that was made here: weights, configuration, card and record."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuvee.digest import digests_of
from cuvee.errors import OutputError
from cuvee.execute.adapter.tasks import Count
from cuvee.execute.provenance import SIDECAR, digests_of_files, recorded, written
from cuvee.execute.report import Meter, Report
from cuvee.recipe.licence import licences_of
from cuvee.sources.folder import ADAPTER, ADAPTER_CONFIG
from cuvee.writers.adapter import Adapter
from cuvee.writers.card import Card, model_card
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement
from cuvee.writers.target import is_single_file

__all__ = ["Made", "Origin", "require_folder", "write_adapter"]

BLOCK = 4 << 20  # bytes copied at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an adapter comes from.

    Attributes:
        method: name of what made it.
        recipe: the recipe as plain values, with places that open its models again.
        text: the recipe as people read it.
        inputs: what the record says of each input; see `cuvee.execute.provenance`.
        citations: references of the methods used.
        bytes_read: from all inputs.
        notes: what the user should know.
    """

    method: str
    recipe: Mapping[str, Any]
    text: str
    inputs: Mapping[str, Mapping[str, Any]]
    citations: Sequence[str]
    bytes_read: int
    notes: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An adapter that is made and not yet written.

    Attributes:
        adapter: its tensors wait in a spool.
        origin: where it comes from.
    """

    adapter: Adapter
    origin: Origin

    def digests(self) -> Mapping[str, Any]:
        """Return the digests of its tensors, as they are recorded."""
        return digests_of(dict(self.adapter.entries()), self.adapter.spool.digests())


def write_adapter(
    made: Made,
    out: Path,
    meter: Meter,
    count: Count,
    stack: ExitStack,
    *,
    overwrite: bool = False,
    sync: bool = False,
    inputs: Sequence[Path] = (),
) -> Report:
    """Write an adapter as a folder that PEFT loads.

    Args:
        made: what to write.
        out: the folder.
        meter: has taken the time since the beginning.
        count: called with the bytes written since the last call.
        stack: puts the folder in place when it is closed.
        overwrite: replace a checkpoint or adapter that stands there.
        sync: return only when the output would survive a loss of power.
        inputs: files and folders that were read.

    Raises:
        OutputError: it cannot be written there.
    """
    adapter, origin = made.adapter, made.origin
    entries = adapter.entries()
    if not entries:
        raise OutputError(f"{out}: nothing is left of the adapter: every factor is zero or left out.")
    writer = stack.enter_context(
        SafetensorsWriter(out, entries, Arrangement(file=ADAPTER), overwrite=overwrite, sync=sync, inputs=inputs)
    )
    buffer = memoryview(bytearray(BLOCK))
    for name, spec in entries:
        for offset in range(0, spec.nbytes, BLOCK):
            part = buffer[: min(BLOCK, spec.nbytes - offset)]
            adapter.spool.read_into(part, name, offset)
            writer.write_at(name, offset, part)
            count(len(part))
    digests = made.digests()
    nbytes = sum(spec.nbytes for _, spec in entries)
    report = meter.report(origin.bytes_read, nbytes, list(origin.notes), ({}, [digests["tensors"]]))
    configuration = {ADAPTER_CONFIG: adapter.configuration()}
    output = {**digests, "files": digests_of_files(configuration)}
    record = recorded(origin.recipe, origin.inputs, output, report)
    card = Card(
        title=writer.out.name,
        method=origin.method,
        recipe=origin.text,
        record=record,
        licences=licences_of(origin.inputs),
        citations=origin.citations,
    )
    files = {
        **configuration,
        "README.md": model_card(replace(card, library="peft")),
        SIDECAR: written(record),
    }
    for name, data in files.items():
        writer.add_file(name, data)
    return report


def require_folder(out: Path) -> None:
    """Refuse an output that is one file.

    Raises:
        OutputError: it is.
    """
    if is_single_file(out):
        raise OutputError(f"{out} is one file; an adapter is a folder, with its configuration. Give a folder.")

"""The files of an adapter that was made here: weights, configuration, card and record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cuvee.digest import Digests, digest_of_set
from cuvee.errors import OutputError
from cuvee.execute.provenance import SIDECAR, recorded, written
from cuvee.execute.report import Meter, Report
from cuvee.spec import Header
from cuvee.writers.adapter import ADAPTER_CONFIG, ADAPTER_FILE, Adapter
from cuvee.writers.card import Card, model_card
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement
from cuvee.writers.target import is_single_file

__all__ = ["Origin", "adapter_digests", "write_adapter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where an adapter comes from.

    Attributes:
        method: name of what made it.
        recipe: the recipe as plain values, with places that open its models again.
        text: the recipe as people read it.
        inputs: what the record says of each input; see `cuvee.execute.provenance`.
        citations: references of the methods used.
        read: files and folders that were read.
        bytes_read: from all inputs.
        notes: what the user should know.
    """

    method: str
    recipe: Mapping[str, Any]
    text: str
    inputs: Mapping[str, Mapping[str, Any]]
    citations: Sequence[str]
    read: Sequence[Path]
    bytes_read: int
    notes: Sequence[str]


def write_adapter(
    adapter: Adapter, origin: Origin, out: Path, meter: Meter, *, overwrite: bool = False, sync: bool = False
) -> Report:
    """Write an adapter as a folder that PEFT loads; it appears when it is complete.

    Args:
        adapter: what to write.
        origin: where it comes from.
        out: the folder.
        meter: has taken the time since the beginning.
        overwrite: replace a checkpoint or adapter that stands there.
        sync: return only when the output would survive a loss of power.

    Raises:
        OutputError: it cannot be written there.
    """
    check_folder(out)
    tensors = adapter.tensors()
    if not tensors:
        raise OutputError(f"{out}: nothing is left of the adapter: every factor is zero or left out.")
    entries = [(name, tensor.spec) for name, tensor in tensors.items()]
    with SafetensorsWriter(
        out, entries, Arrangement(file=ADAPTER_FILE), overwrite=overwrite, sync=sync, inputs=origin.read
    ) as writer:
        for name, tensor in tensors.items():
            writer.write_at(name, 0, tensor.data.data)
        nbytes, digests = sum(spec.nbytes for _, spec in entries), adapter_digests(adapter)
        report = meter.report(origin.bytes_read, nbytes, list(origin.notes), ({}, [digests]))
        output = {"digest": digest_of_set(dict(entries), digests), "tensors": dict(digests)}
        record = recorded(origin.recipe, origin.inputs, output, report)
        card = Card(
            title=writer.out.name, method=origin.method, recipe=origin.text, record=record, citations=origin.citations
        )
        files = {
            ADAPTER_CONFIG: adapter.configuration(),
            "README.md": model_card(replace(card, library="peft")),
            SIDECAR: written(record),
        }
        for name, data in files.items():
            writer.add_file(name, data)
    return report


def check_folder(out: Path) -> None:
    """Refuse an output that is one file.

    Raises:
        OutputError: it is.
    """
    if is_single_file(out):
        raise OutputError(f"{out} is one file; an adapter is a folder, with its configuration. Give a folder.")


def adapter_digests(adapter: Adapter) -> Mapping[str, str]:
    """Return the digest of each of an adapter's tensors."""
    tensors = adapter.tensors()
    header: Header = {name: tensor.spec for name, tensor in tensors.items()}
    digests = Digests(header)
    for name, tensor in tensors.items():
        digests.add(name, 0, np.ascontiguousarray(tensor.data).data)
    return digests.complete(list(header), lambda *_: None)

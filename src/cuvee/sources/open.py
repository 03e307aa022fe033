"""From what a user names to a Source."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cuvee.errors import SourceError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.find import find_storage
from cuvee.sources.memory import Memory
from cuvee.spec import Source

if TYPE_CHECKING:
    import torch

__all__ = ["open_source"]


def open_source(reference: str | os.PathLike[str] | Mapping[str, torch.Tensor] | Source) -> Source:
    """Open what `reference` names; headers are read, weights are not.

    Args:
        reference: path of a checkpoint folder or of one safetensors file (``~`` is expanded), address of one that
            fsspec understands (``s3://bucket/checkpoint``), name of a model on the hub (``org/name``,
            ``org/name@revision``), a state dict, or a source, which is returned as it is. Of a model on the hub,
            weights are downloaded when they are read; at an address they are read where they are.

    Raises:
        SourceError: nothing is there, or it cannot be read as named tensors.
        MissingLibraryError: the protocol of an address needs a library that is not installed.

    Example:
        >>> import torch
        >>> open_source({"weight": torch.zeros(2, 3)}).header["weight"].shape
        (2, 3)
    """
    if isinstance(reference, Mapping):
        return Memory(reference)
    if isinstance(reference, str | os.PathLike):
        return _checkpoint(os.fspath(reference))
    if hasattr(reference, "header") and hasattr(reference, "read_into"):
        return reference
    raise SourceError(f"A {type(reference).__name__} is no source; expected a path, a state dict or a source.")


def _checkpoint(reference: str) -> Checkpoint:
    """Open a checkpoint, wherever it lies."""
    storage = find_storage(reference)
    try:
        return Checkpoint(storage, reference)
    except BaseException:
        storage.close()
        raise

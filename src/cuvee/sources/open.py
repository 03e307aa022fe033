"""From what a user names to a Source."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cuvee.errors import SourceError, nearest
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.memory import Memory
from cuvee.sources.pickled import Pickled, is_pickled
from cuvee.sources.reference import parts_of, usable_path
from cuvee.spec import Source

if TYPE_CHECKING:
    import torch

__all__ = ["open_source"]


def open_source(reference: str | os.PathLike[str] | Mapping[str, torch.Tensor] | Source) -> Source:
    """Open what `reference` names; headers are read, weights are not.

    Args:
        reference: path of a checkpoint folder, of one safetensors file, or of pickled weights (``~`` is expanded);
            BASE+ADAPTER for a model with an adapter's folder or several; a state dict; or a source, which is returned
            as it is.

    Raises:
        SourceError: nothing is there, or it cannot be read as named tensors.

    Example:
        >>> import torch
        >>> open_source({"weight": torch.zeros(2, 3)}).header["weight"].shape
        (2, 3)
    """
    if isinstance(reference, Mapping):
        return Memory(reference)
    if isinstance(reference, str | os.PathLike):
        base, *adapters = parts_of(os.fspath(reference))
        if adapters:
            return _adapted(open_source(base), adapters, base)
        path = usable_path(reference)
        try:
            if not path.exists():
                raise _not_found(os.fspath(reference), path)
            kind = Pickled if is_pickled(path) else Checkpoint
            return kind(path, os.fspath(reference))
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
    if hasattr(reference, "header") and hasattr(reference, "read_into"):
        return reference
    raise SourceError(f"A {type(reference).__name__} is no source; expected a path, a state dict or a source.")


def _adapted(source: Source, adapters: Sequence[str], name: str) -> Source:
    """Merge adapters into a source, one after the other; close it where one does not fit."""
    for adapter in adapters:
        name = f"{name}+{adapter}"
        try:
            source = Adapted(source, usable_path(adapter), name)
        except SourceError:
            source.close()
            raise
    return source


def _not_found(reference: str, path: Path) -> SourceError:
    if path.is_symlink():
        return SourceError(f"'{reference}' is a link to '{path.readlink()}', which is not there. Download it again.")
    parent = path.parent
    siblings = [entry.name for entry in parent.iterdir()] if parent.is_dir() else []
    return SourceError(
        f"'{reference}' is not a local folder or file.{nearest(path.name, siblings)} "
        f"Models are not downloaded by name yet (a later release will): download it and give its folder."
    )

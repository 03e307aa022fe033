"""From what a user names to a Source."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from cuvee.errors import SourceError, UnsupportedError
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.adapter.folder import AdapterFolder
from cuvee.sources.adapter.tying import parted
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.find import find_storage
from cuvee.sources.folder import ADAPTER, SUFFIX
from cuvee.sources.memory import Memory
from cuvee.sources.pickled import Pickled, is_pickled
from cuvee.sources.pipeline import Pipeline
from cuvee.sources.reference import Place, places_of
from cuvee.sources.sidecars import PIPELINE
from cuvee.sources.storage import Storage
from cuvee.spec import Source, folders_of

if TYPE_CHECKING:
    import torch

__all__ = ["open_adapter", "open_model_or_adapter", "open_places", "open_source", "refuse_pipeline", "with_adapters"]


def open_source(reference: str | os.PathLike[str] | Mapping[str, torch.Tensor] | Source) -> Source:
    """Open what `reference` names; headers are read, weights are not.

    Args:
        reference: path of a checkpoint folder, of a pipeline (components in folders beside a ``model_index.json``), of
            one safetensors file or of pickled weights (``~`` is expanded); address of a folder or file that fsspec
            understands (``s3://bucket/checkpoint``); name of a model on the hub (``org/name``, ``org/name@revision``);
            one of these and adapters (``BASE+ADAPTER``); a state dict; or a source, which is returned as it is. Of a
            model on the hub, weights are downloaded when they are read; at an address they are read where they are.

    Raises:
        SourceError: nothing is there, or it cannot be read as named tensors.
        UnsupportedError: an adapter is given for a pipeline.
        MissingLibraryError: the protocol of an address needs a library that is not installed.

    Example:
        >>> import torch
        >>> open_source({"weight": torch.zeros(2, 3)}).header["weight"].shape
        (2, 3)
    """
    if isinstance(reference, Mapping):
        return Memory(reference)
    if isinstance(reference, str | os.PathLike):
        return open_places(places_of(reference))
    if hasattr(reference, "header") and hasattr(reference, "read_into"):
        return reference
    raise SourceError(f"A {type(reference).__name__} is no source; expected a path, a state dict or a source.")


def open_places(places: Sequence[Place]) -> Source:
    """Open a model, and the adapters on it.

    Args:
        places: the model's, and those of the adapters.

    Raises:
        SourceError: see `open_source`.
        MissingLibraryError: see `open_source`.
    """
    base, *adapters = places
    source = _plain(base)
    try:
        return with_adapters(source, adapters, base.called)[0]
    except BaseException:
        source.close()
        raise


def with_adapters(source: Source, adapters: Sequence[Place], name: str) -> tuple[Source, Sequence[AdapterFolder]]:
    """Put adapters on a source, one after the other.

    Args:
        source: the source; it stays open where an adapter does not fit.
        adapters: their places.
        name: what to call the source.

    Returns:
        What closes all of it; and the adapters, for whoever closes them without the source.

    Raises:
        SourceError: an adapter is not there, or does not fit.
        UnsupportedError: it is of a kind that is not read, or the source is a pipeline.
    """
    folders: list[AdapterFolder] = []
    try:
        for adapter in adapters:
            refuse_pipeline(source, name, adapter.called)
            name = f"{name}+{adapter.called}"
            folders.append(open_adapter(adapter, name))
            source = Adapted(parted(source, folders[-1]), folders[-1], name)
    except BaseException:
        for folder in folders:
            folder.close()
        raise
    return source, folders


def open_adapter(place: Place, reference: str) -> AdapterFolder:
    """Open an adapter by itself, wherever it lies; its header is read, weights are not.

    Args:
        place: its folder's.
        reference: what the user called it.

    Raises:
        SourceError: no adapter is there.
        FormatError: it is malformed.
        UnsupportedError: it is of a kind that is not read; says what to do.
    """
    storage = find_storage(place)
    try:
        return AdapterFolder(storage, reference)
    except BaseException:
        storage.close()
        raise


def open_model_or_adapter(reference: str | os.PathLike[str]) -> Source | AdapterFolder:
    """Open what a name stands for, also if it is an adapter without its base.

    Args:
        reference: see `open_source`; or the folder of an adapter, which holds no other weights.

    Raises:
        SourceError: see `open_source` and `open_adapter`.
        MissingLibraryError: see `open_source`.
    """
    places = places_of(reference)
    if len(places) > 1 or _is_pickled(places[0]):
        return open_places(places)
    place = places[0]
    storage = find_storage(place)
    try:
        if storage.single is None and _is_adapter(storage.names()):
            return AdapterFolder(storage, place.called)
    except BaseException:
        storage.close()
        raise
    return _stored(storage, place.called)


def refuse_pipeline(source: Source, name: str, adapter: str = "") -> None:
    """Refuse a base of several models.

    Args:
        source: the base.
        name: what the user called it.
        adapter: what the user called the adapter; empty if it is to be made.

    Raises:
        UnsupportedError: it is a pipeline.
    """
    for component in folders_of(source):
        raise UnsupportedError(
            f"{name} is a pipeline of several models; an adapter is for one of them. "
            + (
                f"Name the component's folder, such as {name}/{component}{f'+{adapter}' if adapter else ''}."
                if isinstance(source.location, str)
                else f"Put it on that component of the models, such as MODEL/{component}+{adapter}."
            )
        )


def _plain(place: Place) -> Source:
    """Open a model without adapters, wherever it lies."""
    if place.path is not None and _is_pickled(place):
        return Pickled(place.path, place.called)
    return _stored(find_storage(place), place.called)


def _is_pickled(place: Place) -> bool:
    """Say whether a place is a pickled file of this machine."""
    path = place.path
    return path is not None and is_pickled(path) and os.path.exists(path)  # noqa: PTH110 - Path raises for long names


def _is_adapter(names: Collection[str]) -> bool:
    """Say whether a folder of these files holds an adapter, and no model beside it."""
    return ADAPTER in names and not any(name.endswith(SUFFIX) for name in names if name != ADAPTER)


def _stored(storage: Storage, called: str) -> Source:
    """Open a checkpoint or a pipeline; close the storage where there is none."""
    try:
        if storage.single is None and PIPELINE in storage.names():
            return Pipeline(storage, called)
        return Checkpoint(storage, called)
    except BaseException:
        storage.close()
        raise

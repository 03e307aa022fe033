"""A checkpoint as a Source: a folder of one or several safetensors files, or one such file, wherever it lies.

Knows nothing of what the tensors mean.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cuvee.errors import SourceError
from cuvee.sources.folder import Weights, check_index, find_weights, refuse_pickle
from cuvee.sources.header import FileHeader
from cuvee.sources.local import LocalFolder
from cuvee.sources.named import NamedTensors
from cuvee.sources.sidecars import CARD, CODE_SUFFIX, CONFIG, find_sidecars
from cuvee.sources.storage import Storage
from cuvee.sources.strict_json import parse_object, shown
from cuvee.spec import TensorSpec

__all__ = ["Checkpoint"]

RECIPE_SUFFIXES = (".yaml", ".yml")


class Checkpoint(NamedTensors):
    """Named tensors in safetensors files. Headers are read now, weights when asked.

    A folder brings its configuration and sidecars; one file by itself brings neither, whatever lies beside it.

    Args:
        place: path of a folder or of one safetensors file, or what reads one that lies elsewhere.
        reference: what the user called it; the place if not given.
        only: bare name of the one file of a folder that is read, whatever else lies there.

    Attributes:
        metadata: free text of each file, by file name.
        header: every tensor's specification: file by file in order of their names, and by offset within.
        sidecars: configuration, tokenizer and custom code, by file name.
        paths: the folder and the weight files, links not followed; nothing where it lies on no disk of this machine.
        identity: for each weight file its real place, size, version (time of its last change), and its header's digest;
            for each small file that is read or copied its size and version.
        memory: what is read ahead: little on a disk, more from afar.

    Raises:
        SourceError: nothing readable is there.
        FormatError: a header, an index or the configuration is malformed.
        UnsupportedError: the folder holds something other than a whole model.
    """

    def __init__(
        self, place: str | os.PathLike[str] | Storage, reference: str | None = None, *, only: str | None = None
    ) -> None:
        storage = LocalFolder(Path(place)) if isinstance(place, str | os.PathLike) else place
        self._storage = storage
        names = storage.names() if storage.single is None and only is None else ()
        weights = _weights(storage) if only is None else Weights((only,), None, {})
        sidecars = find_sidecars(names)
        storage.prepare([name for name in sidecars if not name.endswith(CODE_SUFFIX)])
        watched = storage.watch([name for name in (*sidecars, *filter(None, [weights.index])) if name != CARD])
        config = (
            parse_object(storage.small(CONFIG), storage.where(CONFIG), constants=True) if CONFIG in sidecars else {}
        )
        headers = dict(zip(weights.files, storage.headers(weights.files), strict=True))
        check_index(storage, weights, {name: header.tensors for name, header in headers.items()})
        self.metadata: Mapping[str, Mapping[str, str]] = {name: header.metadata for name, header in headers.items()}
        specs: dict[str, TensorSpec] = {}
        self._places: dict[str, tuple[str, int]] = {}  # file, first byte
        for file, header in headers.items():
            for name, placed in header.tensors.items():
                specs[name] = placed.spec
                self._places[name] = file, placed.begin
        super().__init__(
            reference=reference if reference is not None else storage.place,
            header=specs,
            config=config,
            sidecars={name: storage.file(name) for name in sidecars},
            paths=storage.paths(weights.files),
            identity=_identity(storage, headers, watched),
            location=storage.location,
            memory=storage.memory,
        )

    def locate(self, name: str) -> str:
        """Return the path or address of the file that holds the tensor.

        Raises:
            SourceError: there is no such tensor.
        """
        return self._storage.where(self._place(name)[0])

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        See `cuvee.spec.Source.read_into`.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or the file cannot be read, has
                changed since its header was read, or was closed.
        """
        self._end(name, offset, buffer)
        if buffer.nbytes == 0:
            return
        file, begin = self._places[name]
        try:
            count = self._storage.read_at(file, buffer.cast("B"), begin + offset)
        except OSError as error:
            raise SourceError(f"{self.locate(name)}: tensor {shown(name)} cannot be read: {error.strerror}.") from error
        if count < buffer.nbytes:
            raise SourceError(
                f"{self.locate(name)}: tensor {shown(name)}: the file ended after {count:,} of {buffer.nbytes:,} "
                f"bytes. It was cut short since its header was read; nothing may write to an input during a merge."
            )

    def fetch(self, names: Iterable[str]) -> None:
        """Bring to this machine what holds these tensors, where it is read from there and is not there yet.

        Reading without it does the same, in the thread that reads. Call it from the main thread: the user may
        interrupt it there.

        Raises:
            SourceError: there is no such tensor, or its file cannot be had.
        """
        self._storage.fetch(sorted({self._place(name)[0] for name in names}))

    def check_unchanged(self) -> None:
        """Verify that the files, small ones too, are still what they were when they were read first.

        Raises:
            SourceError: one is not; names it.
        """
        self._storage.check_unchanged()

    def close(self) -> None:
        """Close all files. Reading afterwards is an error."""
        self._storage.close()

    def _place(self, name: str) -> tuple[str, int]:
        self._spec(name)
        return self._places[name]


def _identity(storage: Storage, headers: Mapping[str, FileHeader], watched: Sequence[str]) -> str:
    """Name the content of weight files, and of watched ones; empty if that of a weight file cannot be told."""
    if not all(storage.identity(name) for name in headers):
        return ""
    named = [
        f"{storage.identity(name)} {header.file_bytes} {header.version} {header.digest}"
        for name, header in headers.items()
    ]
    return "\n".join([*named, *watched])


def _weights(storage: Storage) -> Weights:
    return find_weights(storage) if storage.single is None else _one_file(storage, storage.single)


def _one_file(storage: Storage, name: str) -> Weights:
    refuse_pickle(storage.place)
    if name.endswith(".json"):
        folder = storage.place.removesuffix(name).rstrip("/") or "."
        raise SourceError(f"{storage.place} is not weights but a file about them. Name its folder, {folder}.")
    if name.lower().endswith(RECIPE_SUFFIXES):
        raise SourceError(
            f"{storage.place} is named as a recipe; a model is expected here. Within a recipe, write the other one "
            "itself in the model's place, or both under 'recipes:' in one file; elsewhere, name what it makes."
        )
    return Weights((name,), None, {})

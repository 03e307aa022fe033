"""A pipeline as a Source: models of several kinds that work together, each in a folder of its own beside an index.

The index (``model_index.json``) names the components with library and class: text encoder, UNet or transformer, VAE,
tokenizer, scheduler. Each that has weights is read as a checkpoint; tensor ``conv_in.weight`` of the folder ``unet`` is
called ``unet/conv_in.weight``. Knows nothing of what components do.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import PurePosixPath

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.folder import PICKLE_SUFFIXES, STEMS, SUFFIX, holds_weights
from cuvee.sources.named import NamedTensors
from cuvee.sources.sidecars import CARD, CODE_SUFFIX, CONFIG, PIPELINE, find_sidecars, is_of_diffusers
from cuvee.sources.storage import Storage
from cuvee.sources.strict_json import parse_object, shown
from cuvee.spec import File

__all__ = ["Pipeline", "component_folders", "stem_of"]

DIFFUSERS = "diffusers"
TRANSFORMERS_STEM, DIFFUSERS_STEM = STEMS


class Pipeline(NamedTensors):
    """The tensors of all components of a pipeline. Headers are read now, weights when asked.

    Args:
        storage: the folder with the index; closed with this source, or if it cannot be read.
        reference: what the user called it; the place if not given.

    Attributes:
        folders: what the weight files of each component with weights are called, without suffix, by its folder.
        header: every tensor's specification, component by component in the index's order.
        config: the configuration of each component that has one, by its name.
        sidecars: the index, and all that travels with each component, by ``component/file``.
        paths: the folder, those of the components and the weight files, links not followed.
        memory: what all components read ahead.

    Raises:
        SourceError: a component's weights are missing, or cannot be read.
        FormatError: the index names a folder that is missing, or it, a header or a configuration is malformed.
        UnsupportedError: no component has weights.
    """

    def __init__(self, storage: Storage, reference: str | None = None) -> None:
        self._storage = storage
        self._components: dict[str, Checkpoint] = {}
        self._beside: list[Storage] = []  # folders without weights
        self._watched: list[str] = []
        self.folders: dict[str, str] = {}
        called = reference if reference is not None else storage.place
        with ExitStack() as stack:
            stack.callback(self.close)
            sidecars = self._read(called)
            stack.pop_all()
        components = self._components.items()
        super().__init__(
            reference=called,
            header={f"{name}/{tensor}": spec for name, own in components for tensor, spec in own.header.items()},
            config={name: own.config for name, own in components if own.config},
            sidecars=sidecars,
            paths=[*storage.paths(()), *(path for _, own in components for path in own.paths)],
            identity="\n".join([*(f"{name} {own.identity}" for name, own in components), *self._watched])
            if all(own.identity for _, own in components)
            else "",
            location=storage.location,
            memory=sum(own.memory for _, own in components),
        )

    def _read(self, called: str) -> dict[str, File]:
        """Take all components; return the files that travel with them."""
        top = find_sidecars(self._storage.names())
        self._storage.prepare([name for name in top if not name.endswith(CODE_SUFFIX)])
        self._watched += self._storage.watch([name for name in top if name != CARD])
        where = self._storage.where(PIPELINE)
        sidecars = {name: self._storage.file(name) for name in top}
        for name, (library, _) in _components(self._storage.small(PIPELINE), where).items():
            folder = self._storage.folder(name)
            if folder is None:
                raise FormatError(f"{where} names the component {shown(name)}, but there is no such folder. {_REMEDY}")
            sidecars |= {f"{name}/{each}": file for each, file in self._add(name, folder, library, called).items()}
        if not self._components:
            raise UnsupportedError(
                f"{where}: no component has weights; expected a pipeline as saved by save_pretrained."
            )
        return sidecars

    def _add(self, name: str, folder: Storage, library: str, called: str) -> Mapping[str, File]:
        """Take a component's weights, if it has any; return the files beside them."""
        files = folder.names()
        if CONFIG not in files and not holds_weights(files):  # a tokenizer, a scheduler
            self._beside.append(folder)
            self._watched += [f"{name} {each}" for each in folder.watch(find_sidecars(files))]
            return {each: folder.file(each) for each in find_sidecars(files)}
        pickled = [each for each in files if PurePosixPath(each).suffix in PICKLE_SUFFIXES]
        if pickled and not any(each.endswith(SUFFIX) for each in files):
            raise SourceError(
                f"{folder.where(pickled[0])} holds pickled weights, which are not read in pipelines. Convert the "
                "pipeline: DiffusionPipeline.from_pretrained(folder).save_pretrained(new)."
            )
        try:
            own = Checkpoint(folder, f"{called}/{name}")
        except BaseException:
            folder.close()
            raise
        self._components[name] = own
        self.folders[name] = _stem(own.metadata, library)
        return own.sidecars

    def locate(self, name: str) -> str:
        """Return the path or address of the file that holds the tensor.

        Raises:
            SourceError: there is no such tensor.
        """
        own, tensor = self._found(name)
        return own.locate(tensor)

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        See `cuvee.spec.Source.read_into`.

        Raises:
            SourceError: there is no such tensor, or its bytes cannot be had; see `Checkpoint.read_into`.
        """
        own, tensor = self._found(name)
        own.read_into(buffer, tensor, offset)

    def fetch(self, names: Iterable[str]) -> None:
        """Bring to this machine what holds these tensors, where it is read from there and is not there yet.

        Raises:
            SourceError: there is no such tensor, or its file cannot be had.
        """
        wanted: dict[Checkpoint, list[str]] = {}
        for name in names:
            own, tensor = self._found(name)
            wanted.setdefault(own, []).append(tensor)
        for own, tensors in wanted.items():
            own.fetch(tensors)

    def check_unchanged(self) -> None:
        """Verify that the files are still what they were when their headers were read.

        Raises:
            SourceError: one is not; names it.
        """
        for own in self._components.values():
            own.check_unchanged()
        for folder in (self._storage, *self._beside):
            folder.check_unchanged()

    def close(self) -> None:
        """Close all files. Reading afterwards is an error."""
        for own in self._components.values():
            own.close()
        self._storage.close()

    def _found(self, name: str) -> tuple[Checkpoint, str]:
        """Return the component that has a tensor, and what it is called there."""
        self._spec(name)
        component, _, tensor = name.partition("/")
        return self._components[component], tensor


_REMEDY = "Download the whole pipeline, or set the component to [null, null]."


def component_folders(index: bytes, where: str) -> Sequence[str]:
    """Return the names of the folders that the index of a pipeline names.

    Args:
        index: its content.
        where: its path, for messages.

    Raises:
        FormatError: it is malformed.
    """
    return list(_components(index, where))


def stem_of(config: Mapping[str, object]) -> str:
    """Return what the library that a model's configuration is of expects its weight files to be called."""
    return DIFFUSERS_STEM if is_of_diffusers(config) else TRANSFORMERS_STEM


def _components(index: bytes, where: str) -> dict[str, tuple[str, str]]:
    """Return library and class of the components, by name; those that are left out (null) and settings are not."""
    found = {}
    for name, value in parse_object(index, where).items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        if len(value) != 2 or not isinstance(value[1], str):
            if any(isinstance(each, str) for each in value):
                raise FormatError(
                    f"{where}: component {shown(name)} is {shown(value)}; expected [library, class]. Download it again."
                )
            continue  # a setting that is a list of numbers
        library = value[0]
        # Only a name within the folder: an index from elsewhere must not make us read other files of this machine.
        if name in ("", ".", "..") or name.startswith(".") or not {"/", "\\", "\0"}.isdisjoint(name):
            raise FormatError(
                f"{where}: a component is called {shown(name)}; expected the bare name of a folder beside it. Do not "
                "trust this pipeline."
            )
        found[name] = library if isinstance(library, str) else "", value[1]
    return found


def _stem(files: Iterable[str], library: str) -> str:
    """Return what a component's weight files are to be called: what they are called, or what the library expects."""
    names = [PurePosixPath(file).name for file in files]
    stem = next((stem for stem in STEMS if all(name.startswith((f"{stem}.", f"{stem}-")) for name in names)), None)
    return stem or (DIFFUSERS_STEM if library == DIFFUSERS else TRANSFORMERS_STEM)

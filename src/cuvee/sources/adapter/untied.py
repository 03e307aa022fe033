"""A model whose head is its embedding, with a head of its own, as a Source: two names for what was one tensor."""

import json
from collections.abc import Iterable

from cuvee.sources.named import NamedTensors
from cuvee.sources.sidecars import CONFIG
from cuvee.sources.storage import StoredFile
from cuvee.spec import Fetching, File, Source

__all__ = ["Untied"]

UNTIED = {"tie_word_embeddings": False}


class Untied(NamedTensors):
    """A model with a copy of its embedding as its head, and a configuration that says so. Takes no memory of its own.

    Args:
        model: the model; closed with this source.
        embedding: its name for its embedding.
        head: name of the head; the model has no such tensor.

    Attributes:
        parts: the model.
    """

    def __init__(self, model: Source, embedding: str, head: str) -> None:
        self._model, self._embedding, self._head = model, embedding, head
        self.parts = (model,)
        super().__init__(
            reference=model.reference,
            header={**model.header, head: model.header[embedding]},
            shared=model.shared,
            config={**model.config, **UNTIED},
            sidecars={name: _untied(file) if name == CONFIG else file for name, file in model.sidecars.items()},
            paths=model.paths,
            identity=model.identity,
            location=model.location,
            memory=model.memory,
            preparation=model.preparation,
        )

    def fetch(self, names: Iterable[str]) -> None:
        """Have at hand what the tensors are read from.

        Raises:
            SourceError: it cannot be had.
        """
        if isinstance(self._model, Fetching):
            self._model.fetch(dict.fromkeys(map(self._own, names)))

    def cost(self, name: str) -> int:
        """Return what the model says.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        return self._model.cost(self._own(name))

    def locate(self, name: str) -> str:
        """Return what the model says.

        Raises:
            SourceError: there is no such tensor.
        """
        self._spec(name)
        return self._model.locate(self._own(name))

    def read_into(self, buffer: memoryview, name: str, offset: int = 0) -> None:
        """Fill `buffer` with the tensor's bytes from byte `offset` on. Any number of threads may do so at once.

        Raises:
            SourceError: there is no such tensor, the bytes asked for lie outside it, or a file cannot be read.
        """
        self._spec(name)
        self._model.read_into(buffer, self._own(name), offset)

    def check_unchanged(self) -> None:
        """Verify that the model is what it was when its header was read.

        Raises:
            SourceError: it is not.
        """
        self._model.check_unchanged()

    def close(self) -> None:
        """Close the model. Reading afterwards is an error."""
        self._model.close()

    def _own(self, name: str) -> str:
        """Return the model's name for a tensor."""
        return self._embedding if name == self._head else name


def _untied(file: File) -> StoredFile:
    """Return a configuration's file that says that head and embedding are two tensors."""

    def read() -> bytes:
        raw = file.read_bytes()
        try:
            config = json.loads(raw)
        except (ValueError, RecursionError):
            return raw  # it was read when the model was opened, and is another by now: whoever copies it says so
        if not isinstance(config, dict):
            return raw
        return (json.dumps({**config, **UNTIED}, indent=2, ensure_ascii=False) + "\n").encode()

    return StoredFile(str(file), CONFIG, read)

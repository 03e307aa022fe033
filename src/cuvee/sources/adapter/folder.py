"""An adapter by itself: its configuration and, for each module, the factors that its file holds. Needs no base.

Which tensor of a base a module means, and whether the shapes fit it, is said by `binding`.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import xxhash

from cuvee.errors import FormatError, SourceError, UnsupportedError
from cuvee.sources.adapter.configuration import Configuration, read_configuration
from cuvee.sources.adapter.names import Role, role_of
from cuvee.sources.checkpoint import Checkpoint
from cuvee.sources.folder import ADAPTER, ADAPTER_CONFIG, OLD_ADAPTER, refuse_pickle
from cuvee.sources.local import LocalFolder
from cuvee.sources.sidecars import CARD
from cuvee.sources.storage import Storage
from cuvee.sources.strict_json import shown
from cuvee.spec import File, TensorSpec
from cuvee.tensors.framework import np
from cuvee.tensors.widen import widened

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["AdapterFolder", "Factors", "Part", "Tokens", "Vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """Two factors whose scaled product is added to a weight. Names are the file's.

    Attributes:
        module: name of the module.
        depth: wrappers below it; factors of several parameters of one module lie at different depths.
        a: factor of the inputs, (rank, in, ...); of an embedding (rank, rows).
        b: factor of the outputs, (out, rank, ...); of an embedding (columns, rank).
        bias: what is added to the bias before scaling, (out,), or None.
        magnitude: norms that the rows of the sum are given (DoRA), or None.
        is_embedding: the module looks rows up.
        rank: by the configuration.
        scaling: what the product is multiplied by.
    """

    module: str
    depth: int
    a: str
    b: str
    bias: str | None
    magnitude: str | None
    is_embedding: bool
    rank: int
    scaling: float

    @property
    def names(self) -> tuple[str, ...]:
        """The file's tensors that it is made of."""
        return tuple(name for name in (self.a, self.b, self.bias, self.magnitude) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vector:
    """What scales a module's inputs or outputs ((IA)^3).

    Attributes:
        module: name of the module.
        vector: name of the file's tensor; one axis counts, the others are 1.
        scales_inputs: it scales inputs, or else outputs and the bias.
    """

    module: str
    vector: str
    scales_inputs: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Rows of an embedding that are replaced.

    Attributes:
        module: name of the module.
        values: name of the file's tensor, (number of indices, columns).
        indices: rows of the embedding, in the order of the values.
    """

    module: str
    values: str
    indices: Sequence[int]


Part = Factors | Vector | Tokens


class AdapterFolder:
    """A folder as `save_pretrained` of peft writes it. The header is read now, tensors when asked.

    Args:
        place: path of the folder, or what reads one that lies elsewhere; closed with this.
        reference: what the user called it.

    Attributes:
        reference: what the user called it.
        configuration: verified.
        parts: what is done to modules, in stored order.
        whole: names of whole tensors to the file's names for them.

    Raises:
        SourceError: no adapter is there.
        FormatError: configuration or file are malformed, or a tensor is missing or of no known kind.
        UnsupportedError: the adapter is of a kind that is not read.
    """

    def __init__(self, place: str | os.PathLike[str] | Storage, reference: str) -> None:
        self.reference = reference
        self._storage = storage = LocalFolder(Path(place)) if isinstance(place, str | os.PathLike) else place
        _require_adapter(storage)
        storage.prepare([ADAPTER_CONFIG])
        raw = storage.small(ADAPTER_CONFIG)
        self.configuration: Configuration = read_configuration(raw, storage.where(ADAPTER_CONFIG))
        self._configuration_digest = xxhash.xxh3_128_hexdigest(raw)
        self._file = Checkpoint(storage, self.file, only=ADAPTER)
        roles = {name: self._role(name) for name in self._file.header}
        self._refuse_two_adapters(roles)
        self.parts: Sequence[Part] = _parts(self.configuration, roles, self.file)
        self.whole: Mapping[str, str] = self._whole(roles)
        self._kept: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    @property
    def header(self) -> Mapping[str, TensorSpec]:
        """Every tensor of the file, in stored order."""
        return self._file.header

    @property
    def file(self) -> str:
        """Path or address of the file that holds the tensors."""
        return self._storage.where(ADAPTER)

    @property
    def paths(self) -> Sequence[Path]:
        """The folder and its two files; nothing where it lies on no disk of this machine."""
        return self._storage.paths([ADAPTER_CONFIG, ADAPTER])

    @property
    def sidecars(self) -> Mapping[str, File]:
        """The card in the folder, if there is one. What else was saved with it is not looked at."""
        return {CARD: self._storage.file(CARD)} if CARD in self._storage.names() else {}

    @property
    def identity(self) -> str:
        """The file's identity and a digest of the configuration; empty if the file has none."""
        return f"{self._file.identity} {self._configuration_digest}" if self._file.identity else ""

    @property
    def location(self) -> str:
        """The folder's absolute path, its address, or its name on the hub with a commit."""
        return self._storage.location

    @property
    def memory(self) -> int:
        """What each thread that reads takes: little on a disk, more from afar."""
        return self._storage.memory

    def floats(self, name: str) -> NDArray[np.float32]:
        """Return a small tensor of the file as float32, in its shape; read once, and kept. Not to be changed.

        Raises:
            SourceError: it cannot be read.
        """
        with self._lock:
            if name not in self._kept:
                spec = self._file.header[name]
                data = np.empty(spec.nbytes, np.uint8)
                self._file.read_into(data.data, name)
                self._kept[name] = widened(data, spec.dtype).reshape(spec.shape)
            return self._kept[name]

    def read_into(self, buffer: memoryview, name: str, offset: int) -> None:
        """Fill `buffer` with bytes of a tensor of the file. See `cuvee.spec.Source.read_into`."""
        self._file.read_into(buffer, name, offset)

    def fetch(self) -> None:
        """Bring the file to this machine, where it is read from there and is not there yet.

        Raises:
            SourceError: it cannot be had.
        """
        self._storage.fetch([ADAPTER])

    def check_unchanged(self) -> None:
        """Verify that file and configuration are what they were.

        Raises:
            SourceError: one is not; names it.
        """
        self._file.check_unchanged()
        if xxhash.xxh3_128_hexdigest(self._storage.small(ADAPTER_CONFIG)) != self._configuration_digest:
            where = self._storage.where(ADAPTER_CONFIG)
            raise SourceError(f"{where} was changed during the merge. Merge again when nothing writes to it.")

    def close(self) -> None:
        """Close the file and let go of what was read."""
        self._file.close()
        with self._lock:
            self._kept = {}

    def _role(self, name: str) -> Role:
        """Say what a tensor is."""
        role, spec = role_of(name), self._file.header[name]
        if role is None:
            raise FormatError(
                f"{self.file}: tensor {shown(name)} is of no kind that peft saves for {self.configuration.kind}; "
                "expected factors, vectors or whole tensors of modules. Save the adapter again with peft."
            )
        if spec.dtype.kind != "float" and role.kind != "whole":
            raise UnsupportedError(
                f"{self.file}: tensor {shown(name)} is {spec.dtype}; expected floating-point numbers. Save the adapter "
                "again as float16, bfloat16 or float32."
            )
        return role

    def _refuse_two_adapters(self, roles: Mapping[str, Role]) -> None:
        """Refuse a file that holds adapters of several names."""
        names = list(dict.fromkeys(role.adapter for role in roles.values() if role.kind not in ("whole", "original")))
        if len(names) > 1:
            raise FormatError(
                f"{self.file} holds adapters called {', '.join(map(shown, names))}; expected one. Save them one by one."
            )

    def _whole(self, roles: Mapping[str, Role]) -> dict[str, str]:
        """Return whole tensors; one that is there under two names must be the same under both."""
        whole: dict[str, str] = {}
        for name, role in roles.items():
            if role.kind != "whole":
                continue
            first = whole.setdefault(role.module, name)
            if self.header[first] != self.header[name] or not np.array_equal(self._bytes(first), self._bytes(name)):
                raise FormatError(
                    f"{self.file}: {shown(first)} and {shown(name)} are the same tensor of the base, and differ. Save "
                    "the adapter again with peft."
                )
        for name, role in roles.items():
            if role.kind == "original" and role.module not in whole:
                raise FormatError(
                    f"{self.file}: {shown(name)} was replaced, but what replaces it is missing. The file is "
                    "incomplete: download it again, or save it again with peft."
                )
        return whole

    def _bytes(self, name: str) -> NDArray[np.uint8]:
        """Read a tensor as it is; biases, mostly."""
        data = np.empty(self.header[name].nbytes, np.uint8)
        self._file.read_into(data.data, name)
        return data


def _require_adapter(storage: Storage) -> None:
    """Refuse what holds no adapter."""
    place = storage.place
    if storage.single is not None:
        folder = place.removesuffix(ADAPTER).rstrip("/") or "."
        hint = f" Name its folder, {folder}." if storage.single == ADAPTER else ""
        raise SourceError(f"{place} is not the folder of an adapter.{hint}")
    names = storage.names()
    if ADAPTER not in names:
        if OLD_ADAPTER in names:
            refuse_pickle(storage.where(OLD_ADAPTER))
        raise SourceError(
            f"{place} holds no adapter: {ADAPTER} is missing. In BASE+ADAPTER, adapters come after the base."
        )
    if ADAPTER_CONFIG not in names:
        raise SourceError(
            f"{place} holds {ADAPTER} but no {ADAPTER_CONFIG}, which says how to scale it. Download both."
        )


def _parts(configuration: Configuration, roles: Mapping[str, Role], file: str) -> list[Part]:
    """Put together what belongs to one module."""
    modules: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, role in roles.items():
        if role.kind in ("whole", "original"):
            continue
        own = modules[role.module, role.depth]
        if role.kind in own:
            raise FormatError(
                f"{file}: {shown(own[role.kind])} and {shown(name)} are the same tensor of one module. Save the "
                "adapter again with peft."
            )
        own[role.kind] = name
    return [
        part for (module, depth), own in modules.items() for part in _of_module(configuration, module, depth, own, file)
    ]


def _of_module(configuration: Configuration, module: str, depth: int, own: dict[str, str], file: str) -> list[Part]:
    """Return what is done to one module, with every tensor used."""
    found: list[Part] = []
    left = dict(own)
    embedding = "lora_embedding_A" in left or "lora_embedding_B" in left
    a, b = ("lora_embedding_A", "lora_embedding_B") if embedding else ("lora_A", "lora_B")
    if configuration.kind == "LORA" and {a, b} <= left.keys():
        own_weight = "weight" in configuration.parameters(module)  # then peft matches patterns with its name
        rank, scaling = configuration.scaling(f"{module}.weight" if own_weight else module)
        if configuration.has_magnitudes and "lora_magnitude_vector" not in left:
            raise FormatError(
                f"{file}: module {shown(module)} has no magnitudes; the configuration says DoRA ('use_dora'). The file "
                f"is incomplete, or {ADAPTER_CONFIG} is another adapter's."
            )
        found.append(
            Factors(
                module=module,
                depth=depth,
                a=left.pop(a),
                b=left.pop(b),
                bias=left.pop("bias", None),
                magnitude=left.pop("lora_magnitude_vector", None) if configuration.has_magnitudes else None,
                is_embedding=embedding,
                rank=rank,
                scaling=scaling,
            )
        )
    if configuration.kind == "IA3" and "ia3_l" in left:
        vector, inputs = left.pop("ia3_l"), configuration.scales_inputs(module)
        found.append(Vector(module=module, vector=vector, scales_inputs=inputs))
    if "trainable_tokens_delta" in left and (rows := configuration.tokens(module)):
        found.append(Tokens(module=module, values=left.pop("trainable_tokens_delta"), indices=rows))
    if left:
        kind, name = next(iter(left.items()))
        raise FormatError(
            f"{file}: tensor {shown(name)} is of no use: {_reason(configuration, kind, a, b)}. The file is incomplete, "
            f"or {ADAPTER_CONFIG} is another adapter's."
        )
    return found


def _reason(configuration: Configuration, kind: str, a: str, b: str) -> str:
    """Say why a tensor is left over."""
    if kind == "trainable_tokens_delta":
        return "the configuration names no tokens for its module"
    if (kind == "ia3_l") != (configuration.kind == "IA3"):
        return f"the configuration is of {configuration.kind}"
    if kind in (a, b):
        return f"its module has no {b if kind == a else a}"
    return "the configuration does not speak of it"

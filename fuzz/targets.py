"""What is fuzzed: for each reader of files from elsewhere, how it is fed, and which errors of it are answers.

To add one, write a function that takes the bytes and a folder to work in, and decorate it. Its seeds are in `seeds.py`.
"""

import contextlib
import io
import json
import math
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cuvee.errors import CuveeError
from cuvee.execute.provenance import SIDECAR
from cuvee.execute.record import read_record
from cuvee.recipe.licence import licence_of
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.several import recipes_of
from cuvee.sources import reference
from cuvee.sources.open import open_source
from cuvee.sources.strict_json import parse_object
from cuvee.spec import Source
from cuvee.writers.journal import Journal

__all__ = ["TARGETS", "Target"]

TEXT = b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
MODEL = len(TEXT).to_bytes(8, "little") + TEXT + b"\0"
FACTORS = {"A": [1, 2], "B": [3, 1]}
MOST_READ = 1 << 20  # bytes of a tensor that are read


@dataclass(frozen=True, slots=True)
class Target:
    """One reader.

    Attributes:
        run: feeds bytes to it, given a folder to work in.
        answers: errors that are answers; all others are findings.
        longest: bytes of the longest input.
    """

    run: Callable[[bytes, Path], None]
    answers: tuple[type[Exception], ...]
    longest: int


TARGETS: dict[str, Target] = {}


def target(*answers: type[Exception], longest: int = 4096) -> Callable[[Callable[[bytes, Path], None]], None]:
    """Register a function under its own name."""

    def register(run: Callable[[bytes, Path], None]) -> None:
        TARGETS[run.__name__] = Target(run, answers, longest)

    return register


def read_all(source: Source) -> None:
    """Read the beginning and the end of every tensor."""
    with contextlib.closing(source):
        for name, spec in source.header.items():
            buffer = memoryview(bytearray(min(spec.nbytes, MOST_READ)))
            for offset in {0, spec.nbytes - len(buffer)}:
                source.read_into(buffer, name, offset)


@target(CuveeError)
def header(data: bytes, folder: Path) -> None:
    """A safetensors file: as it is, or, after the letter L, the header's text, given its true length, and the data."""
    if data[:1] == b"L":
        text, _, rest = data[1:].partition(b"\n\n")
        data = len(text).to_bytes(8, "little") + text + rest
    (folder / "model.safetensors").write_bytes(data)
    read_all(open_source(folder / "model.safetensors"))


@target(CuveeError)
def index(data: bytes, folder: Path) -> None:
    """An index, beside two files."""
    for name in ("model-1.safetensors", "model-2.safetensors"):
        (folder / name).write_bytes(MODEL.replace(b'"w"', b'"v"') if "2" in name else MODEL)
    (folder / "model.safetensors.index.json").write_bytes(data)
    read_all(open_source(folder))


@target(CuveeError)
def config(data: bytes, folder: Path) -> None:
    """A model's configuration."""
    (folder / "model.safetensors").write_bytes(MODEL)
    (folder / "config.json").write_bytes(data)
    read_all(open_source(folder))


def weights(**shapes: list[int]) -> bytes:
    """Make a safetensors file of zeros, with dots in names written as two underscores."""
    table, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 4 * math.prod(shape)
        table[name.replace("__", ".")] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(table).encode()
    return len(text).to_bytes(8, "little") + text + bytes(end)


@target(CuveeError)
def adapter(data: bytes, folder: Path) -> None:
    """The configuration of an adapter, which is merged into its base."""
    for name in ("base", "adapter"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "base" / "model.safetensors").write_bytes(weights(a__0__weight=[3, 2], a__1__weight=[3, 2]))
    factors = {f"base_model__model__a__{i}__lora_{part}__weight": s for i in (0, 1) for part, s in FACTORS.items()}
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(weights(**factors))
    (folder / "adapter" / "adapter_config.json").write_bytes(data)
    read_all(open_source(f"{folder / 'base'}+{folder / 'adapter'}"))


@target(CuveeError)
def pipeline(data: bytes, folder: Path) -> None:
    """The index of a pipeline of two components."""
    for name, file in (("unet", "diffusion_pytorch_model.safetensors"), ("text", "model.safetensors")):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / file).write_bytes(MODEL)
        (folder / name / "config.json").write_bytes(b"{}")
    (folder / "model_index.json").write_bytes(data)
    read_all(open_source(folder))


@target(CuveeError)
def json_object(data: bytes, _: Path) -> None:
    """JSON of any kind; a later reader of a file such as ``adapter_config.json`` begins with this one."""
    parse_object(data, "data", constants=bool(len(data) % 2))


@target(CuveeError)
def recipe(data: bytes, folder: Path) -> None:
    """A recipe, or several; what is read means the same after it was written and read again."""
    (folder / "recipe.yaml").write_bytes(data)
    for read in recipes_of(folder / "recipe.yaml").values():
        for rule in read.tensors:
            rule.matches("model.layers.0.self_attn.q_proj.weight")
        read.save(folder / "again.yaml")
        if Recipe.load(folder / "again.yaml") != read:
            raise AssertionError("the recipe changed when it was saved")


@target()
def card(data: bytes, folder: Path) -> None:
    """A model card, which need not be well-formed: no error at all is an answer."""
    (folder / "model.safetensors").write_bytes(MODEL)
    (folder / "README.md").write_bytes(data)
    licence_of(open_source(folder))


@target(CuveeError)
def record(data: bytes, folder: Path) -> None:
    """The record beside a merge; what it names is not opened."""
    (folder / SIDECAR).write_bytes(data)
    read_record(folder)


@target()
def journal(data: bytes, folder: Path) -> None:
    """What an unfinished run has left; no error at all is an answer, and entries are mappings."""
    (folder / "journal").write_bytes(data)
    opened = Journal(folder / "journal", "run")
    opened.add({"added": 1})
    entries = [*opened.entries, {"added": 1}]
    opened.close()
    again = Journal(folder / "journal", "run")
    if list(again.entries) != entries or not all(isinstance(entry, dict) for entry in entries):
        raise AssertionError("the journal has changed")
    again.close()


@target(CuveeError, longest=8192)
def pickled(data: bytes, folder: Path) -> None:
    """Pickled weights: as they are, or, after the letter P, a pickle that is put into an archive of its own."""
    if data[:1] == b"P":
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in (
                ("data.pkl", data[1:]),
                ("byteorder", b"little"),
                ("data/0", bytes(64)),
                ("version", b"3"),
            ):
                archive.writestr(f"model/{name}", content)
        data = file.getvalue()
    (folder / "model.bin").write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read_all(open_source(folder / "model.bin"))


@target(CuveeError, longest=256)
def model_name(data: bytes, folder: Path) -> None:
    """What a user calls a model."""
    text = data.decode("utf-8", "replace")
    reference.hub_id(text)
    for place in reference.places_of(text, folder):
        assert place.called


def workplace() -> Path:
    """Make a folder to work in, in memory where the system has such a place."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="cuvee-fuzz-", dir=memory if memory.is_dir() else None))

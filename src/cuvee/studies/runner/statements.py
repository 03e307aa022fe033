"""What a study works on, as values: models by how they come about. Equal statements are one model.

Knows no file: `store` says where a model lies, `weights` makes it.
"""

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Literal

from cuvee.studies.registry import find_suite
from cuvee.studies.suite import Training

__all__ = [
    "Merge",
    "Mixture",
    "Model",
    "Single",
    "Treatment",
    "as_plain",
    "code",
    "key_of",
    "libraries",
    "trainings_of",
]

MERGING = (
    *("spec.py", "layered.py", "resolve.py", "tensors", "sources", "architectures", "plugins", "methods"),
    *("layouts", "recipe", "plan", "execute", "writers", "studies/runner"),
)
"""Files and folders of cuvee that decide what a merge is."""
DIGITS = 32  # of a key, hexadecimal: 128 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is done to task vectors before they are merged, to find out what matters in them.

    Attributes:
        kind: ``"flip_largest"`` or ``"flip_smallest"`` turns the signs of a share of the entries, by magnitude over the
            whole model; ``"agree"`` sets entries to zero whose sign differs from the reference's.
        share: of the entries that are turned, in [0, 1].
        references: whose task vectors say the signs of ``"agree"``: those of their sum.
        density: share of the entries that ``"agree"`` keeps first, the largest by magnitude over the whole model.
    """

    kind: Literal["flip_largest", "flip_smallest", "agree"]
    share: float = 0.0
    references: tuple[Training, ...] = ()
    density: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Single:
    """A model as it was trained."""

    training: Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A merge of trained models.

    Attributes:
        method: which method.
        settings: its parameters, where they are not the defaults.
        base: the models' common base, which only methods that work on task vectors are given.
        models: what is merged, in order.
        seed: of random methods.
        treatment: done to the models first.
    """

    method: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    base: Training
    models: tuple[Training, ...]
    seed: int = 0
    treatment: Treatment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """Several models whose outputs are averaged: what a merge saves."""

    models: tuple[Training, ...]


Model = Single | Merge | Mixture
"""Anything that can be scored."""


def trainings_of(model: Model) -> Sequence[Training]:
    """List the trained models that a model is made of, without those that they start from."""
    match model:
        case Single():
            return [model.training]
        case Mixture():
            return model.models
        case Merge():
            treatment = model.treatment
            return [*model.models, model.base, *(treatment.references if treatment else ())]


def as_plain(value: Model | Training) -> Mapping[str, Any]:
    """Return a statement as plain values; those that say nothing are left out, so that a new field changes no key.

    A merge also says by which code it is made: another kernel, or another default, makes another model.
    """
    made_by = {"code": code()} if isinstance(value, Merge) else {}
    return {"is": type(value).__name__.lower(), **_plain(asdict(value)), **made_by}


@cache
def code() -> str:
    """Return a digest of the code that merges: cuvee's own files, and the versions of the libraries that it runs on.

    The version of cuvee would not do: it stays the same while cuvee is worked on.
    """
    root, digest = files("cuvee"), hashlib.sha256()
    for part in MERGING:
        for name, content in _sources(root.joinpath(part), part):
            digest.update(f"{name} {len(content)} ".encode() + content)
    versions = {name: _version(name) for name in ("numba", "llvmlite", "safetensors", "peft")}
    digest.update(json.dumps(versions).encode())
    return digest.hexdigest()[:DIGITS]


def _sources(place: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of the Python files in a folder, in order; or of one file."""
    if place.is_dir():
        for each in sorted(place.iterdir(), key=lambda each: each.name):
            yield from _sources(each, f"{name}/{each.name}")
    elif name.endswith(".py"):
        yield name, place.read_bytes()


def _plain(value: Any) -> Any:
    """Leave out what is None or empty."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if each not in (None, (), {})}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value


def key_of(suite: str, *parts: object) -> str:
    """Return the name under which something is kept: a digest of all that decides its content.

    Args:
        suite: name of the suite, whose version counts, and the versions of the libraries that it computes with.
        parts: plain values.
    """
    said = {"suite": suite, "version": find_suite(suite).about.version, "with": libraries(suite), "parts": parts}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


@cache
def libraries(suite: str, *more: str) -> Mapping[str, str]:
    """Return versions of what decides bytes: libraries that compute, and the processor's family; and of more."""
    names = ("torch", "numpy", *find_suite(suite).about.libraries, *more)
    return {"machine": platform.machine(), **{name: _version(name) for name in names}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"

"""A configuration that was drawn, and the models it needs."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Case", "Cast", "Document"]

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A configuration.

    Attributes:
        index: its number; with the seed, all there is to know.
        kind: what is special about it.
        note: more about that.
        method: of the last document.
        family: of its models.
        documents: one mapping, or several of which the last makes the result.
        models: folder to family, variant or adapter, and type on disk.
    """

    index: int
    kind: str
    note: str
    method: str
    family: str
    documents: Sequence[Document]
    models: Mapping[str, tuple[str, str, str]]

    @property
    def text(self) -> str:
        """The configuration as a file."""
        return yaml.safe_dump_all(self.documents, sort_keys=False, default_flow_style=None, width=110)


@dataclass(slots=True)
class Cast:
    """Draws what a case is made of, and remembers the models it names.

    Attributes:
        rng: where numbers come from.
        root: folder that models are in.
        family: of the models.
        method: that merges them.
        dtypes: types on disk to choose from.
        models: what has been named.
    """

    rng: random.Random
    root: Path
    family: str
    method: str
    dtypes: Sequence[str]
    models: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def model(self, variant: str, family: str | None = None) -> str:
        """Name a model."""
        kind = (family or self.family, variant, self.rng.choice(self.dtypes))
        path = str(self.root / kind[0] / f"{variant}-{kind[2]}")
        self.models[path] = kind
        return path

    def adapted(self, variant: str, adapter: str) -> str:
        """Name a model with an adapter put on."""
        base = self.model(variant)
        family, _, dtype = self.models[base]
        path = str(self.root / family / adapter)
        self.models[path] = (family, adapter, dtype)
        return f"{base}+{path}"

    def often(self, chance: float) -> bool:
        """Decide."""
        return self.rng.random() < chance

"""The folder of an adapter as PEFT reads it: names of factors, and a configuration in which every scaling is 1.

Knows no recipe, no method and no base.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cuvee.spec import DTYPES, TensorSpec
from cuvee.tensors.framework import np
from cuvee.writers.spool import Spool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ROOT", "Adapter", "ModuleFactors"]

ROOT = "base_model.model."


@dataclass(frozen=True, slots=True)
class ModuleFactors:
    """The factors of one module, whose product is added to its weight.

    Attributes:
        a: factor of the inputs, (rank, in, ...) float32; of an embedding (rank, rows).
        b: factor of the outputs, (out, rank, ...) float32; of an embedding (columns, rank).
        is_embedding: the module looks rows up.
        bias: what is added to the module's bias, (out,) float32, or None.
    """

    a: NDArray[np.float32]
    b: NDArray[np.float32]
    is_embedding: bool = False
    bias: NDArray[np.float32] | None = None

    @property
    def rank(self) -> int:
        """Terms of the product."""
        return int(self.a.shape[0])


@dataclass(slots=True)
class _Made:
    """What is remembered of a module whose tensors wait."""

    rank: int
    rows: int
    is_embedding: bool
    has_bias: bool


class Adapter:
    """An adapter that is being made. Modules may come from several threads, in any order; they wait in a spool.

    Args:
        modules: names of the modules, in the order in which they are written; those that never come are left out.
        spool: where tensors wait.
        settings: more keys of the configuration, such as ``base_model_name_or_path``.

    Attributes:
        settings: the same.
        spool: where tensors wait.
    """

    def __init__(self, modules: Sequence[str], spool: Spool, settings: Mapping[str, Any]) -> None:
        self.settings = settings
        self.spool = spool
        self._order = list(modules)
        self._made: dict[str, _Made] = {}
        self._whole: list[str] = []

    def put(self, module: str, factors: ModuleFactors) -> None:
        """Add a module.

        Raises:
            OutputError: they cannot be stored.
        """
        made = _Made(factors.rank, factors.b.shape[0], factors.is_embedding, factors.bias is not None)
        tensors = dict(zip(_names(module, made), (factors.a, factors.b, factors.bias), strict=False))
        for name, data in tensors.items():
            if data is not None:
                self._store(name, data)
        self._made[module] = made

    def put_whole(self, name: str, spec: TensorSpec) -> None:
        """Add a tensor that takes the place of the base's; its bytes are written to the spool.

        Args:
            name: in the file.
            spec: its specification.
        """
        self._whole.append(name)
        self.spool.add(name, spec)

    def complete(self) -> None:
        """Add what the file needs besides: where one module has a bias, PEFT expects one of each linear one.

        Raises:
            OutputError: it cannot be stored.
        """
        if self._has_bias:
            for module, made in self._made.items():
                if not made.has_bias and not made.is_embedding:
                    made.has_bias = True
                    self._store(_names(module, made)[2], np.zeros(made.rows, np.float32))

    def entries(self) -> Sequence[tuple[str, TensorSpec]]:
        """Return name and specification of every tensor, in the order in which they are written."""
        made = [(module, self._made[module]) for module in self._order if module in self._made]
        names = [name for module, own in made for name in _names(module, own)[: 3 if own.has_bias else 2]]
        return [(name, self.spool.header[name]) for name in [*names, *self._whole]]

    @property
    def _has_bias(self) -> bool:
        return any(made.has_bias for made in self._made.values())

    def _store(self, name: str, data: NDArray[np.float32]) -> None:
        plain = np.ascontiguousarray(data, np.float32)
        self.spool.add(name, TensorSpec(tuple(plain.shape), DTYPES["F32"]))
        self.spool.write_at(name, 0, plain.reshape(-1).view(np.uint8).data)

    def configuration(self) -> bytes:
        """Return ``adapter_config.json``: the commonest rank, and patterns for modules of another one."""
        ranks = {name: self._made[name].rank for name in self._order if name in self._made}
        usual = Counter(ranks.values()).most_common(1)[0][0] if ranks else 1
        # The first pattern that fits the end of a name wins, so that a name goes before those that it ends in.
        others = sorted((name for name, rank in ranks.items() if rank != usual), key=len, reverse=True)
        others = _with_shadowed(others, ranks)
        patterns = {re.escape(name): ranks[name] for name in others}
        content = {
            "peft_type": "LORA",
            "task_type": None,
            "base_model_name_or_path": None,
            "inference_mode": True,
            "r": usual,
            "lora_alpha": usual,
            "lora_dropout": 0.0,
            "rank_pattern": patterns,
            "alpha_pattern": patterns,
            "target_modules": list(ranks),
            "bias": "none",
            "lora_bias": self._has_bias,
            "fan_in_fan_out": False,
            "modules_to_save": None,
            "use_dora": False,
            "use_rslora": False,
            "init_lora_weights": True,
        }
        return (json.dumps({**content, **self.settings}, indent=2, ensure_ascii=False) + "\n").encode()


def _with_shadowed(others: list[str], ranks: Mapping[str, int]) -> list[str]:
    """Add the names of usual rank that a pattern would fit, before it."""
    shadowed = [name for name in ranks if name not in others and any(name.endswith(f".{each}") for each in others)]
    return sorted([*others, *shadowed], key=len, reverse=True)


def _names(module: str, made: _Made) -> tuple[str, str, str]:
    """Return the names of a module's factors and bias in the file."""
    a, b = ("lora_embedding_A", "lora_embedding_B") if made.is_embedding else ("lora_A", "lora_B")
    leaf = "" if made.is_embedding else ".weight"
    return f"{ROOT}{module}.{a}{leaf}", f"{ROOT}{module}.{b}{leaf}", f"{ROOT}{module}.{b}.bias"

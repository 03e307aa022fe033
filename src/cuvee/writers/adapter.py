"""The folder of an adapter as PEFT reads it: names of factors, and a configuration in which every scaling is 1.

Knows no recipe, no method and no base.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cuvee.spec import DTYPES, TensorSpec
from cuvee.tensors.framework import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ADAPTER_CONFIG", "ADAPTER_FILE", "ROOT", "Adapter", "ModuleFactors", "Whole"]

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
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


@dataclass(frozen=True, slots=True)
class Whole:
    """A tensor that takes the place of the base's.

    Attributes:
        spec: its specification.
        data: its bytes.
    """

    spec: TensorSpec
    data: NDArray[np.uint8]


@dataclass(slots=True, kw_only=True)
class Adapter:
    """An adapter to be written.

    Attributes:
        modules: module's name in the base to its factors.
        whole: name in the file to whole tensor.
        settings: more keys of the configuration, such as ``base_model_name_or_path``.
    """

    modules: dict[str, ModuleFactors] = field(default_factory=dict)
    whole: dict[str, Whole] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self) -> dict[str, Whole]:
        """Return every tensor by its name in the file."""
        found = {}
        biased = any(module.bias is not None for module in self.modules.values())
        for name, module in self.modules.items():
            a, b = ("lora_embedding_A", "lora_embedding_B") if module.is_embedding else ("lora_A", "lora_B")
            leaf = "" if module.is_embedding else ".weight"
            found[f"{ROOT}{name}.{a}{leaf}"] = _floats(module.a)
            found[f"{ROOT}{name}.{b}{leaf}"] = _floats(module.b)
            if biased and not module.is_embedding:
                bias = np.zeros(module.b.shape[0], np.float32) if module.bias is None else module.bias
                found[f"{ROOT}{name}.{b}.bias"] = _floats(bias)
        return found | self.whole

    def configuration(self) -> bytes:
        """Return ``adapter_config.json``: the commonest rank, and patterns for modules of another one."""
        ranks = {name: module.rank for name, module in self.modules.items()}
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
            "lora_bias": any(module.bias is not None for module in self.modules.values()),
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


def _floats(data: NDArray[np.float32]) -> Whole:
    """Return numbers as a tensor to be written."""
    plain = np.ascontiguousarray(data, np.float32)
    return Whole(TensorSpec(tuple(plain.shape), DTYPES["F32"]), plain.reshape(-1).view(np.uint8))

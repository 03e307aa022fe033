"""What a recipe says beside its method and models: rules for some tensors, and what the output looks like."""

import re
import reprlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.values import frozen_items, keys_of, mapping_of, thawed
from cuvee.spec import BY_TORCH_NAME

__all__ = ["Output", "Rule"]

SHARD_BYTES = 5_000_000_000
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_DTYPE_NAMES = {torch_name: dtype.name for torch_name, dtype in BY_TORCH_NAME.items() if dtype.kind == "float"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What the merged checkpoint looks like.

    Attributes:
        dtype: element type of merged tensors, a torch name such as ``"bfloat16"``; None keeps each tensor's own.
        shard_size: bytes per file, at most, unless one tensor alone is larger.
        custom_code: also copy the Python files that come with the base (or the first model).
    """

    dtype: str | None = None
    shard_size: int = SHARD_BYTES
    custom_code: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.dtype is not None and self.dtype not in list(_DTYPE_NAMES):  # a list, for what cannot be hashed
            raise RecipeError(
                f"output dtype {self.dtype!r} is not known.{nearest(str(self.dtype), _DTYPE_NAMES)} "
                f"It can be: {', '.join(_DTYPE_NAMES)}.",
                ("dtype",),
            )
        if not isinstance(self.shard_size, int) or isinstance(self.shard_size, bool) or self.shard_size <= 0:
            raise RecipeError(
                f"shard_size is {self.shard_size!r}; it must be a positive number of bytes.", ("shard_size",)
            )
        if not isinstance(self.custom_code, bool):
            raise RecipeError(f"custom_code is {self.custom_code!r}; it must be true or false.", ("custom_code",))

    @classmethod
    def from_mapping(cls, value: object) -> "Output":
        """Read the block from plain values; nothing is the default. A size may be written ``5GB`` or ``5e9``."""
        content = dict(keys_of({} if value is None else value, ("dtype", "shard_size", "custom_code"), "output", ()))
        if isinstance(size := content.get("shard_size"), str):
            found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", size)
            if not found or found[2].upper() not in _UNITS:
                raise RecipeError(
                    f"shard_size is {reprlib.repr(size)}; write it as 5GB, 500MB or a number of bytes.", ("shard_size",)
                )
            content["shard_size"] = int(float(found[1]) * _UNITS[found[2].upper()])
        elif isinstance(size, float) and size.is_integer():
            content["shard_size"] = int(size)  # 5e9
        return cls(**content)

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        default = asdict(Output())
        return {key: value for key, value in asdict(self).items() if value != default[key]}

    @property
    def dtype_name(self) -> str | None:
        """The safetensors name of `dtype`."""
        return None if self.dtype is None else _DTYPE_NAMES[self.dtype]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is done otherwise for the tensors whose names match. The first rule that matches a name holds.

    Attributes:
        match: patterns of tensor names, with ``*``, ``?`` and ``[...]``; any of them may match.
        method: another method for these tensors.
        parameters: values for its parameters; without `method`, they replace those of the recipe one by one.
        copy: label of the model (or ``"base"``) whose tensors are taken unchanged.
        skip: leave these tensors out of the output.
        parts: treat each tensor as this many tensors stacked along its first axis (fused projections, packed experts),
            so that a method's thresholds and norms are taken for each part.
    """

    match: tuple[str, ...]
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    copy: str | None = None
    skip: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        """Check that the rule says one thing."""
        match: object = (self.match,) if isinstance(self.match, str) else self.match
        if not isinstance(match, list | tuple) or not match or not all(p and isinstance(p, str) for p in match):
            raise RecipeError("a rule needs 'match': a pattern of tensor names, or a list of them.", ("match",))
        object.__setattr__(self, "match", tuple(match))
        object.__setattr__(self, "parameters", frozen_items(self.parameters))
        for key, value in (("method", self.method), ("copy", self.copy)):
            if not isinstance(value, str | None):
                raise RecipeError(f"'{key}' is {value!r}; it must be a name.", (key,))
        if not isinstance(self.skip, bool):
            raise RecipeError(f"'skip' is {self.skip!r}; it must be true or false.", ("skip",))
        if (self.copy is not None) + self.skip + bool(self.method or self.parameters) > 1:
            raise RecipeError("a rule says one of: copy, skip, or another method and parameters.", ("match",))
        if not isinstance(self.parts, int) or isinstance(self.parts, bool) or self.parts < 1:
            raise RecipeError(f"'parts' is {self.parts!r}; it must be a whole number from 1.", ("parts",))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as plain values."""
        return partial(Rule, **{f.name: thawed(getattr(self, f.name)) for f in fields(self)}), ()

    @classmethod
    def from_mapping(cls, value: object) -> "Rule":
        """Read a rule from plain values."""
        content = dict(keys_of(value, ("match", "method", "parameters", "copy", "skip", "parts"), "a rule", ()))
        content.setdefault("match", ())
        content["parameters"] = mapping_of(content.get("parameters"), ("parameters",))
        return cls(**content)

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        content: dict[str, object] = {"match": self.match[0] if len(self.match) == 1 else list(self.match)}
        values = {"method": self.method, "parameters": thawed(self.parameters), "copy": self.copy, "skip": self.skip}
        content |= {key: value for key, value in values.items() if value}
        return content | ({"parts": self.parts} if self.parts > 1 else {})

    def matches(self, name: str) -> bool:
        """Say whether the rule is about this tensor."""
        return any(fnmatchcase(name, pattern) for pattern in self.match)

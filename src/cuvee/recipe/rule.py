"""What a recipe says beside its method and models: rules for some tensors, and what the output looks like."""

import re
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cuvee.errors import RecipeError
from cuvee.recipe.dtypes import stored_name, torch_name
from cuvee.recipe.parameters import plain_number
from cuvee.recipe.patterns import matches
from cuvee.recipe.values import frozen_items, keys_of, mapping_of, thawed
from cuvee.sources.strict_json import shown
from cuvee.spec import DEFAULT_SHARD_BYTES

if TYPE_CHECKING:
    import torch

__all__ = ["Output", "Rule"]

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Output:
    """What the merged checkpoint looks like.

    Attributes:
        dtype: element type of merged tensors, a torch name such as ``"bfloat16"``; None keeps each tensor's own. May be
            given as torch's type itself.
        shard_size: bytes per file, at most, unless one tensor alone is larger. May be given as text, such as ``"5GB"``.
        custom_code: also copy the Python files that come with the base (or the first model).
        adapter: write the merge of adapters as an adapter.
        rank: terms of its factors, at most; None keeps what the adapters' factors have together.
        error: instead of a rank, the relative error that each module may have; the smallest rank that keeps to it.

    Raises:
        RecipeError: a value is wrong; says what, and what would be right.

    Example:
        >>> Output(dtype="bfloat16", shard_size="2GB").shard_size
        2000000000
    """

    dtype: str | None
    shard_size: int
    custom_code: bool
    adapter: bool
    rank: int | None
    error: float | None

    def __init__(
        self,
        *,
        dtype: "str | torch.dtype | None" = None,
        shard_size: int | str = DEFAULT_SHARD_BYTES,
        custom_code: bool = False,
        adapter: bool = False,
        rank: int | None = None,
        error: float | None = None,
    ) -> None:
        """Check the values."""
        object.__setattr__(self, "dtype", torch_name(dtype, "output"))
        object.__setattr__(self, "shard_size", _num_bytes(shard_size))
        for key, value in (("custom_code", custom_code), ("adapter", adapter)):
            if not isinstance(value, bool):
                raise RecipeError(f"{key} is {shown(value)}; it must be true or false.", (key,))
            object.__setattr__(self, key, value)
        object.__setattr__(self, "rank", _rank(rank))
        object.__setattr__(self, "error", _error(error))
        self._check_adapter()

    def _check_adapter(self) -> None:
        """Refuse settings that say nothing together."""
        if not self.adapter and (self.rank is not None or self.error is not None):
            raise RecipeError("'rank' and 'error' are of an adapter; say adapter: true, too.", ("rank",))
        if self.rank is not None and self.error is not None:
            raise RecipeError("an adapter has a 'rank' or an 'error', not both; leave one out.", ("error",))
        if self.adapter and self.dtype not in (None, "float32"):
            raise RecipeError("an adapter is written as float32; leave out 'dtype'.", ("dtype",))

    @classmethod
    def from_mapping(cls, value: object) -> "Output":
        """Read the block from plain values; nothing is the default."""
        known = tuple(f.name for f in fields(cls))
        return cls(**keys_of({} if value is None else value, known, "output", ()))

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        default = asdict(Output())
        return {key: value for key, value in asdict(self).items() if value != default[key]}

    @property
    def dtype_name(self) -> str | None:
        """The safetensors name of `dtype`."""
        return None if self.dtype is None else stored_name(self.dtype)


def _rank(given: object) -> int | None:
    """Return a rank, or None."""
    rank = plain_number(given)
    if rank is None or (isinstance(rank, int) and not isinstance(rank, bool) and rank >= 1):
        return rank
    raise RecipeError(f"rank is {shown(rank)}; it must be a whole number from 1.", ("rank",))


def _error(given: object) -> float | None:
    """Return a relative error, or None."""
    error = plain_number(given)
    if error is None or (isinstance(error, int | float) and not isinstance(error, bool) and 0 <= error < 1):
        return None if error is None else float(error)
    raise RecipeError(f"error is {shown(error)}; it must be a number from 0, and below 1.", ("error",))


def _num_bytes(size: object) -> int:
    """Return a size in bytes, which may be written ``5GB`` or ``5e9``."""
    size = plain_number(size)
    if isinstance(size, str):
        found = re.fullmatch(r"\s*(\d{1,18}(?:\.\d{1,18})?)\s*([A-Za-z]*)\s*", size)
        if not found or found[2].upper() not in _UNITS:
            raise RecipeError(
                f"shard_size is {reprlib.repr(size)}; write it as 5GB, 500MB or a number of bytes.", ("shard_size",)
            )
        size = int(float(found[1]) * _UNITS[found[2].upper()])
    elif isinstance(size, float) and size.is_integer():
        size = int(size)  # 5e9
    if not isinstance(size, int) or isinstance(size, bool) or size <= 0:
        raise RecipeError(f"shard_size is {shown(size)}; it must be a positive number of bytes.", ("shard_size",))
    return size


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Rule:
    """What is done otherwise for the tensors whose names match. The first rule that matches a name holds.

    Attributes:
        match: patterns of tensor names, with ``*``, ``?`` and ``[...]``; any of them may match. May be given as one.
        method: another method for these tensors.
        parameters: values for its parameters; without `method`, they replace those of the recipe one by one.
        copy: label of the model (or ``"base"``) whose tensors are taken unchanged.
        skip: leave these tensors out of the output.
        models: labels of the models that these tensors are made of, if not of all.
        parts: treat each tensor as this many tensors stacked along its first axis (fused projections, packed experts),
            so that a method's thresholds and norms are taken for each part.
    """

    match: tuple[str, ...]
    method: str | None
    parameters: Mapping[str, Any]
    copy: str | None
    skip: bool
    models: tuple[str, ...]
    parts: int

    def __init__(
        self,
        *,
        match: str | Sequence[str],
        method: str | None = None,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        copy: str | None = None,
        skip: bool = False,
        models: Sequence[str] = (),
        parts: int = 1,
    ) -> None:
        """Freeze the values, and check that the rule says one thing."""
        patterns: object = (match,) if isinstance(match, str) else match
        if (
            not isinstance(patterns, list | tuple)
            or not patterns
            or not all(p and isinstance(p, str) for p in patterns)
        ):
            raise RecipeError("a rule needs 'match': a pattern of tensor names, or a list of them.", ("match",))
        for key, value in (("method", method), ("copy", copy)):
            if not isinstance(value, str | None):
                raise RecipeError(f"'{key}' is {shown(value)}; it must be a name.", (key,))
        if not isinstance(skip, bool):
            raise RecipeError(f"'skip' is {shown(skip)}; it must be true or false.", ("skip",))
        if (copy is not None) + skip + bool(method or parameters) > 1:
            raise RecipeError("a rule says one of: copy, skip, or another method and parameters.", ("match",))
        labels: object = models
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise RecipeError(f"'models' is {shown(labels)}; it must be a list of models' labels.", ("models",))
        if models and (copy is not None or skip):
            raise RecipeError("a rule that copies or skips has no 'models'.", ("models",))
        parts = plain_number(parts)
        if not isinstance(parts, int) or isinstance(parts, bool) or parts < 1:
            raise RecipeError(f"'parts' is {shown(parts)}; it must be a whole number from 1.", ("parts",))
        values = (tuple(patterns), method, frozen_items(parameters), copy, skip, tuple(models), parts)
        for f, checked in zip(fields(self), values, strict=True):
            object.__setattr__(self, f.name, checked)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as plain values."""
        return partial(Rule, **{f.name: thawed(getattr(self, f.name)) for f in fields(self)}), ()

    @classmethod
    def from_mapping(cls, value: object) -> "Rule":
        """Read a rule from plain values."""
        content = dict(
            keys_of(value, ("match", "method", "parameters", "copy", "skip", "models", "parts"), "a rule", ())
        )
        content.setdefault("match", ())
        content["parameters"] = mapping_of(content.get("parameters"), ("parameters",))
        return cls(**content)

    def to_mapping(self) -> dict[str, object]:
        """Return plain values, without what is default."""
        content: dict[str, object] = {"match": self.match[0] if len(self.match) == 1 else list(self.match)}
        values = {"method": self.method, "parameters": thawed(self.parameters), "copy": self.copy, "skip": self.skip}
        values["models"] = list(self.models)
        content |= {key: value for key, value in values.items() if value}
        return content | ({"parts": self.parts} if self.parts > 1 else {})

    def matches(self, name: str) -> bool:
        """Say whether the rule is about this tensor."""
        return matches(self.match, name)

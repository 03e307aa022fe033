"""The recipe: a frozen statement of what to merge. Knows no file format and opens nothing."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.recipe.parameters import OverDepth, settle
from cuvee.spec import DTYPES, Source

__all__ = ["SCHEMA", "Output", "Recipe", "Reference", "Rule"]

SCHEMA = 1
BASE = "base"
SHARD_BYTES = 5_000_000_000

Reference = str | Path | Mapping[str, Any] | Source
"""What a model is called: a folder, a safetensors file, a state dict, or a source that is open already."""

_DTYPE_NAMES = {dtype.torch_name: name for name, dtype in DTYPES.items() if dtype.kind == "float"}


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
        if self.dtype is not None and self.dtype not in _DTYPE_NAMES:
            raise RecipeError(
                f"output dtype {self.dtype!r} is not known.{nearest(str(self.dtype), _DTYPE_NAMES)} "
                f"It can be: {', '.join(_DTYPE_NAMES)}.",
                ("output", "dtype"),
            )
        if not isinstance(self.shard_size, int) or isinstance(self.shard_size, bool) or self.shard_size <= 0:
            raise RecipeError(f"shard_size is {self.shard_size!r}; it must be a positive number of bytes.", ("output", "shard_size"))
        if not isinstance(self.custom_code, bool):
            raise RecipeError(f"custom_code is {self.custom_code!r}; it must be true or false.", ("output", "custom_code"))

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
        parts: treat each tensor as this many tensors stacked along its first axis (fused projections, packed experts), so that a
            method's thresholds and norms are taken for each part.
    """

    match: tuple[str, ...]
    method: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    copy: str | None = None
    skip: bool = False
    parts: int = 1

    def __post_init__(self) -> None:
        """Check that the rule says one thing."""
        match = (self.match,) if isinstance(self.match, str) else tuple(self.match)
        object.__setattr__(self, "match", match)
        object.__setattr__(self, "parameters", MappingProxyType(_frozen(self.parameters)))
        if not match or not all(isinstance(pattern, str) and pattern for pattern in match):
            raise RecipeError("a rule needs 'match': a pattern of tensor names, or a list of them.", ("match",))
        if not isinstance(self.skip, bool):
            raise RecipeError(f"'skip' is {self.skip!r}; it must be true or false.", ("skip",))
        if (self.copy is not None) + self.skip + bool(self.method or self.parameters) > 1:
            raise RecipeError("a rule says one of: copy, skip, or another method and parameters.", ("match",))
        if not isinstance(self.parts, int) or isinstance(self.parts, bool) or self.parts < 1:
            raise RecipeError(f"'parts' is {self.parts!r}; it must be a whole number from 1.", ("parts",))

    def matches(self, name: str) -> bool:
        """Say whether the rule is about this tensor."""
        return any(fnmatchcase(name, pattern) for pattern in self.match)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What to merge, and how.

    Attributes:
        method: name of the method.
        models: label to reference, in order; a sequence of references is labelled m0, m1, ...
        base: the common ancestor, for methods that work on task vectors; also the donor of configuration and tokenizer.
        parameters: values for the method's parameters; see `settle`.
        tensors: rules for some tensors, the first match holds.
        seed: of random methods.
        output: type, files.
        folder: what relative paths are relative to; None is the current folder. Not part of what the recipe says.

    Raises:
        RecipeError: something in it is wrong; says what, and what would be right.

    Example:
        >>> Recipe(method="linear", models=["a", "b"], parameters={"weight": [0.3, 0.7]}).models
        mappingproxy({'m0': 'a', 'm1': 'b'})
    """

    method: str
    models: Mapping[str, Reference]
    base: Reference | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tensors: Sequence[Rule] = ()
    seed: int = 0
    output: Output = field(default_factory=Output)
    folder: Path | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Freeze and check everything that can be checked without opening a model."""
        object.__setattr__(self, "models", MappingProxyType(_labelled(self.models)))
        object.__setattr__(self, "parameters", MappingProxyType(_frozen(self.parameters)))
        object.__setattr__(self, "tensors", tuple(self.tensors))
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise RecipeError(f"'seed' is {self.seed!r}; it must be a whole number.", ("seed",))
        if not isinstance(self.method, str):
            raise RecipeError(f"'method' is {self.method!r}; it must be the name of a method.", ("method",))
        try:
            method = find_method(self.method)
        except RecipeError as error:
            raise RecipeError(str(error), ("method",)) from None
        settle(method, self.parameters, self.labels, ("parameters",))
        _check_count(method, len(self.models))
        for i, rule in enumerate(self.tensors):
            self._check_rule(rule, ("tensors", i))

    @property
    def labels(self) -> tuple[str, ...]:
        """The models' labels, in order."""
        return tuple(self.models)

    def _check_rule(self, rule: Rule, where: tuple[str | int, ...]) -> None:
        """Check a rule against the recipe's models and methods."""
        known = (*self.labels, *((BASE,) if self.base is not None else ()))
        if rule.copy is not None and rule.copy not in known:
            raise RecipeError(
                f"a rule copies from '{rule.copy}', which the recipe does not have.{nearest(rule.copy, known)} "
                f"It has: {', '.join(known)}.",
                (*where, "copy"),
            )
        if rule.copy is None and not rule.skip:
            try:
                method = find_method(rule.method or self.method)
            except RecipeError as error:
                raise RecipeError(str(error), (*where, "method")) from None
            settle(method, rule.parameters, self.labels, (*where, "parameters"))
            _check_count(method, len(self.models))

    def rule_for(self, name: str) -> Rule | None:
        """Return the first rule that matches a tensor's name, or None."""
        return next((rule for rule in self.tensors if rule.matches(name)), None)

    def but(self, **parameters: object) -> "Recipe":
        """Return the same recipe with some parameters changed."""
        return replace(self, parameters={**self.parameters, **parameters})

    def canonical(self) -> dict[str, object]:
        """Return what the recipe says, without any path: labels stand for the models. Ready for JSON, keys in fixed order."""
        rules = [
            {
                "match": list(rule.match),
                "method": rule.method,
                "parameters": thawed(rule.parameters),
                "copy": rule.copy,
                "skip": rule.skip,
                "parts": rule.parts,
            }
            for rule in self.tensors
        ]
        return {
            "cuvee": SCHEMA,
            "method": self.method,
            "models": list(self.labels),
            "base": self.base is not None,
            "parameters": thawed(self.parameters),
            "tensors": rules,
            "seed": self.seed,
            "output": {"dtype": self.output.dtype},
        }


def _labelled(models: Any) -> dict[str, Reference]:
    """Give labels to a sequence of references; check the labels of a mapping."""
    if isinstance(models, Sequence) and not isinstance(models, str):
        models = {f"m{i}": reference for i, reference in enumerate(models)}
    if not isinstance(models, Mapping) or not models:
        raise RecipeError("'models' is empty; name at least one model: a list of paths, or label: path.", ("models",))
    for label in models:
        if not isinstance(label, str) or not re.fullmatch(r"[\w.-]+", label) or label == BASE:
            raise RecipeError(
                f"{label!r} is not a label for a model: use letters, digits, '_', '-' and '.'; 'base' is the base's.",
                ("models", str(label)),
            )
    return dict(models)


def _check_count(method: Method, count: int) -> None:
    """Check that the method takes this many models."""
    fewest, most = method.models
    if count < fewest or (most is not None and count > most):
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most is None else f"{fewest} to {most}"
        raise RecipeError(f"method '{method.name}' merges {wanted} models; the recipe has {count}.", ("models",))


def _frozen(value: Any) -> Any:
    """Copy parameters so that later changes to the caller's objects do not reach the recipe."""
    if isinstance(value, Mapping):
        if set(value) == {"over_depth"} and isinstance(value["over_depth"], Sequence):
            return OverDepth(tuple(value["over_depth"]))
        return {key: _frozen(v) for key, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(v) for v in value)
    return value


def thawed(value: Any) -> Any:
    """Turn frozen parameters into plain lists and mappings, for writing."""
    if isinstance(value, OverDepth):
        return {"over_depth": list(value.values)}
    if isinstance(value, Mapping):
        return {key: thawed(v) for key, v in value.items()}
    return [thawed(v) for v in value] if isinstance(value, tuple | list) else value

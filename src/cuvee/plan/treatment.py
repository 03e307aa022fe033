"""How a tensor is treated: by the recipe's method, or, where that would make no sense, in a way of its own.

Whole numbers and buffers (position ids, masks, tables of angles) are copied. Running statistics of normalisation layers
are averaged: they are measured, so trimming or dropping them has no meaning. A rule that names a method has the last
word on tensors that can be merged at all.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cuvee.architectures.roles import measured
from cuvee.errors import PlanError
from cuvee.layouts.tile import Tile
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.recipe.rule import Rule
from cuvee.spec import DTYPES, DType

__all__ = ["Treatment", "alone", "common_dtype", "refuse_too_many", "treat"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Treatment:
    """What is done with a tensor.

    Attributes:
        method: the method.
        parameters: its parameters, as plain values.
        labels: the models that take part.
        reason: why this is not what the recipe says, or an empty string.
    """

    method: Method
    parameters: Mapping[str, Any]
    labels: Sequence[str]
    reason: str = ""


def treat(tile: Tile, rule: Rule | None, asked: Treatment, donor: str) -> Treatment:
    """Decide how a tensor is treated.

    Args:
        tile: the tensor.
        rule: the rule that matches it, if any.
        asked: what the recipe says, with the rule's method and parameters.
        donor: label of the source that copied tensors come from, if it has them.

    Raises:
        PlanError: some models store numbers and some whole numbers under this name.
    """
    if rule is not None and rule.copy is not None:
        return _copied(rule.copy)
    if asked.method.any_dtype:
        return asked
    spec = tile.specs[asked.labels[0]]
    kinds = {each.dtype.kind for each in tile.specs.values()}
    if len(kinds) > 1:
        found = ", ".join(f"'{label}' {each.dtype}" for label, each in tile.specs.items())
        raise PlanError(
            f"{tile.name}: element types differ in kind: {found}. Give a rule to copy or skip it.", ("models",)
        )
    giver = donor if donor in tile.specs else asked.labels[0]
    if kinds != {"float"}:
        return _copied(giver, f"{spec.dtype} is copied, not averaged")
    if rule is not None and rule.method is not None:
        return asked
    role = measured(tile.name, spec)
    if role == "buffer":
        return _copied(giver, "a buffer is copied, not averaged")
    if role == "statistic":
        return _averaged(asked)
    return asked


def refuse_too_many(treatment: Treatment, name: str) -> None:
    """Refuse a tensor that is made of more models than the method takes.

    Raises:
        PlanError: it is: layers are put together anew, and it is in none; or rules for other tensors say their models.
    """
    most = treatment.method.models[1]
    if most is not None and len(treatment.labels) > most:
        raise PlanError(
            f"{name}: method '{treatment.method.name}' takes {most} model{'s' if most > 1 else ''} at most, and here "
            f"are {', '.join(treatment.labels)}: no slice of 'layers' and no rule chooses from them. Give a rule for "
            "this tensor: copy it, or say its 'models'.",
            ("tensors",),
        )


def alone(label: str) -> Treatment:
    """Take one model's tensor because too few of the others have it."""
    return _copied(label, f"only '{label}' has it, or too few others for a merge")


@lru_cache
def _copied(label: str, reason: str = "") -> Treatment:
    """Take one model's tensor."""
    return Treatment(method=find_method("copy"), parameters={}, labels=(label,), reason=reason)


def _averaged(asked: Treatment) -> Treatment:
    """Average with the shares that go with the method's parameters."""
    linear, count = find_method("linear"), len(asked.labels)
    return Treatment(
        method=linear,
        parameters={**linear.defaults(count), "weight": list(asked.method.average(asked.parameters, count))},
        labels=asked.labels,
        reason="" if asked.method is linear else "a running statistic is averaged",
    )


def common_dtype(types: Collection[DType]) -> DType:
    """Return the type that holds the values of all: the widest, or F32 where there are two of them (F16 and BF16)."""
    bits = max(dtype.bits for dtype in types)
    widest = [dtype for dtype in types if dtype.bits == bits]
    return widest[0] if len(widest) == 1 else DTYPES["F32"]

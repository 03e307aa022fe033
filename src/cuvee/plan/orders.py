"""What a recipe orders to be done with a tensor: with which models, by which method, with which settings.

Rules and slices of layers are put together here; where tensors lie and what they hold is of no interest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.errors import PlanError
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.recipe.layers import Slice
from cuvee.recipe.parameters import Settings, settle, varies
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.rule import Rule
from cuvee.recipe.yaml_text import Where

__all__ = ["Order", "Orders"]

At = tuple[str, int] | None
"""A slice of the recipe's layers: what it calls the stack, and place; None for what has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done with some tensors.

    Attributes:
        method: the method.
        settings: its parameters; per-model ones in the order of `labels`.
        labels: the models that take part.
        base: label of the base, if the method works on task vectors.
        rule: the rule that holds, if any.
        where: place of its parameters in the recipe, for messages.
        varies: settings differ from tensor to tensor.
    """

    method: Method
    settings: Settings
    labels: tuple[str, ...]
    base: str | None
    rule: Rule | None
    where: Where
    varies: bool

    def of(self, labels: Sequence[str]) -> Settings:
        """Return the settings for some of the models only."""
        return _subset(self.settings, self.labels, labels, self.method)

    @property
    def needed(self) -> tuple[str, ...]:
        """Labels of the sources that such a tensor is made of."""
        if self.rule is not None and self.rule.skip:
            return ()
        if self.rule is not None and self.rule.copy is not None:
            return (self.rule.copy,)
        return self.labels if self.base is None else (*self.labels, self.base)

    def makes_as(self, other: "Order") -> bool:
        """Say whether equal inputs come out equal by both orders, wherever in the model they stand."""
        return self._making == other._making

    @property
    def _making(self) -> tuple[object, ...]:
        if self.rule is not None and (self.rule.skip or self.rule.copy is not None):
            return (self.needed,)
        return self.method.name, dict(self.settings), self.labels, self.base, self.rule.parts if self.rule else 1


class Orders:
    """The orders of a recipe. Tensors are many, orders are few: each is made once.

    Args:
        recipe: the recipe.
        labels: of all sources that are open, the base too.
    """

    def __init__(self, recipe: Recipe, labels: Sequence[str]) -> None:
        self._recipe = recipe
        self._labels = labels
        self._made: dict[tuple[int, At], Order] = {}

    def of(self, rule: Rule | None, at: At = None) -> Order:
        """Return what is to be done with the tensors that a rule holds for, and a slice of layers.

        Raises:
            PlanError: the method needs a base, and there is none.
            RecipeError: a setting is wrong.
        """
        key = id(rule), at
        if key not in self._made:
            self._made[key] = self._make(rule, at)
        return self._made[key]

    def merging(self) -> list[Order]:
        """Return the order for tensors that no rule holds for, and those of all rules that lead to a merge."""
        rules = [rule for rule in self._recipe.tensors if not (rule.skip or rule.copy is not None)]
        slices: list[At] = [(stack, i) for stack, each in self._recipe.layers.items() for i in range(len(each))]
        return [self.of(rule, at) for rule in (None, *rules) for at in slices or [None]]

    def _make(self, rule: Rule | None, at: At) -> Order:
        part = None if rule is not None and rule.models else self._slice(at)  # a rule of its own models has precedence
        labels = self._recipe.labels if part is None else part.labels
        if rule is not None and rule.models:
            labels = rule.models
        method, settings = self._settled(rule, part, labels)
        base = None
        if _merges(rule) and method.space(settings) == "deltas":
            base = BASE if part is None else part.base
            held = self._labels if part is None else part.take
            if base not in held:
                raise PlanError(
                    f"method '{method.name}' works on task vectors: what each model differs from a common base by; "
                    + ("give the recipe a 'base'." if part is None else f"take layers of '{base}', too."),
                    ("base",) if part is None else self._place(at),
                )
        where = self._where(rule, at)
        return Order(
            method=method,
            settings=settings,
            labels=labels,
            base=base,
            rule=rule,
            where=where,
            varies=varies(settings),
        )

    def _slice(self, at: At) -> Slice | None:
        if at is None:
            return None
        return self._recipe.layers[at[0]][at[1]]

    def _settled(self, rule: Rule | None, part: Slice | None, labels: tuple[str, ...]) -> tuple[Method, Settings]:
        """Return the method, and settings of the recipe, then the slice's, then the rule's."""
        recipe = self._recipe
        name = (rule.method if rule else None) or (part.method if part else None) or recipe.method
        method = find_method(name)
        settings = dict(settle(method, {}, labels))
        if name == recipe.method:
            made = settle(method, recipe.parameters, recipe.labels, ("parameters",))
            settings |= _subset(made, recipe.labels, labels, method)
        if part is not None and name == (part.method or recipe.method):
            made = settle(method, part.parameters, part.labels)
            settings |= _given(_subset(made, part.labels, labels, method), part.parameters)
        if rule is not None and rule.parameters:
            made = settle(method, rule.parameters, rule.models or recipe.labels, self._where(rule, None))
            settings |= _given(_subset(made, rule.models or recipe.labels, labels, method), rule.parameters)
        return method, settings

    def _where(self, rule: Rule | None, at: At) -> Where:
        """Return where the recipe gives the parameters that hold, for messages."""
        if rule is not None and rule.parameters:
            place = next(i for i, each in enumerate(self._recipe.tensors) if each is rule)
            return ("tensors", place, "parameters")
        part = self._slice(at)
        return (*self._place(at), "parameters") if part is not None and part.parameters else ("parameters",)

    def _place(self, at: At) -> Where:
        assert at is not None
        return ("layers", *([at[0]] if at[0] else []), at[1])


def _merges(rule: Rule | None) -> bool:
    """Say whether a rule (or none) leads to a merge."""
    return rule is None or not (rule.skip or rule.copy is not None)


def _subset(settings: Settings, labels: Sequence[str], some: Sequence[str], method: Method) -> dict[str, Any]:
    """Return settings for models as those for some of them."""
    places = [labels.index(label) for label in some]
    return {
        name: tuple(value[place] for place in places) if method.parameters[name].per_model else value
        for name, value in settings.items()
    }


def _given(settings: Settings, given: Mapping[str, object]) -> dict[str, Any]:
    """Return those of the settings that were given."""
    return {name: settings[name] for name in given}

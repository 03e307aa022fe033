"""The recipe: a frozen statement of what to merge. Checks all that can be checked without opening a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cuvee.errors import OutputError, RecipeError, nearest
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.recipe.intake import Intake
from cuvee.recipe.keys import SCHEMA, recipe_keys
from cuvee.recipe.layers import Layers, Slice, layers_of, plain_layers
from cuvee.recipe.nesting import Extent, extent_of, refuse_deep, says_adapters, says_merge
from cuvee.recipe.parameters import plain_number, settle
from cuvee.recipe.references import (
    BASE,
    Models,
    Reference,
    WithAdapters,
    checked,
    is_merge,
    labelled,
    without_version,
    written,
)
from cuvee.recipe.rule import Output, Rule
from cuvee.recipe.tokenizer import check_choice, choice_of, written_choice
from cuvee.recipe.values import frozen_items, inside, keys_of, list_of, mapping_of, thawed
from cuvee.recipe.yaml_text import Origin, Where, dump, read
from cuvee.sources.strict_json import shown
from cuvee.tokenizers.choice import Choice

__all__ = ["BASE", "Recipe", "Reference", "reference_of"]

_PLAIN_INPUT, _PLAIN_OUTPUT = Intake(), Output()


@dataclass(frozen=True, slots=True, kw_only=True, init=False)
class Recipe:
    """What to merge, and how.

    Attributes:
        method: name of the method.
        models: label to reference, in order. May be given as a sequence, whose labels are m0, m1, ... A recipe, also
            as plain values, stands for the model that it makes; ``{"model": ..., "adapters": [...]}`` for a model with
            adapters on it.
        base: the common ancestor, for methods that work on task vectors; also the donor of configuration and tokenizer.
        layers: layers of the models put together anew, by stack; see `cuvee.recipe.layers`. May be given as plain
            values. Empty keeps them as they are.
        parameters: values for the method's parameters; see `settle`.
        tensors: rules for some tensors, the first match holds.
        tokenizer: which vocabulary and chat template the output has, may be given as plain values; None leaves the
            donor's, and rows of tokens are matched by their numbers.
        seed: of random methods.
        input: how the models are read.
        output: type, files.
        folder: what relative paths are relative to; None is the current folder. Not part of what the recipe says.
        origin: the file it was read from, if any, so that errors can name the line. Not part of what the recipe says.
        notes: what its user should know of how it was read. Not part of what the recipe says.
        extent: how many recipes stand within it, and how deep.

    Raises:
        RecipeError: something in it is wrong; says what, and what would be right.

    Example:
        >>> Recipe(method="linear", models=["a", "b"], parameters={"weight": [0.3, 0.7]}).models
        mappingproxy({'m0': 'a', 'm1': 'b'})
    """

    method: str
    models: Mapping[str, Reference]
    base: Reference | None
    layers: Layers
    parameters: Mapping[str, Any]
    tensors: tuple[Rule, ...]
    tokenizer: Choice | None
    seed: int
    input: Intake
    output: Output
    folder: Path | None = field(compare=False, repr=False)
    origin: Origin | None = field(compare=False, repr=False)
    notes: tuple[str, ...] = field(compare=False, repr=False)
    extent: Extent = field(compare=False, repr=False, init=False)

    def __init__(
        self,
        *,
        method: str,
        models: Models,
        base: Reference | None = None,
        layers: object = None,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        tensors: Sequence[Rule] = (),
        tokenizer: Choice | Mapping[str, Any] | None = None,
        seed: int = 0,
        input: Intake = _PLAIN_INPUT,
        output: Output = _PLAIN_OUTPUT,
        folder: Path | None = None,
        origin: Origin | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        """Freeze and check everything that can be checked without opening a model."""
        references = MappingProxyType(labelled(_made(models)))
        donor = None if base is None else checked(BASE, reference_of(base, (BASE,)), (BASE,))
        with inside("tokenizer"):
            choice = choice_of(tokenizer)
        values = {
            "method": method,
            "models": references,
            "base": donor,
            "layers": layers_of(layers),
            "parameters": frozen_items(parameters),
            "tensors": tuple(tensors),
            "tokenizer": choice,
            "seed": plain_number(seed),
            "input": input,
            "output": output,
            "folder": folder,
            "origin": origin,
            "notes": tuple(notes),
            "extent": extent_of(each.extent for each in (*references.values(), donor) if is_merge(each)),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        self._check()

    def _check(self) -> None:
        """Check everything that can be checked without opening a model."""
        if not isinstance(self.seed, int) or isinstance(self.seed, bool):
            raise RecipeError(f"'seed' is {shown(self.seed)}; it must be a whole number.", ("seed",))
        if not isinstance(self.method, str):
            raise RecipeError(f"'method' is {shown(self.method)}; it must be the name of a method.", ("method",))
        with inside("method"):
            method = find_method(self.method)
        settle(method, self.parameters, self.labels, ("parameters",))
        if not self.layers and not any(rule.models for rule in self.tensors):
            _check_count(method, len(self.models))
        for stack, slices in self.layers.items():
            for i, each in enumerate(slices):
                with inside("layers", *([stack] if stack else []), i):
                    self._check_slice(each)
        for i, rule in enumerate(self.tensors):
            with inside("tensors", i):
                self._check_rule(rule)
        if self.tokenizer is not None:
            with inside("tokenizer"):
                check_choice(self.tokenizer, self.labels, self.base is not None)
            if self.output.adapter:
                raise RecipeError("an adapter has no tokenizer of its own; leave out 'tokenizer'.", ("tokenizer",))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel between processes as plain values."""
        values = {f.name: thawed(getattr(self, f.name)) for f in fields(self) if f.init}
        return partial(Recipe, **{**values, "layers": plain_layers(self.layers)}), ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The models' labels, in order."""
        return tuple(self.models)

    def _check_slice(self, part: Slice) -> None:
        """Check a slice of layers against the recipe's models and methods."""
        known = (*self.labels, *((BASE,) if self.base is not None else ()))
        for label in part.take:
            if label not in known:
                raise RecipeError(
                    f"a slice takes from {shown(label)}, which the recipe does not have.{nearest(label, known)} "
                    f"It has: {', '.join(known)}.",
                    ("take", label),
                )
        if BASE in part.labels:
            raise RecipeError("'base' cannot be merged as a model; give it a label among the 'models', too.", ("take",))
        with inside("method"):
            method = find_method(part.method or self.method)
        settle(method, part.parameters, part.labels, ("parameters",))
        _check_count(method, len(part.labels))

    def _check_rule(self, rule: Rule) -> None:
        """Check a rule against the recipe's models and methods."""
        known = (*self.labels, *((BASE,) if self.base is not None else ()))
        if rule.copy is not None and rule.copy not in known:
            raise RecipeError(
                f"a rule copies from {shown(rule.copy)}, which the recipe does not have.{nearest(rule.copy, known)} "
                f"It has: {', '.join(known)}.",
                ("copy",),
            )
        for i, label in enumerate(rule.models):
            if label not in self.models:
                raise RecipeError(
                    f"a rule is of the model {shown(label)}, which the recipe does not have."
                    f"{nearest(label, self.models)} It has: {', '.join(self.models)}.",
                    ("models", i),
                )
        if rule.copy is None and not rule.skip:
            with inside("method"):
                method = find_method(rule.method or self.method)
            settle(method, rule.parameters, rule.models or self.labels, ("parameters",))
            if not self.layers:
                _check_count(method, len(rule.models or self.models))

    def rule_for(self, name: str) -> Rule | None:
        """Return the first rule that matches a tensor's name, or None."""
        return next((rule for rule in self.tensors if rule.matches(name)), None)

    def check_within(self) -> None:
        """Refuse to stand for a model if it says how files are written. One that makes an adapter is refused later."""
        if not self.output.adapter and self.output != Output(dtype=self.output.dtype):
            raise RecipeError(
                "a recipe that stands for a model writes no files; its 'output' can have a 'dtype' and nothing else.",
                ("output",),
            )

    def but(self, **parameters: object) -> "Recipe":
        """Return the same recipe with some parameters changed."""
        return replace(self, parameters={**self.parameters, **parameters})

    @classmethod
    def of(cls, recipe: "Recipe | str | Path | Mapping[str, Any]") -> "Recipe":
        """Return a recipe as it is, or read it from a file or from plain values."""
        if isinstance(recipe, Recipe):
            return recipe
        return cls.load(recipe) if isinstance(recipe, str | Path) else cls.from_mapping(recipe)

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Read a YAML file. Relative paths in it are relative to its folder.

        Raises:
            RecipeError: it cannot be read, holds several recipes, or says something wrong; names file and line.
        """
        content, origin = read(Path(path))
        with origin.named():
            return replace(cls.from_mapping(content), folder=Path(path).parent, origin=origin)

    def save(self, path: str | Path) -> None:
        """Write a YAML file, replacing one that is there. Relative paths in it will be read as relative to its folder.

        Raises:
            RecipeError: a model is held in memory and has no path.
            OutputError: the file cannot be written.
        """
        self._check_named()
        try:
            Path(path).write_text(self.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{path}: the recipe cannot be written: {error.strerror}.") from error

    def _check_named(self) -> None:
        """Refuse models that are held in memory."""
        for label, reference in self._references.items():
            while isinstance(reference, WithAdapters):
                reference = reference.model
            if isinstance(reference, Recipe):
                reference._check_named()
            elif not isinstance(reference, str | Path):
                raise RecipeError(
                    f"model '{label}' is held in memory; only recipes whose models are paths can be saved."
                )

    def to_yaml(self) -> str:
        """Return the recipe as YAML; models held in memory are marked as such."""
        return dump(self.to_mapping())

    @classmethod
    def from_mapping(cls, content: object, folder: Path | None = None) -> "Recipe":
        """Build a recipe from plain values, as YAML gives them.

        Args:
            content: the recipe's keys and values; the README has the schema.
            folder: what relative paths are relative to; None is the current folder.

        Raises:
            RecipeError: something in it is wrong.
        """
        refuse_deep(content)
        top = recipe_keys(content)
        rules = []
        for i, rule in enumerate(list_of(top.get("tensors"), ("tensors",))):
            with inside("tensors", i):
                rules.append(Rule.from_mapping(rule))
        with inside("input"):
            intake = Intake.from_mapping(top.get("input"))
        with inside("output"):
            output = Output.from_mapping(top.get("output"))
        return cls(
            method=top["method"],
            models=top["models"],
            base=top.get("base"),
            layers=top.get("layers"),
            parameters=mapping_of(top.get("parameters"), ("parameters",)),
            tensors=tuple(rules),
            tokenizer=top.get("tokenizer"),
            seed=top.get("seed", 0),
            input=intake,
            output=output,
            folder=folder,
        )

    def to_mapping(self, places: Mapping[str, object] | None = None) -> dict[str, object]:
        """Return plain values that `from_mapping` reads back to an equal recipe, if its models are paths.

        Args:
            places: what to write for each model, by label, and for the base; without it, the references.
        """
        if places is None:
            places = {label: written(reference) for label, reference in self._references.items()}
        content: dict[str, object] = {"cuvee": SCHEMA, "method": self.method}
        content["models"] = {label: places[label] for label in self.labels}
        if self.base is not None:
            content["base"] = places[BASE]
        rest = {
            "layers": plain_layers(self.layers),
            "parameters": thawed(self.parameters),
            "tensors": [rule.to_mapping() for rule in self.tensors],
            "tokenizer": None if self.tokenizer is None else written_choice(self.tokenizer),
            "seed": self.seed,
            "input": self.input.to_mapping(),
            "output": self.output.to_mapping(),
        }
        return content | {key: value for key, value in rest.items() if value}

    def canonical(self, *, within: bool = True) -> dict[str, object]:
        """Return what decides the merged bytes, without any path: labels stand for the models. Keys in fixed order.

        Args:
            within: write recipes that stand for models out; labels stand for these, too, if not.
        """
        content = self.to_mapping({label: _canonical(label, each, within) for label, each in self._references.items()})
        output = self.output
        factors = {"adapter": True, "rank": output.rank, "error": output.error} if output.adapter else {}
        return content | {"output": {"dtype": output.dtype, **factors}}

    @property
    def _references(self) -> dict[str, Reference]:
        """The models by label, and the base."""
        return {**self.models, **({} if self.base is None else {BASE: self.base})}


def _canonical(label: str, reference: Reference, within: bool) -> object:
    """Return what stands for a model where paths do not count: its label, or the recipe that makes it."""
    if not within or not is_merge(reference):
        return label
    return without_version(reference.canonical())


def _made(models: Models) -> Models:
    """Make recipes of models that are given as plain values of one."""
    if isinstance(models, Mapping):
        return {label: reference_of(model, ("models", str(label))) for label, model in models.items()}
    if isinstance(models, Sequence) and not isinstance(models, str):
        return [reference_of(model, ("models", i)) for i, model in enumerate(models)]
    return models


def reference_of(model: Any, where: Where = ()) -> Any:
    """Return a model as it is; of plain values that look like a recipe, or like a model with adapters, make that.

    Args:
        model: what stands in the place of a model.
        where: that place in a recipe.

    Raises:
        RecipeError: they are wrong.
    """
    if says_adapters(model):
        with inside(*where):
            return _with_adapters(model)
    if not says_merge(model):
        return model
    with inside(*where):
        return Recipe.from_mapping({"cuvee": SCHEMA, **model})


def _with_adapters(content: Mapping[str, object]) -> WithAdapters:
    """Return plain values as a model with adapters on it."""
    keys = keys_of(content, ("model", "adapters"), "a model with adapters", ())
    adapters = []
    for i, each in enumerate(list_of(keys.get("adapters"), ("adapters",))):
        if not isinstance(each, str) or not each:
            raise RecipeError(f"{shown(each)} is not the path of an adapter.", ("adapters", i))
        adapters.append(each)
    if not adapters:
        raise RecipeError("a model with adapters has no 'adapters'; list their paths.", ())
    return WithAdapters(checked("model", reference_of(keys["model"], ("model",)), ("model",)), tuple(adapters))


def _check_count(method: Method, count: int) -> None:
    """Check that the method takes this many models."""
    fewest, most = method.models
    if count < fewest or (most is not None and count > most):
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}" if most is None else f"{fewest} to {most}"
        models = "model" if wanted == "1" else "models"
        raise RecipeError(f"method '{method.name}' takes {wanted} {models}; the recipe has {count}.", ("models",))

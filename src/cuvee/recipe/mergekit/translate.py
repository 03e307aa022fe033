"""One configuration of mergekit as a recipe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cuvee.errors import RecipeError, nearest
from cuvee.recipe.intake import Intake
from cuvee.recipe.layers import Slice
from cuvee.recipe.mergekit.document import Document, Module, Piece, path_of
from cuvee.recipe.mergekit.methods import METHODS, SCALED, Setting, Translation
from cuvee.recipe.mergekit.modules import patterns_of
from cuvee.recipe.mergekit.places import moved, places_of_models, places_of_tokenizer, stand_in
from cuvee.recipe.mergekit.reference import ModelName, labels_for
from cuvee.recipe.mergekit.remarks import remarks
from cuvee.recipe.mergekit.settings import Scope, conditions, native, pattern_of
from cuvee.recipe.mergekit.vocabulary import tokenizer_of
from cuvee.recipe.mergekit.wording import arranged, for_so_many, worded
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.references import BASE, Reference, adapted
from cuvee.recipe.rule import Output, Rule
from cuvee.recipe.values import thawed
from cuvee.recipe.yaml_text import Origin, Where

__all__ = ["translated"]


@dataclass(frozen=True, slots=True)
class _Part:
    """Models that are merged together, by their labels in the recipe.

    Attributes:
        labels: the models that are merged, in order.
        base: label of the base of their task vectors, or None.
        ranges: the layers that are taken, by label; empty for whole models.
        parameters: of the method.
        places: where in the configuration ranges and parameters stand, by where they stand in a slice of the recipe.
    """

    labels: tuple[str, ...]
    base: str | None
    ranges: Mapping[str, tuple[int, int]]
    parameters: Mapping[str, object]
    places: Mapping[Where, Where]


def translated(
    document: Document,
    references: Mapping[str, Reference],
    origin: Origin | None = None,
) -> Recipe:
    """Return a configuration as a recipe.

    Args:
        document: the configuration.
        references: what the results of other configurations are called that it uses, and the recipes that make them.
        origin: the file that the configuration was read from, or None.

    Raises:
        RecipeError: it says something that cannot be done; its place is in the configuration.
    """
    return _Translator(document, references, origin).recipe()


class _Translator:
    """Translates one configuration."""

    def __init__(
        self,
        document: Document,
        references: Mapping[str, Reference],
        origin: Origin | None,
    ) -> None:
        self._document = document
        self._references = references
        self._origin = origin
        self._model_places = places_of_models(document)
        # Where what the recipe says stands in the configuration; grows as it is put together.
        self._places: dict[Where, Where] = {(): document.where, **places_of_tokenizer(document)}
        self._method = _translation(document)
        self._notes = [f"mergekit, and so cuvee, ignores the key {key}" for key in document.ignored]
        self._notes += remarks(_scopes(document), self._method.settings)
        pieces = [piece for module in document.modules for piece in module.pieces]
        listed = [taken.model for piece in pieces for taken in piece.sources]
        bases = [base for base in (document.base, *(piece.base for piece in pieces)) if base is not None]
        # mergekit goes through models in no certain order; here the base comes first, then they come as they are named.
        self._models = list(dict.fromkeys([*bases, *listed]))
        self._labels = labels_for(self._models)
        self._told: set[str] = set()

    def recipe(self) -> Recipe:
        """Put the recipe together."""
        document = self._document
        parts = [[self._part(module, piece) for piece in module.pieces] for module in document.modules]
        merged = dict.fromkeys(label for own in parts for part in own for label in part.labels)
        base = self._native_base(parts)
        own = [part.base for each in parts for part in each if part.base is not None and part.base != base]
        needed = dict.fromkeys([*merged, *own])  # a model may be no more than the base of a slice
        names = {label: model for model, label in self._labels.items()}
        self._places |= {("models", label): self._model_places[names[label]] for label in needed}
        if base is not None:
            self._places["base",] = self._model_places[names[base]]
        said = {
            "models": {label: self._reference(names[label]) for label in needed},
            "base": None if base is None else self._reference(names[base]),
            **self._said(parts, base),
            "tokenizer": tokenizer_of(document, self._labels, base),
        }
        try:
            return Recipe(
                method=self._method.method,
                **said,
                input=Intake(dtype=document.dtype, missing="present", experts="packed"),
                output=Output(dtype=document.out_dtype or document.dtype),
                notes=self._notes,
                origin=None if self._origin is None else stand_in(self._origin, self._places),
            )
        except RecipeError as error:
            error.where = moved(error.where, self._places)
            raise

    def _reference(self, model: ModelName) -> Reference:
        """Return what a recipe has for a model."""
        idle = model.idle_revisions()
        self._notes += [
            f"'{path}' is a folder or file here, of which there are no revisions: '@{named}' is ignored."
            for path, named in idle
        ]
        named, made = model.without(idle), self._references.get(model.path)
        adapter, base = named.adapter(), named.base()
        if adapter is None:
            return base if made is None else made
        return adapted(base if made is None else made, [adapter])

    def _native_base(self, parts: Sequence[Sequence[_Part]]) -> str | None:
        """Return the label of the recipe's base: of the task vectors, or of the model that lends its configuration."""
        own = dict.fromkeys(part.base for each in parts for part in each if part.base is not None)
        if self._document.base is not None:
            label = self._labels[self._document.base]
            if own or self._method.base in ("needed", "possible"):
                return label
            first = next(part for each in parts for part in each).labels[0]
            return None if label == first else label
        return next(iter(own), None)

    def _said(self, parts: Sequence[Sequence[_Part]], base: str | None) -> dict[str, Any]:
        """Return parameters, layers and rules."""
        modules = self._document.modules
        first = parts[0][0]
        if len(modules) == 1 and not modules[0].name:
            if not modules[0].sliced:
                self._note_places(first, ())
                return {"parameters": first.parameters}
            return {"layers": {"": self._slices(parts[0], base, "layers")}}
        layers: dict[str, list[Slice]] = {}
        rules = []
        for i, (module, own) in enumerate(zip(modules, parts, strict=True)):
            place = (*self._document.where, "modules", module.name)
            patterns, stack = patterns_of(module.name, place)
            self._places["tensors", i] = self._places["layers", stack] = place
            if module.sliced:
                layers[stack] = self._slices(own, base, "layers", *([stack] if stack else []))
                rules.append(Rule(match=patterns))
            else:
                self._note_places(own[0], ("tensors", i))
                rules.append(Rule(match=patterns, models=own[0].labels, parameters=own[0].parameters))
        return {"layers": layers, "tensors": [*rules, Rule(match="*", skip=True)]}

    def _with_ends(self, parts: Sequence[_Part]) -> Sequence[_Part]:
        """Return slices; the last one has no layers if mergekit makes the tensors after them of fewer models."""
        count, last = len(parts[0].ranges), parts[-1]
        if len(last.ranges) <= count:
            return parts
        kept = list(last.ranges)[:count]
        if last.base is not None and last.base not in kept:
            raise RecipeError(
                f"tensors after the layers are made of the first {count} sources of the last slice, as many as the "
                "first slice has; the base model is not among them. List it first.",
                (*self._document.where, "slices", len(parts) - 1, "sources"),
            )
        self._notes.append(
            f"Tensors after the layers are made of {count} of the models of the last slice only, as many as the first "
            "slice has: so mergekit makes them."
        )
        labels = tuple(label for label in last.labels if label in kept)
        own = {name: _of_models(value, labels) for name, value in last.parameters.items()}
        parameters = for_so_many(own, self._document.method, len(labels))
        return [*parts, _Part(labels, last.base, dict.fromkeys(kept, (0, 0)), parameters, last.places)]

    def _slices(self, parts: Sequence[_Part], base: str | None, *where: str) -> list[Slice]:
        """Return parts as the slices of a stack of layers, which stands at a place of the recipe."""
        ends = self._with_ends(parts)
        for i, part in enumerate(ends):
            self._note_places(part, (*where, i))
        return [self._slice(part, base) for part in ends]

    def _note_places(self, part: _Part, where: Where) -> None:
        """Note where in the configuration a part stands that stands at a place of the recipe."""
        self._places |= {(*where, *inner): place for inner, place in part.places.items()}

    def _slice(self, part: _Part, base: str | None) -> Slice:
        """Return a part as a slice of layers."""
        take = {BASE if label == part.base == base else label: taken for label, taken in part.ranges.items()}
        order = [*part.labels, *([] if part.base is None else [BASE if part.base == base else part.base])]
        own = {} if part.base in (None, base) else {"base": part.base}
        content = {"take": {label: list(take[label]) for label in order}, "parameters": thawed(part.parameters), **own}
        return Slice.from_mapping(content)

    def _part(self, module: Module, piece: Piece) -> _Part:
        """Work out who takes part in a piece, and the method's parameters for it."""
        scopes = {taken.model: taken.scope for taken in piece.sources}
        ranges = {self._labels[t.model]: t.layers for t in piece.sources if t.layers is not None}
        models = [taken.model for taken in piece.sources]
        self._check_distinct(models, piece.where)
        base = piece.base or self._document.base
        if not module.sliced and base is not None and base not in models:
            models.append(base)
        merged = self._merged(models, base, piece.where)
        outer = [piece.scope, module.scope, self._document.scope]
        self._tell_idle(scopes, outer, merged)
        parameters = dict(self._method.always)
        places: dict[Where, Where] = {(): piece.where}
        places |= {("take", self._labels[t.model]): (*t.scope.where[:-1], "layer_range") for t in piece.sources}
        on_base = base is not None and self._method.base in ("needed", "possible")
        if on_base:
            parameters |= self._method.on_task_vectors
        for name, setting in self._method.settings.items():
            value = self._value(name, setting, merged, scopes, outer, piece.where)
            if value is not None:
                parameters[setting.name] = value
            places |= self._places_of(name, setting, merged, scopes, outer)
        return _Part(
            tuple(self._labels[model] for model in merged),
            self._labels[base] if on_base and base is not None else None,
            ranges,
            for_so_many(arranged(parameters, self._document.method), self._document.method, len(merged)),
            places,
        )

    def _places_of(
        self,
        name: str,
        setting: Setting,
        merged: Sequence[ModelName],
        scopes: Mapping[ModelName, Scope],
        outer: Sequence[Scope],
    ) -> Mapping[Where, Where]:
        """Return where a parameter's first condition stands, for all models and for each."""
        inner = [(model, scopes[model]) for model in merged if setting.per_model and model in scopes]
        found = {self._labels[model]: conditions(name, [each, *outer]) for model, each in inner}
        places: dict[Where, Where] = {
            ("parameters", setting.name, label): each[0][1] for label, each in found.items() if each
        }
        first = next(iter(places.values()), None) or next((where for _, where in conditions(name, outer)), None)
        if first is not None:
            places |= {("parameters",): first, ("parameters", setting.name): first}
        for label, each in [*found.items(), (None, conditions(name, outer))]:
            inside = ("parameters", setting.name, *([] if label is None else [label]), "by_name")
            for condition, _ in each:
                if condition.part is not None:
                    at, pattern = (*condition.where, "filter"), pattern_of(condition.part)
                    places.setdefault((*inside, pattern), at)
                    places.setdefault(("parameters", setting.name, "by_name", pattern), at)  # where models agree
        return places

    def _check_distinct(self, models: Sequence[ModelName], where: Where) -> None:
        for i, model in enumerate(models):
            if model in models[:i]:
                raise RecipeError(f"the model '{model.reference()}' is listed twice.", (*where, i))

    def _merged(self, models: Sequence[ModelName], base: ModelName | None, where: Where) -> list[ModelName]:
        """Return the models that are merged, in the order that the method wants."""
        name, kind = self._document.method, self._method.base
        if kind in ("needed", "first") and base is None:
            meant = [place for place in self._document.ignored_at if nearest(str(place[-1]), ["base_model"])]
            hint = f" '{meant[0][-1]}' is no key. Did you mean 'base_model'?" if meant else ""
            at = meant[0] if meant else (*self._document.where, "merge_method")
            raise RecipeError(f"'{name}' needs a 'base_model'.{hint}", at)
        if kind != "model" and base is not None and base not in models:
            raise RecipeError(f"'{name}' needs layers of the base model '{base.reference()}', too.", where)
        others = [model for model in models if model != base]
        merged = [*([base] if base is not None else []), *others] if kind == "first" else list(models)
        merged = others if kind in ("needed", "possible") else merged
        fewest, most = self._method.models
        if len(merged) < fewest or (most is not None and len(merged) > most):
            wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
            plural = "" if wanted == "1" else "s"
            besides = " besides the base model" if kind in ("needed", "possible") else ", the base model counted"
            raise RecipeError(f"'{name}' takes {wanted} model{plural}{besides}; here are {len(merged)}.", where)
        return merged

    def _value(
        self,
        name: str,
        setting: Setting,
        merged: Sequence[ModelName],
        scopes: Mapping[ModelName, Scope],
        outer: Sequence[Scope],
        where: Where,
    ) -> object:
        """Return what a parameter is in the recipe."""
        if not setting.per_model:
            found = conditions(name, outer)
            if not found and setting.default is None:
                beside = any(name in each.values for each in scopes.values())
                hint = " It is said for the whole merge, not beside a model." if beside else ""
                at = self._misplaced(name)
                hint = " It stands there without 'parameters:'; put it under that." if at else hint
                raise RecipeError(f"'{self._document.method}' needs the parameter '{name}'.{hint}", at or where)
            return worded(native(name, found, setting.kind, setting.default), setting)
        values = []
        for model in merged:
            found = conditions(name, [scopes.get(model, Scope({}, where)), *outer])
            if not found and setting.default is None:
                at = self._misplaced(name)
                raise RecipeError(
                    f"'{self._document.method}' needs the parameter '{name}' for the model '{model.reference()}': "
                    + (
                        "it stands there without 'parameters:'; put it under that."
                        if at
                        else "under the 'parameters' beside it, or of all."
                    ),
                    at or where,
                )
            values.append(worded(native(name, found, setting.kind, setting.default), setting))
        if all(value == values[0] for value in values):
            return values[0]
        return {self._labels[model]: value for model, value in zip(merged, values, strict=True)}

    def _misplaced(self, name: str) -> Where:
        """Return where a parameter stands that is not under ``parameters``, if it does anywhere."""
        return next((where for where in self._document.ignored_at if where[-1] == name), ())

    def _tell_idle(
        self, scopes: Mapping[ModelName, Scope], outer: Sequence[Scope], merged: Sequence[ModelName]
    ) -> None:
        """Note parameters that mean nothing to the method, or nothing where they are said."""
        known = self._method.settings
        for each in [*scopes.values(), *outer]:
            for name in each.values:
                if name not in known and name not in self._method.idle:
                    unknown = f"'{self._document.method}' has no parameter '{name}'"
                    self._tell(unknown, each, name, nearest(name, known))
        for model, own in scopes.items():
            for name in own.values:
                if name in known and not known[name].per_model:
                    self._tell(f"'{name}' is said for all models together, not beside one", own, name)
                elif name in known and model not in merged:
                    self._tell(f"'{name}' means nothing beside the base model, which the others differ from", own, name)

    def _tell(self, what: str, found: Scope, name: str, hint: str = "") -> None:
        """Note once that a parameter is ignored, with the first place where it is."""
        if what not in self._told:
            self._told.add(what)
            place = path_of((*found.where, name))
            self._notes.append(f"{place}: {what}; mergekit, and so cuvee, ignores it.{hint}")


def _translation(document: Document) -> Translation:
    """Return the translation of a document's method."""
    is_scaled = document.method == "passthrough" and any("scale" in each.values for each in _scopes(document))
    return SCALED if is_scaled else METHODS[document.method]


def _scopes(document: Document) -> list[Scope]:
    """Return the parameters of all places of a document."""
    scopes = [document.scope]
    for module in document.modules:
        scopes += [module.scope, *(piece.scope for piece in module.pieces)]
        scopes += [taken.scope for piece in module.pieces for taken in piece.sources]
    return scopes


def _of_models(value: object, labels: Sequence[str]) -> object:
    """Return a parameter for some of the models only."""
    if isinstance(value, Mapping) and not {"by_name", "over_depth"} & set(value):
        return {label: value[label] for label in labels}
    return value

"""Recipes and headers to rows. Reads no weight; holds no tensor.

One plan can make several variants: recipes that read the same models. A tile of the output that several variants need
is one row with a job for each, and its inputs are read once.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from itertools import chain
from math import prod
from typing import Any

from cuvee.architectures.layers import depth_of, layer_of, stacks
from cuvee.architectures.packed import refuse_packed
from cuvee.architectures.tied import is_head, stored_twice, tied_names
from cuvee.errors import PlanError
from cuvee.layouts.aligned import Aligned, aligned
from cuvee.layouts.stacked import Stacked
from cuvee.layouts.tile import Tile, split
from cuvee.methods.declare import Method
from cuvee.plan.account import (
    differing_companions,
    first_layers_apart,
    is_base_merged,
    lacking_configuration,
    layers_left_out,
    merged_from_fewer,
    names_apart,
    refuse_depths,
    refuse_strangers,
    repeated,
    rules_without_effect,
    unlike_configuration,
    unused_base,
)
from cuvee.plan.configuration import everywhere, joined, layer_settings
from cuvee.plan.orders import Order, Orders
from cuvee.plan.patterns import unmatched
from cuvee.plan.plan import Plan
from cuvee.plan.pools import Pools
from cuvee.plan.rows import CELL, Domain, Input, Job, Row, fuse
from cuvee.plan.treatment import Treatment, alone, common_dtype, refuse_too_many, treat
from cuvee.recipe.parameters import plain, settings_at
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.values import inside
from cuvee.recipe.varying import Place
from cuvee.resolve import Resolved
from cuvee.spec import DTYPES, DType, Header, TensorSpec

__all__ = ["make_plan"]


def make_plan(variants: Sequence[Resolved]) -> Plan:
    """Plan one or more merges of the same models as one run, from headers alone.

    Args:
        variants: the recipes, with their sources open; they stay open.

    Raises:
        PlanError: a recipe and its models do not fit together.
    """
    domains: list[Domain] = []
    rows: dict[object, Row] = {}
    outputs: list[Mapping[str, TensorSpec]] = []
    config: list[Mapping[str, object]] = []
    warnings: list[str] = []
    for number, resolved in enumerate(variants):
        with resolved.recipe.origin.named() if resolved.recipe.origin else nullcontext():
            planner = _Planner(number, resolved, Pools(len(domains)))
            planned = planner.rows()
        warnings += [*resolved.notes, *planner.warnings, *planner.pools.splits()]
        domains += planner.pools.domains
        for row in planned:
            key = (row.name, row.start, row.size, row.width, row.cell)
            rows[key] = fuse(rows[key], row) if key in rows else row
        outputs.append(planner.outputs)
        config.append(planner.config)
    return Plan(
        variants=tuple(variants),
        rows=tuple(rows.values()),
        domains=tuple(domains),
        outputs=tuple(outputs),
        config=tuple(config),
        warnings=tuple(dict.fromkeys(warnings)),
    )


class _Planner:
    """Plans one variant."""

    def __init__(self, number: int, resolved: Resolved, pools: Pools) -> None:
        self.number = number
        self.pools = pools
        self.recipe: Recipe = resolved.recipe
        self.sources = resolved.sources
        self.donor = resolved.donor
        self.warnings: list[str] = [*self.recipe.notes]
        self.outputs: dict[str, TensorSpec] = {}
        self.config: dict[str, object] = {}
        self._stacked: Stacked | None = None
        self._rule_for = cache(self.recipe.rule_for)
        self._orders = Orders(self.recipe, list(self.sources))
        # By identity, of orders and then of treatments: tensors are many, what is said about them is not.
        self._asked: dict[object, Treatment] = {}
        self._checked: dict[int, Treatment] = {}
        for label, source in self.sources.items():
            refuse_packed(source.header, source.config, f"model '{label}' ({source.reference})")

    def rows(self) -> list[Row]:
        """Plan every tile."""
        headers: Mapping[str, Header] = {label: source.header for label, source in self.sources.items()}
        names = dict.fromkeys(chain.from_iterable(headers.values()))
        ties = {
            label: tied_names(source.header, source.config, source.shared, names)
            for label, source in self.sources.items()
        }
        self._twice = stored_twice(headers[self.donor], self.sources[self.donor].config)
        if self.recipe.input.missing == "present":
            refuse_strangers(headers)
        if self.recipe.layers:
            takes = {stack: [each.take for each in slices] for stack, slices in self.recipe.layers.items()}
            self._stacked = Stacked(headers, takes, self.donor)
            headers = self._stacked.headers
            self.config, notes = layer_settings(self._stacked, self.sources, self.donor)
            self.warnings += notes
        elif self.recipe.input.missing == "present":
            refuse_depths(headers)
        self._holders = {
            name: [label for label, own in headers.items() if name in own or ties[label].get(name) in own]
            for name in dict.fromkeys(chain.from_iterable(headers.values()))
        }
        try:
            matched = aligned(headers, ties, self._wanted, self._alike, self.donor)
        except PlanError as error:
            named = [
                f"'{label}' is {source.config.get('model_type', '')} {source.reference}".replace("  ", " ")
                for label, source in self.sources.items()
                if f"'{label}'" in str(error)
            ]
            here = f" Here {', '.join(named)}." if named else ""
            rules = " `cuvee convert` makes a recipe of a mergekit configuration, which can have rules."
            raise PlanError(f"{error}{rules if self._is_translated else ''}{here}", error.where) from error
        self._account(matched, ties[self.donor])
        self._stacks = stacks([tile.name for tile in matched.tiles])
        rows = []
        for tile in matched.tiles:
            order = self._order(tile.name)
            placed = self._stacked.placed(tile) if self._stacked else tile
            rows += [self._row(part, order) for part in split(placed, order.rule.parts if order.rule else 1)]
        if matched.skipped and not self.outputs:
            raise PlanError("the rules leave out every tensor; nothing would be written.", ("tensors",))
        own = self.sources[self.donor]
        if self._stacked is None:
            self.warnings += unlike_configuration(self.outputs, matched.skipped, ties[self.donor], self.donor, own)
        return rows

    @property
    def _is_translated(self) -> bool:
        """Whether the recipe's rules are not its author's words."""
        return self.recipe.origin is not None and self.recipe.origin.translated

    def _order(self, name: str) -> Order:
        """Return what is to be done with a tensor of the output."""
        return self._orders.of(self._rule_for(name), self._stacked.take(name) if self._stacked else None)

    def _alike(self, one: str, other: str) -> bool:
        """Say whether tensors of two names are made in the same way."""
        return self._order(one).makes_as(self._order(other))

    def _wanted(self, name: str) -> Sequence[str]:
        """Return the labels of the sources that a tensor of this name is made of."""
        order = self._order(name)
        if self.recipe.input.missing == "error" or not order.needed:
            return order.needed
        present = [label for label in order.needed if label in self._holders[name]]
        return present if present and order.base in (None, *present) else order.needed

    def _lacking(self, matched: Aligned) -> dict[str, list[str]]:
        """Return, for every tensor that is merged from fewer models than the recipe says, those that lack it."""
        lacking = {}
        for tile in matched.tiles:
            wanted = self._wanted(tile.name)
            if fewer := [label for label in self._order(tile.name).needed if label not in wanted]:
                lacking[tile.name] = fewer
        return lacking

    def _row(self, tile: Tile, order: Order) -> Row:
        """Plan one tile: which method, which inputs, which type."""
        treatment = self._treat(tile, order)
        method, parameters, labels = treatment.method, treatment.parameters, treatment.labels
        base = order.base if method.space(parameters) == "deltas" else None
        read = list(dict.fromkeys([*labels, *([base] if base else [])]))
        compare = bool(treatment.reason) and method.any_dtype
        if compare:
            read += [label for label in tile.inputs if label not in read]
        inputs = tuple(
            Input(source=self.sources[label], label=label, view=tile.inputs[label], spec=tile.specs[label])
            for label in read
        )
        dtype = self._dtype(tile, labels, base, method)
        view, spec = tile.outputs[0], next(iter(tile.specs.values()))
        width = _width(method, parameters, view.shape, is_part=view.size < spec.size)
        for output in tile.outputs:
            self.outputs[output.name] = (
                spec if spec.dtype == dtype and not spec.stored else TensorSpec(spec.shape, dtype)
            )
        job = Job(
            variant=self.number,
            method=method,
            parameters=parameters,
            operands=tuple(read.index(label) for label in labels),
            base=read.index(base) if base else None,
            labels=tuple(labels),
            domain=self.pools.domain_for(treatment),
            dtype=dtype,
            outputs=tile.outputs,
            seed=self.recipe.seed,
            stream=self._twice.get(tile.name, tile.name),
            moves=method.any_dtype and {tile.specs[x].dtype for x in labels} == {dtype},
            reason=treatment.reason,
            compare=tuple(range(1, len(read))) if compare else (),
        )
        cell = _cell(method, parameters, view.size, width)
        row = Row(name=tile.name, start=view.start, size=view.size, cell=cell, width=width, inputs=inputs, jobs=(job,))
        self.pools.add(row)
        return row

    def _treat(self, tile: Tile, order: Order) -> Treatment:
        """Decide how a tile is treated, and check its parameters together."""
        labels = tuple(label for label in order.labels if label in self._wanted(tile.name))
        is_copied = order.rule is not None and order.rule.copy is not None
        if not is_copied and len(labels) < order.method.models[0]:
            return alone(order.base or labels[0])
        settings = order.settings if labels == order.labels else order.of(labels)
        values = settings
        if order.varies and not is_copied:
            place = self._place(tile.name)
            with inside(*order.where):
                values = settings_at(settings, place, [self._name_in(label, tile.name) for label in labels])
        key = id(order), labels, tuple(map(str, values.values())) if order.varies else ()
        if key not in self._asked:
            self._asked[key] = Treatment(method=order.method, parameters=plain(values), labels=labels)
        treatment = treat(tile, order.rule, self._asked[key], self.donor)
        refuse_too_many(treatment, tile.name)
        if id(treatment) not in self._checked:
            self._checked[id(treatment)] = treatment
            if wrong := treatment.method.check(treatment.parameters):
                raise PlanError(f"method '{treatment.method.name}': {wrong}.", order.where)
        return treatment

    def _place(self, name: str) -> Place:
        """Return where a tensor of the output stands."""
        depth = self._stacked.depth(name) if self._stacked else None
        return Place(name, depth_of(name, self._stacks) if depth is None else depth, layer_of(name) is not None)

    def _name_in(self, label: str, name: str) -> str:
        """Return what a model calls a tensor of the output."""
        return self._stacked.own(label, name) if self._stacked else name

    def _dtype(self, tile: Tile, labels: Sequence[str], base: str | None, method: Method) -> DType:
        """Choose the element type to write."""
        given = (tile.specs[label].stored or tile.specs[label].dtype for label in (*labels, *((base,) if base else ())))
        types = {dtype.name: dtype for dtype in given}
        widest = common_dtype(types.values())
        if widest.kind != "float":
            return widest
        if len(types) > 1 and self.recipe.output.dtype is None:
            found = ", ".join(sorted(types))
            self.warnings.append(
                f"models store tensors in different types ({found}); written as {widest}. Set output dtype to choose."
            )
        if "F64" in types and not method.any_dtype:
            self.warnings.append("F64 tensors are merged in float32 arithmetic.")
        name = self.recipe.output.dtype_name
        return DTYPES[name] if name else widest

    def _account(self, matched: Aligned, ties: Mapping[str, str]) -> None:
        """Tell what the user should know before anything is read."""
        names = [*matched.skipped, *matched.tied, *(tile.name for tile in matched.tiles)]
        has_task_vectors = any(order.base for order in self._orders.merging())
        self.warnings += [
            *(() if self._is_translated else rules_without_effect(self.recipe.tensors, self._rule_for, names, ties)),
            *names_apart(matched, self._rule_for, is_translated=self._is_translated),
            *unmatched(self.recipe, [self._holders, *(source.header for source in self.sources.values()), names, ties]),
            *merged_from_fewer(self._lacking(matched)),
            *repeated(self.sources, has_task_vectors=has_task_vectors),
            *lacking_configuration(self.sources, self.donor),
            *differing_companions(self.sources, self.donor),
        ]
        heads = [(name, held) for name, held in self._twice.items() if is_head(name) and self._wanted(name)]
        if matched.untied or not all(self._alike(*pair) for pair in heads):
            apart = everywhere(self.sources[self.donor].config, "tie_word_embeddings", False)
            self.config = joined(self.config, apart)
        copies = any(rule.copy == BASE for rule in self.recipe.tensors)
        if BASE in self.sources and not (copies or has_task_vectors or is_base_merged(self.sources)):
            self.warnings.append(unused_base(self.recipe.method))
        if self._stacked is not None:
            self.warnings += [*layers_left_out(self._stacked), *first_layers_apart(self._stacked)]


def _width(method: Method, parameters: Mapping[str, Any], shape: tuple[int, ...], *, is_part: bool) -> int:
    """Return the elements that make up a row of a tensor: its last axis, or, for columns, all axes but the first."""
    if method.scope(parameters) != "column":
        return shape[-1] if shape else 1
    while is_part and len(shape) > 2 and shape[0] == 1:  # one of several matrices that are stacked
        shape = shape[1:]
    return prod(shape[1:])


def _cell(method: Method, parameters: Mapping[str, Any], size: int, width: int) -> int:
    """Return the elements in a cell of a row's grid: fixed by shape and locality alone."""
    if method.locality == "matrix":
        return max(size, 1)
    if method.locality == "rows" or method.scope(parameters) in ("row", "column"):
        return max(CELL // max(width, 1), 1) * max(width, 1)
    return CELL

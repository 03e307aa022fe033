"""Recipes and headers to rows. Reads no weight; holds no tensor.

One plan can make several variants: recipes that read the same models. A tile of the output that several variants need
is one row with a job for each, and its inputs are read once.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import chain
from typing import Any

from cuvee.architectures.layers import depth_of, stacks
from cuvee.architectures.packed import refuse_packed
from cuvee.architectures.tied import stored_twice, tied_names
from cuvee.errors import PlanError
from cuvee.layouts.aligned import Aligned, aligned
from cuvee.layouts.tile import Tile, split
from cuvee.methods.declare import Method
from cuvee.methods.registry import find_method
from cuvee.plan.account import (
    differing_companions,
    lacking_configuration,
    names_apart,
    repeated,
    rules_without_effect,
    unlike_configuration,
)
from cuvee.plan.modules import AdapterPlan
from cuvee.plan.pools import Pools
from cuvee.plan.rows import CELL, Domain, Input, Job, Row
from cuvee.plan.strips import Strip, strips_of
from cuvee.plan.treatment import Treatment, common_dtype, treat
from cuvee.recipe.parameters import Settings, at_depth, settle, varies
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.rule import Rule
from cuvee.resolve import Resolved
from cuvee.spec import DTYPES, DType, Source, TensorSpec

__all__ = ["Plan", "make_plan", "unused_base", "used"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        variants: the recipes, with their sources.
        rows: in the order in which their inputs are stored.
        domains: what passes are taken over; jobs point into it.
        outputs: for each variant, name and specification of every output tensor, in the donor's order.
        config: for each variant, what has to change in the donor's configuration.
        warnings: what the user should know, once per fact.
        adapters: merges of adapters to adapters that are made besides.
    """

    variants: Sequence[Resolved]
    rows: Sequence[Row]
    domains: Sequence[Domain]
    outputs: Sequence[Mapping[str, TensorSpec]]
    config: Sequence[Mapping[str, object]]
    warnings: Sequence[str]
    adapters: Sequence[AdapterPlan] = ()

    def readings(self, job: Job, *, most: bool = False) -> int:
        """Return how often a job usually reads its row, or at most: once per pass and once to merge."""
        if self.domains[job.domain].whole:
            return 1
        return 1 + (job.method.passes if most else job.method.usual)(job.parameters)

    @cached_property
    def strips(self) -> Sequence[Strip]:
        """The rows as they are worked on: small ones several at a time."""
        return strips_of(self.rows, self.domains)

    @cached_property
    def sources(self) -> Sequence[Source]:
        """All sources, each once."""
        return list({id(source): source for own in self.variants for source in own.sources.values()}.values())

    def reads(self, variant: int | None = None) -> Mapping[int, Collection[str]]:
        """Return the names of the tensors that are read, by the id of their source, for every source.

        Args:
            variant: count only what this one reads.
        """
        names: dict[int, dict[str, None]] = {id(source): {} for source in self.sources}
        for row in self.rows:
            for i in {i: None for job in row.jobs if variant in (None, job.variant) for i in used(job)}:
                names[id(row.inputs[i].source)][row.inputs[i].view.name] = None
        return {source: own.keys() for source, own in names.items()}

    @property
    def preparation(self) -> int:
        """Bytes that the sources read before anything can be read from them."""
        return sum(source.preparation for source in self.sources)

    @cached_property
    def bytes_read(self) -> int:
        """Bytes usually read from the inputs."""
        return self._besides + sum(self.row_bytes_read(row) for row in self.rows)

    @cached_property
    def bytes_read_at_most(self) -> int:
        """Bytes read from the inputs where no guess is right."""
        return self._besides + sum(self.row_bytes_read(row, most=True) for row in self.rows)

    @property
    def _besides(self) -> int:
        """Bytes read that no row reads."""
        return self.preparation + sum(each.bytes_read for each in self.adapters)

    def row_bytes_read(self, row: Row, *, most: bool = False) -> int:
        """Return the bytes that a row usually reads, or at most; jobs share what they read at the same time."""
        times = [0] * len(row.inputs)
        for job in row.jobs:
            readings = self.readings(job, most=most)
            for i in used(job):
                times[i] = max(times[i], readings)
        return sum(n * item.cost for n, item in zip(times, row.inputs, strict=True))

    @property
    def bytes_written(self) -> int:
        """Bytes of tensors written, all variants together; of adapters whose ranks an error decides, at most."""
        written = sum(spec.nbytes for outputs in self.outputs for spec in outputs.values())
        return written + sum(each.bytes_written for each in self.adapters)


def used(job: Job) -> list[int]:
    """Return the indices of the inputs that a job reads, each once."""
    return list(dict.fromkeys([*job.operands, *([] if job.base is None else [job.base]), *job.compare]))


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
        warnings += planner.warnings + planner.pools.splits()
        domains += planner.pools.domains
        for row in planned:
            key = (row.name, row.start, row.size, row.width, row.cell)
            rows[key] = _fuse(rows[key], row) if key in rows else row
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


def _fuse(first: Row, second: Row) -> Row:
    """Make one row of two variants' rows for the same tile; inputs that they share are read once."""
    inputs = list(first.inputs)
    places = {}
    for i, item in enumerate(second.inputs):
        same = [j for j, other in enumerate(inputs) if other.source is item.source and other.view == item.view]
        places[i] = same[0] if same else len(inputs)
        if not same:
            inputs.append(item)
        elif item.label not in inputs[same[0]].label.split("/"):
            inputs[same[0]] = replace(inputs[same[0]], label=f"{inputs[same[0]].label}/{item.label}")
    jobs = [
        replace(
            job,
            operands=tuple(places[i] for i in job.operands),
            base=None if job.base is None else places[job.base],
            compare=tuple(places[i] for i in job.compare),
        )
        for job in second.jobs
    ]
    return replace(first, inputs=tuple(inputs), jobs=(*first.jobs, *jobs))


class _Planner:
    """Plans one variant."""

    def __init__(self, number: int, resolved: Resolved, pools: Pools) -> None:
        self.number = number
        self.pools = pools
        self.recipe: Recipe = resolved.recipe
        self.sources = resolved.sources
        self.donor = resolved.donor
        self.warnings: list[str] = []
        self.outputs: dict[str, TensorSpec] = {}
        self.config: dict[str, object] = {}
        self._rule_for = cache(self.recipe.rule_for)
        # By identity, of rules and then of treatments: tensors are many, what is said about them is not.
        self._needed: dict[int, Sequence[str]] = {}
        self._settings: dict[int, tuple[Method, Settings]] = {}
        self._varying: set[int] = set()
        self._asked: dict[tuple[int, float], Treatment] = {}
        self._checked: dict[int, Treatment] = {}
        for label, source in self.sources.items():
            refuse_packed(source.header, source.config, f"model '{label}' ({source.reference})")

    def rows(self) -> list[Row]:
        """Plan every tile."""
        headers = {label: source.header for label, source in self.sources.items()}
        names = dict.fromkeys(chain.from_iterable(headers.values()))
        ties = {
            label: tied_names(source.header, source.config, source.shared, names)
            for label, source in self.sources.items()
        }
        self._twice = stored_twice(headers[self.donor], self.sources[self.donor].config)
        try:
            matched = aligned(headers, ties, self._wanted, self.donor)
        except PlanError as error:
            named = [
                f"'{label}' is {source.config.get('model_type', '')} {source.reference}".replace("  ", " ")
                for label, source in self.sources.items()
                if f"'{label}'" in str(error)
            ]
            raise PlanError(f"{error} Here {', '.join(named)}." if named else str(error), error.where) from error
        self._account(matched, ties[self.donor])
        self._stacks = stacks([tile.name for tile in matched.tiles])
        rows = []
        for tile in matched.tiles:
            rule = self._rule_for(tile.name)
            rows += [self._row(part, rule) for part in split(tile, rule.parts if rule else 1)]
        if matched.skipped and not self.outputs:
            raise PlanError("the rules leave out every tensor; nothing would be written.", ("tensors",))
        own = self.sources[self.donor]
        self.warnings += unlike_configuration(self.outputs, matched.skipped, ties[self.donor], self.donor, own)
        return rows

    def _wanted(self, name: str) -> Sequence[str]:
        """Return the labels of the sources that must have a tensor of this name."""
        rule = self._rule_for(name)
        if id(rule) not in self._needed:
            self._needed[id(rule)] = self._needed_by(rule)
        return self._needed[id(rule)]

    def _needed_by(self, rule: Rule | None) -> Sequence[str]:
        """Return the labels of the sources that a rule's tensors are made of."""
        if rule is not None and rule.skip:
            return ()
        if rule is not None and rule.copy is not None:
            return (rule.copy,)
        return self.recipe.labels if not self._needs_base(rule) else (*self.recipe.labels, BASE)

    def _needs_base(self, rule: Rule | None) -> bool:
        """Say whether the method for a rule works on task vectors; refuse it without a base."""
        method, settings = self._settle(rule)
        needs = method.space(settings) == "deltas"
        if needs and BASE not in self.sources:
            raise PlanError(
                f"method '{method.name}' works on task vectors: what each model differs from a common base "
                "by; give the recipe a 'base'.",
                ("base",),
            )
        return needs

    def _settle(self, rule: Rule | None) -> tuple[Method, Settings]:
        """Return the method and settings that hold under a rule."""
        if id(rule) not in self._settings:
            name = (rule.method if rule else None) or self.recipe.method
            inherited = self.recipe.parameters if name == self.recipe.method else {}
            method = find_method(name)
            given = {**inherited, **(rule.parameters if rule else {})}
            settings = settle(method, given, self.recipe.labels, self._place(rule))
            self._settings[id(rule)] = method, settings
            if varies(settings):
                self._varying.add(id(rule))
        return self._settings[id(rule)]

    def _place(self, rule: Rule | None) -> tuple[str | int, ...]:
        """Return where the recipe gives the parameters that hold under a rule, for messages."""
        if rule is None or not rule.parameters:
            return ("parameters",)
        return ("tensors", next(i for i, each in enumerate(self.recipe.tensors) if each is rule), "parameters")

    def _row(self, tile: Tile, rule: Rule | None) -> Row:
        """Plan one tile: which method, which inputs, which type."""
        treatment = self._treat(tile, rule)
        method, parameters, labels = treatment.method, treatment.parameters, treatment.labels
        base = BASE if method.space(parameters) == "deltas" else None
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
        width = view.shape[-1] if view.shape else 1
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

    def _treat(self, tile: Tile, rule: Rule | None) -> Treatment:
        """Decide how a tile is treated, and check its parameters together."""
        method, settings = self._settle(rule)
        key = id(rule), depth_of(tile.name, self._stacks) if id(rule) in self._varying else 0.0
        if key not in self._asked:
            parameters = at_depth(settings, key[1])
            self._asked[key] = Treatment(method=method, parameters=parameters, labels=self.recipe.labels)
        treatment = treat(tile, rule, self._asked[key], self.donor)
        if id(treatment) not in self._checked:
            self._checked[id(treatment)] = treatment
            if wrong := treatment.method.check(treatment.parameters):
                raise PlanError(f"method '{treatment.method.name}': {wrong}.", self._place(rule))
        return treatment

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
        self.warnings += [
            *rules_without_effect(self.recipe.tensors, self._rule_for, names, ties),
            *names_apart(matched, self._rule_for),
            *repeated(self.sources),
            *lacking_configuration(self.sources, self.donor),
            *differing_companions(self.sources, self.donor),
        ]
        if matched.untied:
            self.config["tie_word_embeddings"] = False
        copies = any(rule.copy == BASE for rule in self.recipe.tensors)
        merging = [rule for rule in (None, *self.recipe.tensors) if _merges(rule)]
        if BASE in self.sources and not copies and not any(map(self._needs_base, merging)):
            self.warnings.append(unused_base(self.recipe.method))


def unused_base(method: str) -> str:
    """Say what becomes of a base that a method has no need of."""
    return (
        f"method '{method}' does not use the base; it lends configuration, tokenizer, and what is copied (whole "
        "numbers, buffers)."
    )


def _merges(rule: Rule | None) -> bool:
    """Say whether a rule (or none) leads to a merge."""
    return rule is None or not (rule.skip or rule.copy is not None)


def _cell(method: Method, parameters: Mapping[str, Any], size: int, width: int) -> int:
    """Return the elements in a cell of a row's grid: fixed by shape and locality alone."""
    if method.locality == "matrix":
        return max(size, 1)
    if method.locality == "rows" or method.scope(parameters) == "row":
        return max(CELL // max(width, 1), 1) * max(width, 1)
    return CELL

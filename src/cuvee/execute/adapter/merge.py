"""The line for adapters: a recipe of adapters in, an adapter out."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cuvee.digest import Digests, digest_of_set
from cuvee.errors import RecipeError
from cuvee.execute.adapter.folder import Origin, check_folder, write_adapter
from cuvee.execute.adapter.merging import Cut, merge_modules
from cuvee.execute.adapter.opening import Opened, open_adapters, task_vectors
from cuvee.execute.adapter.whole import merge_whole
from cuvee.execute.merged import Merged, open_sources
from cuvee.execute.report import Meter, Report
from cuvee.methods.registry import find_method
from cuvee.recipe.recipe import BASE, Recipe
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.adapted import Adapted
from cuvee.sources.strict_json import shown
from cuvee.sources.zeros import Zeros
from cuvee.writers.adapter import Adapter

__all__ = ["MergedAdapter", "merge_adapters", "merged_adapter"]

KEPT_IF_EQUAL = ("task_type", "auto_mapping", "revision")
MUST_AGREE = ("bias", "fan_in_fan_out")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedAdapter:
    """A merge of adapters, in memory.

    Attributes:
        adapter: what is written.
        origin: where it comes from.
    """

    adapter: Adapter
    origin: Origin


def merge_adapters(recipe: Recipe, out: Path, *, overwrite: bool = False, sync: bool = False) -> Report:
    """Merge adapters into an adapter.

    Takes the memory of the adapters and of the result, and, where the method is no weighted sum, that of
    `cuvee.tensors.lowrank.memory_of` for the largest module.

    Args:
        recipe: its output says adapter: true.
        out: folder to write.
        overwrite: replace a checkpoint or adapter that stands there.
        sync: return only when the output would survive a loss of power.

    Raises:
        CuveeError: see `cuvee.merge`.
    """
    check_folder(out)
    meter = Meter()
    made = merged_adapter(recipe)
    return write_adapter(made.adapter, made.origin, out, meter, overwrite=overwrite, sync=sync)


def merged_adapter(recipe: Recipe) -> MergedAdapter:
    """Merge adapters into an adapter in memory.

    Raises:
        RecipeError: the adapters are not of one base, or the method needs a rank that is not given.
        UnsupportedError: an adapter cannot be merged as one.
    """
    with ExitStack() as stack:
        opened, base = open_adapters(recipe, stack)
        sources, zeros = task_vectors(opened, stack)
        vectors = _merge_of(recipe, sources, zeros)
        modules, cuts = merge_modules(opened, vectors, recipe.output)
        whole = merge_whole(recipe, opened, base, vectors)
        place = "" if base is None else str(base.location)
        adapter = Adapter(modules=modules, whole=whole, settings=_settings(opened, place))
        notes = [*vectors.plan.warnings, *(f"{name}: {text}." for name, text in sorted(vectors.notes)), *_lost(cuts)]
        origin = _origin(recipe, opened, place, notes)
        for each in opened:
            each.folder.check_unchanged()
    return MergedAdapter(adapter=adapter, origin=origin)


def _merge_of(recipe: Recipe, sources: Mapping[str, Adapted], zeros: Zeros) -> Merged:
    """Return the merge of task vectors: that of the adapters on a base of zeros."""
    rules = [rule for rule in recipe.tensors if not rule.skip]
    methods = [find_method(recipe.method), *(find_method(rule.method) for rule in rules if rule.method)]
    needs = any(method.operands != "weights" for method in methods) or any(rule.copy == BASE for rule in rules)
    inner = replace(recipe, models=sources, base=zeros if needs else None, output=Output())
    return Merged(open_sources().resolve(inner), "the merge of the adapters")


def _settings(opened: Sequence[Opened], base: str) -> Mapping[str, Any]:
    """Return what the configurations say together.

    Raises:
        RecipeError: they contradict each other.
    """
    for key in MUST_AGREE:
        values = {each.label: each.options.get(key) or None for each in opened}
        if len(set(map(str, values.values()))) > 1:
            listed = ", ".join(f"'{label}' {shown(value)}" for label, value in values.items())
            raise RecipeError(f"the adapters differ in '{key}': {listed}; expected adapters of one kind.", ("models",))
    first = opened[0].options
    kept = {
        key: first[key]
        for key in KEPT_IF_EQUAL
        if key in first and all(e.options.get(key) == first[key] for e in opened)
    }
    stated = {each.folder.configuration.base for each in opened}
    saved = dict.fromkeys(name for each in opened for name in each.folder.configuration.modules_to_save)
    return {
        **kept,
        "base_model_name_or_path": next(iter(stated)) if len(stated) == 1 else base or next(filter(None, stated), None),
        "bias": first.get("bias") or "none",
        "fan_in_fan_out": bool(first.get("fan_in_fan_out")),
        "modules_to_save": list(saved) or None,
    }


def _lost(cuts: Sequence[Cut]) -> Sequence[str]:
    """Say what was lost to ranks."""
    if not cuts:
        return ()
    worst = max(cuts, key=lambda cut: cut.error)
    missing = sum((cut.error * cut.norm) ** 2 for cut in cuts) ** 0.5
    whole = sum(cut.norm**2 for cut in cuts) ** 0.5
    ranks = sorted({cut.rank for cut in cuts})
    rank = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
    return (
        f"{len(cuts)} {'module was' if len(cuts) == 1 else 'modules were'} cut to {rank}: the relative error "
        f"(Frobenius) is {missing / whole if whole else 0.0:.3g} of all together, and at most {worst.error:.3g}, of "
        f"{worst.module}.",
    )


def _origin(recipe: Recipe, opened: Sequence[Opened], base: str, notes: Sequence[str]) -> Origin:
    """Say where a merge of adapters comes from."""
    places = {each.label: f"{base}+{each.folder.location}" if base else each.folder.location for each in opened}
    used = [
        find_method(name) for name in dict.fromkeys([recipe.method, *(r.method for r in recipe.tensors if r.method)])
    ]
    read = [path for each in opened for path in (each.adapted or each.folder).paths]
    return Origin(
        method=recipe.method,
        recipe={**recipe.to_mapping(), "models": places, **({"base": base} if recipe.base is not None else {})},
        text=recipe.to_yaml(),
        inputs={each.label: _input(each) for each in opened},
        citations=[method.paper.bibtex(method.name) for method in used if method.paper is not None],
        read=[*read, *([recipe.origin.path] if recipe.origin is not None else [])],
        bytes_read=sum(spec.nbytes for each in opened for spec in each.folder.header.values()),
        notes=notes,
    )


def _input(opened: Opened) -> Mapping[str, Any]:
    """Describe an adapter: what was read is all of its file."""
    folder = opened.folder
    digests = Digests(folder.header).complete(list(folder.header), folder.read_into)
    return {
        "reference": opened.reference,
        "location": folder.location,
        "adapter": True,
        "licence": None,
        "digest": digest_of_set(folder.header, digests),
        "unused": [],
    }

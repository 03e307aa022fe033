"""The line for adapters: a recipe of adapters in, an adapter out."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from cuvee.digest import digest_of_set
from cuvee.errors import RecipeError
from cuvee.execute.adapter.folder import Made, Origin
from cuvee.execute.adapter.merging import Cut, ModuleMerge, module_merges
from cuvee.execute.adapter.opening import Opened, open_adapters
from cuvee.execute.adapter.tasks import Count, Task, carry_out
from cuvee.execute.adapter.vectors import memory_of_factors, vectors_of
from cuvee.execute.adapter.whole import whole_tensors
from cuvee.methods.registry import find_method
from cuvee.plan.account import unused_base
from cuvee.plan.limits import Limits, Share, has_torch, memory_of_process, resident_memory, share_out
from cuvee.plan.modules import AdapterPlan
from cuvee.recipe.licence import conflict, licence_of, licences_of
from cuvee.recipe.recipe import Recipe
from cuvee.sources.adapter.adapted import location_with
from cuvee.sources.strict_json import shown
from cuvee.spec import Fetching
from cuvee.writers.adapter import Adapter
from cuvee.writers.spool import Spool

__all__ = ["AdapterMerge", "merged_digests"]

KEPT_IF_EQUAL = ("task_type", "auto_mapping", "revision", "ensure_weight_tying")
MUST_AGREE = {"bias": "none", "fan_in_fan_out": False}  # and what they are where they are not said
READ_AHEAD = 32 << 20  # bytes that digests of what was not read yet are taken in, and to spare


class AdapterMerge:
    """A merge of adapters to an adapter: opened and planned from headers, then carried out. Close it.

    Args:
        recipe: its output says adapter: true.

    Attributes:
        plan: what will be done.
        paths: files and folders that are read.

    Raises:
        RecipeError: the adapters are not of one base, or the method needs a rank that is not given.
        UnsupportedError: an adapter cannot be merged as one.
        SourceError: one cannot be opened.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._stack = ExitStack()
        try:
            with recipe.origin.named() if recipe.origin is not None else nullcontext():
                self._open()
        except BaseException:
            self._stack.close()
            raise
        self.plan = self._planned()
        read = [path for each in self._opened for path in (each.adapted or each.folder).paths]
        self.paths: Sequence[Path] = [*read, *([recipe.origin.path] if recipe.origin is not None else [])]

    def _open(self) -> None:
        """Open the adapters, and find out what is to be done."""
        recipe = replace(self._recipe, origin=None)  # its errors are named here, once
        self._opened, self._base = open_adapters(recipe, self._stack)
        self._vectors = vectors_of(recipe, self._opened, self._stack)
        self._merges = module_merges(self._opened, self._vectors, recipe.output)
        self._settings = _settings(self._opened, "" if self._base is None else self._base.reference)
        modules = [each.module for each in self._merges]
        self._wholes = whole_tensors(recipe, self._opened, self._base, self._vectors, modules)

    def share(self, limits: Limits) -> Share:
        """Decide how the work is shared out.

        Raises:
            PlanError: a module by itself takes more memory than the limit; names it, and what would do.
        """
        resident = resident_memory()
        through = [each.module for each in self._merges if each.is_factored or each.has_bias]
        names = [f"{module}.{leaf}" for module in through for leaf in ("weight", "bias")]
        has_it = resident > 0 and has_torch()
        torch = bool(through) and not has_it and self._vectors.needs_torch(names)
        fixed = memory_of_process(resident, torch=torch) + READ_AHEAD + memory_of_factors(self._opened, through)[0]
        needs = [(each.module, each.plan.memory) for each in self._merges]
        needs += [(each.name, each.memory) for each in self._wholes.checks]
        needs += [(task.name, task.memory) for each in self._wholes.tensors for task in each.tasks(Spool(None))]
        return share_out(needs, limits, fixed, resident)

    def run(self, out: Path | None, share: Share, progress: Count) -> Made:
        """Merge; what is made waits in a spool.

        Args:
            out: where it will go; None keeps only digests.
            share: how the work is shared out.
            progress: called from workers with the bytes moved since the last call.

        Raises:
            MergeError: a number is not finite.
            SourceError: an adapter cannot be read, or has changed.
        """
        self._fetch()
        spool = Spool(out)
        self._stack.callback(spool.close)
        adapter = Adapter([each.module for each in self._merges], spool, self._settings)
        cuts: dict[str, Cut] = {}
        for each in self._wholes.tensors:
            adapter.put_whole(each.name, each.spec)
        tasks = [
            *self._wholes.checks,
            *(
                Task(name=each.module, memory=each.plan.memory, do=partial(_merge_module, each, adapter, cuts))
                for each in self._merges
            ),
            *(task for each in self._wholes.tensors for task in each.tasks(spool)),
        ]
        carry_out(tasks, share, progress)
        adapter.complete()
        origin = self._origin([cuts[each.module] for each in self._merges if each.module in cuts], progress)
        for own in self._opened:
            own.folder.check_unchanged()
        if self._base is not None:
            self._base.check_unchanged()
        return Made(adapter=adapter, origin=origin)

    def close(self) -> None:
        """Let go of the adapters, and of what was made."""
        self._stack.close()

    def _fetch(self) -> None:
        """Have at hand what lies elsewhere."""
        for each in self._opened:
            each.folder.fetch()
        if isinstance(self._base, Fetching) and self._wholes.tensors:
            header = self._base.header
            self._base.fetch(each.inner for each in self._wholes.tensors if each.inner in header)

    def _planned(self) -> AdapterPlan:
        """Put together what will be done."""
        plans = [each.plan for each in self._merges]
        merges = [self._vectors, *self._wholes.sources]
        files = sum(spec.nbytes for each in self._opened for spec in each.folder.header.values())
        said = dict.fromkeys(text for each in merges for text in each.plan.warnings)
        said.pop(unused_base(self._recipe.method), None)  # an adapter has no configuration or tokenizer of its base's
        again = sum(each.bytes_read for each in plans if each.way == "factored")
        return AdapterPlan(
            recipe=self._recipe,
            modules=plans,
            whole={each.name: each.spec for each in self._wholes.tensors},
            bytes_read=files + again + self._wholes.cost + sum(each.cost for each in self._wholes.tensors),
            warnings=list(said),
        )

    def _origin(self, cuts: Sequence[Cut], count: Count) -> Origin:
        """Say where the merge comes from."""
        recipe, base = self._recipe, self._base
        folders = {each.label: each.folder.location for each in self._opened}
        places = {label: folder if base is None else location_with(base, folder) for label, folder in folders.items()}
        own = {"base": base.location} if base is not None and recipe.base is not None else {}
        names = dict.fromkeys([recipe.method, *(rule.method for rule in recipe.tensors if rule.method)])
        inputs = {each.label: _input(each, count) for each in self._opened}
        merges = {id(each): each.merged for each in [self._vectors, *self._wholes.sources]}
        found = sorted({note for each in merges.values() for note in each.notes})
        said = [f"{name}: {text}." for name, text in found]
        differ = conflict(licences_of(inputs))
        return Origin(
            method=recipe.method,
            recipe={**recipe.to_mapping(), "models": places, **own},
            text=recipe.to_yaml(),
            inputs=inputs,
            citations=[m.paper.bibtex(m.name) for m in map(find_method, names) if m.paper is not None],
            bytes_read=self.plan.bytes_read,
            notes=[*self.plan.warnings, *said, *_lost(cuts), *([differ] if differ else [])],
        )


def merged_digests(recipe: Recipe, limits: Limits) -> Mapping[str, Any]:
    """Merge adapters, keeping nothing; return the digests of the result, as they are recorded.

    Raises:
        CuveeError: see `AdapterMerge`.
    """
    merge = AdapterMerge(recipe)
    try:
        return merge.run(None, merge.share(limits), lambda _: None).digests()
    finally:
        merge.close()


def _merge_module(merge: ModuleMerge, adapter: Adapter, cuts: dict[str, Cut], count: Count) -> None:
    """Merge a module, and hand it on."""
    factors, cut = merge.run()
    if cut is not None:
        cuts[merge.module] = cut
    adapter.put(merge.module, factors)
    count(merge.plan.bytes_read)


def _settings(opened: Sequence[Opened], base: str) -> Mapping[str, Any]:
    """Return what the configurations say together.

    Raises:
        RecipeError: they contradict each other.
    """
    for key, usual in MUST_AGREE.items():
        values = {each.label: each.options.get(key) or usual for each in opened}
        if len(set(map(str, values.values()))) > 1:
            listed = ", ".join(f"'{label}' {shown(value)}" for label, value in values.items())
            raise RecipeError(f"the adapters differ in '{key}': {listed}; expected adapters of one kind.", ("models",))
    first = opened[0].options
    kept = {
        key: first[key]
        for key in KEPT_IF_EQUAL
        if key in first and all(e.options.get(key) == first[key] for e in opened)
    }
    stated = {each.folder.configuration.base for each in opened} - {""}
    saved = dict.fromkeys(name for each in opened for name in each.folder.configuration.modules_to_save)
    return {
        **kept,
        "base_model_name_or_path": next(iter(stated)) if len(stated) == 1 else base or next(iter(sorted(stated)), None),
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


def _input(opened: Opened, count: Count) -> Mapping[str, Any]:
    """Describe an adapter; what of its file was not read yet is read for its digest."""
    folder = opened.folder

    def read_into(buffer: memoryview, name: str, offset: int) -> None:
        folder.read_into(buffer, name, offset)
        count(len(buffer))

    digests = opened.digests.complete(list(folder.header), read_into)
    return {
        "reference": opened.reference,
        "location": folder.location,
        "adapter": True,
        "licence": licence_of(folder),
        "digest": digest_of_set(folder.header, digests),
        "unused": [],
    }

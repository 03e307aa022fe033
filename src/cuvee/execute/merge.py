"""The whole line: a recipe in, a merged checkpoint, state dict or tensor out."""

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from cuvee.errors import CuveeWarning, MergeError, OutputError, PlanError, RecipeError
from cuvee.execute.adapter.outputs import AdapterOutputs
from cuvee.execute.companions import companions
from cuvee.execute.forecast import Forecast, forecast
from cuvee.execute.history import run_name
from cuvee.execute.merged import merges_in, open_sources
from cuvee.execute.report import Progress, Report, together
from cuvee.execute.run import execute
from cuvee.methods.registry import find_method
from cuvee.plan.limits import Limits, budget_of
from cuvee.plan.plan import Plan
from cuvee.plan.planner import make_plan
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output
from cuvee.recipe.several import recipes_of
from cuvee.recipe.values import kind_of
from cuvee.resolve import Resolved
from cuvee.sources.pipeline import stem_of
from cuvee.sources.sidecars import CODE_SUFFIX
from cuvee.spec import folders_of
from cuvee.tensors.kernels.machine_code import MISSING, is_missing
from cuvee.writers.memory import MemoryWriter
from cuvee.writers.safetensors import SafetensorsWriter
from cuvee.writers.shards import Arrangement
from cuvee.writers.target import CODE, is_single_file

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["merge", "merge_in_memory", "merge_state_dicts", "merge_tensors", "merge_variants"]

Out = TypeVar("Out", bound=str | Path)  # a mapping's keys must be of one type exactly: text, paths, or either


def merge(
    recipe: Recipe | str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    seed: int | None = None,
    shard_size: int | str | None = None,
    overwrite: bool = False,
    sync: bool = False,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Merge models into a checkpoint.

    Reads the models as a stream, a block at a time, and writes every tensor to its final place; memory stays bounded
    whatever their size. `out` appears only when it is complete.

    Args:
        recipe: what to merge: a recipe, the path of a file, or plain values. Of a file of several recipes, those are
            merged that no other uses.
        out: folder to write, or a file ending in ``.safetensors`` for the weights alone; where there are several
            results, the folder that a folder for each goes into.
        seed: takes the place of the recipe's, or of every recipe's in the file.
        shard_size: bytes per file, as in `Output`; likewise.
        overwrite: replace a checkpoint that stands at `out`.
        sync: return only when the output would survive a loss of power. Else the system writes it to the disk in its
            own time, as after any copy.
        limits: workers, block size and memory; they do not change the result.
        progress: called from workers with the bytes moved since its last call and the bytes to move in all.

    Returns:
        What it cost, and what the user should know.

    Raises:
        RecipeError: the recipe is wrong, or it does not fit its models; nothing was read or written.
        SourceError: a model cannot be read.
        MergeError: a weight is not finite, or the method failed.
        OutputError: the output cannot be written.

    Example:
        >>> cuvee.merge({"cuvee": 1, "method": "linear", "models": ["a", "b"]}, "merged")  # doctest: +SKIP
    """
    recipes = {name: _with(each, seed, shard_size) for name, each in recipes_of(recipe).items()}
    outs = {Path(out) / name if len(recipes) > 1 else Path(out): each for name, each in recipes.items()}
    if len(recipes) > 1 and is_single_file(Path(out)):
        raise OutputError(f"{out} is one file; the recipes make {len(recipes)} results. Give a folder.")
    return merge_variants(outs, overwrite=overwrite, sync=sync, limits=limits, progress=progress)


def _with(recipe: Recipe, seed: int | None, shard_size: int | str | None) -> Recipe:
    """Return a recipe with what was said besides it."""
    if seed is not None:
        recipe = replace(recipe, seed=seed)
    if shard_size is not None:
        most = Output(shard_size=shard_size).shard_size  # checks it, and reads text
        recipe = replace(recipe, output=replace(recipe.output, shard_size=most))
    return recipe


def merge_variants(
    recipes: Mapping[Out, Recipe | str | Path | Mapping[str, Any]],
    *,
    overwrite: bool = False,
    sync: bool = False,
    limits: Limits | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make several merges of the same models while reading those only once.

    Args:
        recipes: output to recipe; see `merge`. A model that several recipes name is read once for all of them; twice
            where some work row by row, and the rows of a tensor do not fill cells as those of others do.
        overwrite: see `merge`.
        sync: see `merge`.
        limits: see `merge`.
        progress: see `merge`.

    Returns:
        What they cost together.

    Raises:
        CuveeError: see `merge`. None of the outputs appears, unless putting a later one in its place fails.
    """
    if recipes and not isinstance(recipes, Mapping):
        raise RecipeError(f"merge_variants takes a mapping, output to recipe, not {kind_of(recipes)}.")
    if not recipes:
        raise RecipeError("there is no recipe to merge; give at least one output with its recipe.")
    made = [(number, Path(out), Recipe.of(recipe)) for number, (out, recipe) in enumerate(recipes.items())]
    limits = limits or Limits()
    with open_sources() as sources, ExitStack() as stack:
        adapters = AdapterOutputs([each for each in made if each[2].output.adapter], limits, stack)
        others = [each for each in made if not each[2].output.adapter]
        resolved = [sources.resolve(recipe) for _, _, recipe in others]
        plan = make_plan(resolved)
        read = [own.recipe.origin.path for own in resolved if own.recipe.origin is not None]
        inputs = [*sources.paths, *adapters.paths, *read]
        run = run_name(plan)
        writers = [
            SafetensorsWriter(
                out,
                list(plan.outputs[variant].items()),
                _arrangement(resolved[variant]),
                _metadata(resolved[variant]),
                overwrite=overwrite,
                sync=sync,
                inputs=inputs,
                run=run,
            )
            for variant, (_, out, _) in enumerate(others)
        ]
        _check_apart([*(writer.out for writer in writers), *adapters.check_places(inputs, overwrite=overwrite)])
        told = Progress(progress, adapters.nbytes)
        expected = forecast(plan, limits, writers[0].out.parent) if writers else None
        for writer in writers:
            stack.enter_context(writer)
        if expected is not None:
            told.total += expected.bytes_read + expected.bytes_written
        reports = adapters.write(stack, told, inputs, overwrite=overwrite, sync=sync)
        if expected is not None:
            numbers = tuple(number for number, _, _ in others)
            reports[numbers] = _carry_out(plan, writers, expected, told)
    return together(reports)


@contextmanager
def _telling_of(plan: Plan) -> Iterator[None]:
    """Say of what file a merge is that fails on the way, where its message does not fit what the file says."""
    try:
        yield
    except MergeError as error:
        origins = {own.recipe.origin.path: own.recipe.origin for own in plan.variants if own.recipe.origin is not None}
        for path, origin in origins.items():
            if origin.translated:
                error.add_note(f"This is of {path}. `cuvee convert` makes a recipe of it, which can have rules.")
        raise


def _carry_out(
    plan: Plan, writers: Sequence[SafetensorsWriter], expected: Forecast, progress: Callable[[int], None]
) -> Report:
    """Make checkpoints, and put them in place."""
    with _telling_of(plan):
        report = execute(plan, writers, expected.budget, progress, [writer.journal for writer in writers])
    report.expected = expected
    report.notes[:0] = [*(note for each in merges_in(plan) for note in each.plan.warnings), *plan.warnings]
    for variant, writer in enumerate(writers):
        for name, data in companions(plan, variant, writer.out, report).items():
            writer.add_file(name, data)
    for writer in writers:
        writer.finish()
    # Of no interest to those who get the model:
    if report.bytes_kept or report.passes_kept:
        report.notes.append(_went_on(report, plan.bytes_written))
    if is_missing():
        report.notes.append(MISSING)
    return report


def _went_on(report: Report, total: int) -> str:
    """Say what an interrupted attempt had done."""
    count = report.passes_kept
    passes = f", and {count} {'passes' if count > 1 else 'pass'} over the models taken" if count else ""
    return f"Went on from earlier work: {report.bytes_kept:,} of {total:,} bytes had been written{passes}."


def _arrangement(resolved: Resolved) -> Arrangement:
    """Lay files out as those of the model that lends the configuration: what loads it expects them so."""
    donor = resolved.sources[resolved.donor]
    return Arrangement(
        shard_bytes=resolved.recipe.output.shard_size, stem=stem_of(donor.config), folders=folders_of(donor)
    )


def _metadata(resolved: Resolved) -> dict[str, str]:
    """Make what the weight files say of themselves: the recipe, and which code lies beside them."""
    recipe = resolved.recipe
    written = {"cuvee": json.dumps(recipe.canonical(), separators=(",", ":"))}
    beside = resolved.sources[resolved.donor].sidecars
    code = sorted({PurePosixPath(name).name for name in beside if name.endswith(CODE_SUFFIX)})
    return written | ({CODE: "/".join(code)} if recipe.output.custom_code and code else {})


def _check_apart(outs: Sequence[Path]) -> None:
    """Refuse an output that is another one, or lies in it or around it."""
    for other, out in combinations(outs, 2):
        if out in (other, *other.parents) or other in out.parents:
            raise OutputError(
                f"The outputs {other} and {out} would touch each other. Give each recipe a place of its own."
            )


def merge_state_dicts(
    method: str,
    models: Sequence[Mapping[str, "Tensor"]] | Mapping[str, Mapping[str, "Tensor"]],
    base: Mapping[str, "Tensor"] | None = None,
    **parameters: Any,
) -> dict[str, "Tensor"]:
    """Merge state dicts in memory.

    Args:
        method: name of the method.
        models: state dicts of equal names and shapes, in order or by label.
        base: state dict of the common ancestor, for methods that work on task vectors.
        **parameters: the method's parameters, and ``seed`` for random ones.

    Returns:
        A new state dict on the CPU, in the order of the base (or the first model), with its element types.
        Names that share one tensor in all inputs share one in the result. What a merge to disk would report is warned
        of (`CuveeWarning`).

    Raises:
        RecipeError: see `merge`.
        MergeError: see `merge`.

    Example:
        >>> import torch
        >>> merge_state_dicts("linear", [{"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 6.0])}])
        {'w': tensor([2., 4.])}
    """
    seed = parameters.pop("seed", 0)
    merged, notes = merge_in_memory(Recipe(method=method, models=models, base=base, parameters=parameters, seed=seed))
    for note in notes:
        warnings.warn(note, CuveeWarning, stacklevel=2)
    return merged


def merge_in_memory(recipe: Recipe) -> "tuple[dict[str, Tensor], Sequence[str]]":
    """Merge what a recipe says into a state dict on the CPU.

    Returns:
        The state dict, as `merge_state_dicts` has it, and what a merge to disk would report.

    Raises:
        RecipeError: see `merge`.
        MergeError: see `merge`.
    """
    with open_sources() as sources:
        resolved = sources.resolve(recipe)
        plan = make_plan([resolved])
        writer = MemoryWriter(list(plan.outputs[0].items()))
        report = execute(plan, [writer], budget_of(plan, Limits()))
    merged = writer.tensors()
    for row in plan.rows:
        first, *others = row.jobs[0].outputs
        merged |= {other.name: merged[first.name] for other in others}
    return merged, [*plan.warnings, *report.notes]


def merge_tensors(
    method: str,
    tensors: Sequence["Tensor"] | Mapping[str, "Tensor"],
    base: "Tensor | None" = None,
    **parameters: Any,
) -> "Tensor":
    """Merge tensors of equal shape.

    Args:
        method: name of the method.
        tensors: the models' tensors, in order or by label.
        base: the base's, for methods that work on task vectors.
        **parameters: the method's parameters, and ``seed`` for random ones.

    Returns:
        A new tensor on the CPU of the same shape and, unless they differ, the same element type.

    Raises:
        RecipeError: see `merge`; or something is no tensor; or the tensors hold whole numbers, which only `copy` takes.
        MergeError: see `merge`.

    Example:
        >>> import torch
        >>> models = [torch.tensor([2.0, 1.0]), torch.tensor([1.0, -1.0])]
        >>> merge_tensors("task_arithmetic", models, torch.ones(2), scale=0.4)
        tensor([1.4000, 0.2000])
    """
    named = _named(tensors, base)
    whole = [tensor.dtype for tensor in named.values() if not tensor.is_floating_point()]
    if whole and not find_method(method).any_dtype:
        raise PlanError(
            f"a tensor of {whole[0]} is copied, not averaged; convert the tensors, or use the method 'copy'."
        )
    models = {label: {"tensor": tensor} for label, tensor in named.items()}
    return merge_state_dicts(method, models, None if base is None else {"tensor": base}, **parameters)["tensor"]


def _named(tensors: object, base: object) -> Mapping[str, "Tensor"]:
    """Return tensors by label, once all are found to be tensors, and the base, too."""
    if _is_tensor(tensors) or isinstance(tensors, str) or not isinstance(tensors, Iterable):
        raise _no_tensors("'tensors'", tensors)
    named = tensors if isinstance(tensors, Mapping) else {f"m{i}": tensor for i, tensor in enumerate(tensors)}
    for label, tensor in named.items():
        if not _is_tensor(tensor):
            raise _no_tensors(f"model '{label}'", tensor)
    if base is not None and not _is_tensor(base):
        raise _no_tensors("the base", base)
    return named


def _is_tensor(value: object) -> bool:
    return hasattr(value, "is_floating_point")


def _no_tensors(what: str, value: object) -> RecipeError:
    return RecipeError(
        f"{what} is a {type(value).__name__}; merge_tensors takes one tensor of each model, in a list or by label, and "
        "one of the base. Make one of an array or a list with torch.as_tensor."
    )

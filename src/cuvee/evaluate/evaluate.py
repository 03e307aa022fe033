"""The whole line: models and scores in, a table of values out. What is wrong is found before a weight is read."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from math import isfinite
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cuvee.errors import ScoreError, nearest
from cuvee.evaluate.asked import Asked, asked, read
from cuvee.evaluate.data import Table, Text
from cuvee.evaluate.networks import check_library
from cuvee.evaluate.results import Evaluation, Model, Result, all_versions
from cuvee.evaluate.subject import Subject
from cuvee.execute.report import Meter
from cuvee.plan.limits import Limits
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.references import BASE
from cuvee.recipe.several import recipes_of
from cuvee.recipe.varying import KEYS
from cuvee.sources.strict_json import shown

if TYPE_CHECKING:
    import torch

__all__ = ["evaluate"]

RECIPES = (".yaml", ".yml")
DEVICES = ("auto", "cpu", "cuda")
DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")
Wanted = str | Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class _Ready:
    """A score whose files are read.

    Attributes:
        asked: as the user asked for it.
        settings: what its function takes.
    """

    asked: Asked
    settings: Mapping[str, Any]


def evaluate(
    models: Any,
    scores: Wanted | Sequence[Wanted],
    *,
    limit: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    limits: Limits | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Evaluation:
    """Score models: checkpoints, or recipes, which are merged in memory and never written.

    Args:
        models: one or several: a path or a name as `open_source` takes it, the path of a recipe (``.yaml``; of a file
            of several recipes, those that no other uses), a `Recipe`, or one as plain values.
        scores: one or several: text as on the command line, ``"perplexity:text=FILE,stride=512"``, or a mapping of
            names to settings, ``{"perplexity": {"text": "FILE", "stride": 512}}``.
        limit: most examples of each score; None takes all.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"`` for a GPU where there is one.
        dtype: what models run in: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"float64"``, or ``"auto"`` for what
            their weights are stored in.
        limits: workers and memory of merges; they do not change results.
        progress: called with the model's label, and how many of how many steps are done.

    Returns:
        What was found, in the order of models and scores.

    Raises:
        ScoreError: a score or a setting is not known, a file is not what it should be, or a model cannot be scored so;
            nothing was computed.
        CuveeError: a model cannot be opened, read or merged, or holds weights that are not finite.
        MissingLibraryError: a library that a score needs is not installed.

    Example:
        >>> cuvee.evaluate("merged", "perplexity:text=corpus.txt").results[0].measure.value  # doctest: +SKIP
    """
    check_library()
    chosen = [each for wanted in _listed(scores) for each in asked(wanted)]
    if not chosen:
        raise ScoreError("there is no score to take; name at least one, such as 'perplexity:text=FILE'.")
    if limit is not None and limit < 1:
        raise ScoreError(f"limit={limit}: at least one example is needed.")
    place = _device(_word("device", device, DEVICES))
    _word("dtype", dtype, DTYPES)
    ready = [_Ready(each, _checked(each, limit)) for each in chosen]
    with ExitStack() as stack:
        subjects = [
            stack.enter_context(
                Subject(label, recipe, is_merge=is_merge, device=place, dtype=dtype, limits=limits or Limits())
            )
            for label, recipe, is_merge in _named(models)
        ]
        for subject in subjects:
            _suit(subject, ready)
        found: list[Model] = []
        results: list[Result] = []
        for subject in subjects:
            results += _score(subject, ready, limit, progress or (lambda *_: None))
            found.append(_described(subject))
            subject.close()
    return Evaluation(models=found, results=results, limit=limit, versions=all_versions())


def _listed(scores: Wanted | Sequence[Wanted]) -> Sequence[Wanted]:
    """Return scores as a sequence."""
    return [scores] if isinstance(scores, str | Mapping) else list(scores)


def _word(what: str, given: str, known: Sequence[str]) -> str:
    """Return a word if it is known."""
    if given not in known:
        raise ScoreError(f"{what} {shown(given)} is not known; it can be {', '.join(known)}.{nearest(given, known)}")
    return given


def _device(name: str) -> "torch.device":
    """Return where to run."""
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise ScoreError("device 'cuda': torch finds no GPU here. Use 'cpu', or install a torch that is built for it.")
    return torch.device("cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu")


def _checked(wanted: Asked, limit: int | None) -> Mapping[str, Any]:
    """Read a score's files and look at all its settings together."""
    settings = read(wanted, limit)
    _refuse(wanted.score.check(settings), wanted)
    return settings


def _refuse(problem: str, wanted: Asked, label: str = "") -> None:
    """Raise what a score finds wrong, if it does."""
    if problem:
        raise ScoreError(f"score '{wanted.score.name}'{f' of {label}' if label else ''}: {problem}")


def _named(models: Any) -> Iterable[tuple[str, Recipe, bool]]:
    """Yield label, recipe and whether it is the user's, for each model; labels differ."""
    several = isinstance(models, Sequence) and not isinstance(models, str)
    counts: dict[str, int] = {}
    for model in models if several else [models]:
        for label, recipe, is_merge in _recipes(model):
            counts[label] = counts.get(label, 0) + 1
            yield (label if counts[label] == 1 else f"{label} ({counts[label]})"), recipe, is_merge


def _recipes(model: Any) -> Iterable[tuple[str, Recipe, bool]]:
    """Return a model as recipes: a checkpoint as one that copies it."""
    if isinstance(model, str | PathLike) and not fspath(model).lower().endswith(RECIPES):
        name = fspath(model)
        return [(name, Recipe(method="copy", models={_as_label(name): name}), False)]
    if isinstance(model, str | PathLike | Recipe) or (isinstance(model, Mapping) and _says_recipe(model)):
        given = Path(model) if isinstance(model, str | PathLike) else model
        found = recipes_of(cast("Recipe | Path | Mapping[str, Any]", given))
        label = str(given) if isinstance(given, Path) else "recipe"
        return [(f"{label}:{name}" if name else label, recipe, True) for name, recipe in found.items()]
    raise ScoreError(
        f"a {type(model).__name__} is no model that can be scored; give the path or the name of a checkpoint, or a "
        "recipe."
    )


def _as_label(name: str) -> str:
    """Make a label of a path: its last part, for messages."""
    label = re.sub(r"[^\w.-]", "_", Path(name.rstrip("/")).name).strip(".")
    return f"model_{label}" if label in ("", BASE, *KEYS) else label


def _says_recipe(values: Mapping[str, Any]) -> bool:
    """Say whether plain values are a recipe's, ours or mergekit's, and not a state dict."""
    return any(isinstance(key, str) and key in values for key in ("cuvee", "method", "merge_method", "recipes"))


def _suit(subject: Subject, ready: Sequence[_Ready]) -> None:
    """Verify that scores and a model go together; no weight is read."""
    subject.prepare([need for each in ready for need in each.asked.score.models])
    for each in ready:
        needs = each.asked.score.models
        if not any(map(subject.can, needs)):
            words = " or ".join(need.replace("_", " ") for need in needs)
            said = f"it measures models of the kind {words}, and this one is a {subject.architecture}."
            _refuse(said, each.asked, subject.label)
        _refuse(each.asked.score.suits(subject, each.settings), each.asked, subject.label)


def _score(
    subject: Subject, ready: Sequence[_Ready], limit: int | None, progress: Callable[[str, int, int], None]
) -> Iterable[Result]:
    """Read a model, and take its scores one after the other."""
    import torch

    progress(subject.label, 0, 1 + len(ready))
    _ = subject.network
    for number, each in enumerate(ready, 1):
        progress(subject.label, number, 1 + len(ready))
        score, on_device = each.asked.score, subject.device.type == "cuda"
        if on_device:
            torch.cuda.reset_peak_memory_stats()
        meter = Meter()
        measures = score.function(subject, *([limit] if score.takes_limit else []), **each.settings)
        cost = meter.report(0, 0, [], ({}, ()))
        for measure in measures:
            if not isfinite(measure.value):
                subject.note(
                    f"{measure.metric} of {each.asked.given} is {measure.value}: the model says no numbers there."
                )
            yield Result(
                model=subject.label,
                score=score.name,
                asked=each.asked.given,
                settings=_plain(each.asked.settings),
                data={name: v.digest for name, v in each.settings.items() if isinstance(v, Text | Table)},
                measure=measure,
                seconds=round(cost.seconds, 3),
                cpu_seconds=round(cost.cpu_seconds, 3),
                peak_memory=cost.peak_memory,
                peak_device_memory=torch.cuda.max_memory_allocated() if on_device else 0,
            )
    progress(subject.label, 1 + len(ready), 1 + len(ready))


def _plain(settings: Mapping[str, Any]) -> dict[str, object]:
    """Return settings as plain values."""
    return {
        name: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for name, v in settings.items()
    }


def _described(subject: Subject) -> Model:
    """Say what was scored."""
    report = subject.report
    assert report is not None
    return Model(
        label=subject.label,
        architecture=subject.architecture,
        digest=subject.digest,
        files=subject.files,
        recipe=subject.recipe.canonical() if subject.is_merge else None,
        inputs=subject.inputs,
        device=str(subject.device),
        dtype=str(subject.network.dtype).removeprefix("torch."),
        seconds=round(report.seconds, 3),
        cpu_seconds=round(report.cpu_seconds, 3),
        notes=tuple(subject.notes),
    )

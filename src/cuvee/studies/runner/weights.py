"""Weights of models in memory: read from the store, or merged through the same line as every other merge."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

import torch

from cuvee.execute.merge import merge_in_memory
from cuvee.methods.registry import find_method
from cuvee.recipe.recipe import Recipe
from cuvee.studies.runner.statements import Merge, Treatment
from cuvee.studies.runner.store import ADAPTER_CONFIG, Store
from cuvee.studies.runner.vectors import agreeing, flipped
from cuvee.studies.suite import Training, Weights

__all__ = ["let_go", "merged", "trained", "warm_up", "whole_model"]

Key: TypeAlias = tuple[Path, str, Training]
KEPT_BYTES = 2 << 30  # of models that stay in a process's memory from one job to the next


def trained(store: Store, suite: str, training: Training) -> Weights:
    """Return the weights of a trained model; of an adapter, those of its base with the adapter's product added.

    The caller must not change them: they are kept for the next one.
    """
    return _RECENT.get((store.folder, suite, training), lambda: _read(store, suite, training))


def let_go() -> None:
    """Forget models that were asked for longest ago, down to `KEPT_BYTES`.

    Called before a job, and never within: what a job reads beforehand is there when its costs are measured.
    """
    _RECENT.let_go(KEPT_BYTES)


class _Recent:
    """Models that were asked for, and their bytes."""

    def __init__(self) -> None:
        self._models: dict[Key, tuple[Weights, int]] = {}  # from the one that was asked for longest ago
        self._bytes = 0

    def get(self, key: Key, read: Callable[[], Weights]) -> Weights:
        """Return a model, read if it is not here."""
        if key in self._models:
            self._models[key] = self._models.pop(key)
        else:
            weights = read()
            self._models[key] = weights, sum(tensor.nbytes for tensor in weights.values())
            self._bytes += self._models[key][1]
        return self._models[key][0]

    def let_go(self, room: int) -> None:
        """Forget the models that were asked for longest ago, until the others need no more than `room` bytes."""
        while self._bytes > room:
            self._bytes -= self._models.pop(next(iter(self._models)))[1]


_RECENT = _Recent()


def _read(store: Store, suite: str, training: Training) -> Weights:
    path = store.model(suite, training)
    if not (path / ADAPTER_CONFIG).exists():
        return whole_model(path)
    assert training.start is not None
    return whole_model(store.model(suite, training.start), path)


def whole_model(path: Path, adapter: Path | None = None) -> Weights:
    """Read a checkpoint into memory, with an adapter's product added where one is given.

    Raises:
        SourceError: it cannot be read.
    """
    model: object = {"model": str(path), "adapters": [str(adapter)]} if adapter else str(path)
    return merge_in_memory(Recipe.from_mapping({"cuvee": 1, "method": "copy", "models": [model]}))[0]


@cache
def warm_up() -> None:
    """Merge something small: the first merge of a process loads what merges run on, which is no method's cost."""
    small = {"weight": torch.zeros(2)}
    merge_in_memory(Recipe(method="linear", models=[small, small]))


def merged(store: Store, suite: str, merge: Merge) -> tuple[Weights, Sequence[str]]:
    """Merge trained models in memory.

    Returns:
        The merged weights, and what the merge has to note.

    Raises:
        CuveeError: the merge cannot be made.
    """
    base = trained(store, suite, merge.base)
    models: Mapping[str, Weights] = {
        f"model-{i}": _treated(store, suite, merge.treatment, trained(store, suite, each), base)
        for i, each in enumerate(merge.models)
    }
    method = find_method(merge.method)
    parameters = {**method.defaults(len(models)), **merge.settings}
    recipe = Recipe(
        method=merge.method,
        models=models,
        base=base if method.space(parameters) == "deltas" else None,
        parameters=dict(merge.settings),
        seed=merge.seed,
    )
    return merge_in_memory(recipe)


def _treated(store: Store, suite: str, treatment: Treatment | None, model: Weights, base: Weights) -> Weights:
    """Do to a model's task vector what is to be done."""
    if treatment is None:
        return model
    if treatment.kind == "agree":
        return agreeing(model, base, [trained(store, suite, each) for each in treatment.references], treatment.density)
    return flipped(model, base, treatment.share, largest=treatment.kind == "flip_largest")

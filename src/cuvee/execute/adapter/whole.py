"""The merged tensors that adapters have as a whole: heads that were trained, biases, norms.

They are weights and no task vectors. With a base they are merged as in a merge of the models, and an adapter that lacks
one has the base's. Without a base, a weighted sum whose factors add up to 1 needs none; all else does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isclose

import numpy as np

from cuvee.errors import RecipeError, UnsupportedError
from cuvee.execute.adapter.merging import coefficients, job_of
from cuvee.execute.adapter.opening import Opened
from cuvee.execute.merged import Merged, open_sources
from cuvee.recipe.recipe import Recipe
from cuvee.recipe.rule import Output
from cuvee.sources.adapter.matching import Matcher
from cuvee.sources.part import Part
from cuvee.sources.strict_json import shown
from cuvee.spec import Source
from cuvee.tensors.widen import widened
from cuvee.writers.adapter import Whole

__all__ = ["merge_whole"]


def merge_whole(recipe: Recipe, opened: Sequence[Opened], base: Source | None, vectors: Merged) -> dict[str, Whole]:
    """Merge whole tensors.

    Args:
        recipe: what to merge, and how.
        opened: the adapters.
        base: their base, or None.
        vectors: the merge of their task vectors.

    Returns:
        Names as adapters' files have them, to merged tensors.

    Raises:
        RecipeError: a tensor needs a base that is not named.
    """
    stored: dict[str, str] = {}
    for each in opened:
        for name, file_name in each.whole.items():
            stored.setdefault(name, file_name)
    for name in stored:
        if any(name.removesuffix(".weight") in each.factors for each in opened):
            raise UnsupportedError(
                f"{shown(name)} is a whole tensor in some of the adapters, and low-rank in others. Merge the models "
                "themselves: leave out adapter: true."
            )
    grounds = _grounds(opened, base)
    if not stored:
        return grounds
    if base is None:
        for name in stored:
            _require_no_base(name, opened, vectors)
        return grounds | {stored[name]: _read(vectors, name) for name in stored if name in vectors.header}
    matcher = Matcher(base.header, base.reference)
    names = {name: matcher.find(name) or name for name in stored}
    merged = _with_base(recipe, opened, base, list(names.values()))
    return grounds | {stored[name]: _read(merged, own) for name, own in names.items() if own in merged.header}


def _grounds(opened: Sequence[Opened], base: Source | None) -> dict[str, Whole]:
    """Return the tensors below factors, which adapters hold as copies of their base's; refuse those that differ.

    Where the base is there and has the same, they are left to it.
    """
    found: dict[str, tuple[str, str, Whole]] = {}
    for each in opened:
        for name, stored in each.grounds.items():
            own = Whole(each.folder.header[stored], np.empty(each.folder.header[stored].nbytes, np.uint8))
            each.folder.read_into(own.data.data, stored, 0)
            known = found.setdefault(name, (each.label, stored, own))
            _require_same(name, each.label, own, f"'{known[0]}'", known[2])
    if base is None:
        return {stored: own for _, stored, own in found.values()}
    matcher = Matcher(base.header, base.reference)
    for name, (label, _, own) in found.items():
        _require_same(name, label, own, base.reference, _read(base, matcher.find(name) or name))
    return {}


def _require_same(name: str, label: str, own: Whole, other: str, known: Whole) -> None:
    """Refuse a copy of the base's tensor that is none."""
    same = own.spec.shape == known.spec.shape and np.array_equal(
        widened(own.data.copy(), own.spec.dtype), widened(known.data.copy(), known.spec.dtype)
    )
    if not same:
        raise UnsupportedError(
            f"adapter '{label}' has a {shown(name)} of its own below its factors, which differs from that of {other}. "
            "Merge the models themselves: leave out adapter: true."
        )


def _with_base(recipe: Recipe, opened: Sequence[Opened], base: Source, names: Sequence[str]) -> Merged:
    """Return the merge of whole tensors of the models."""
    models: Mapping[str, Source] = {
        each.label: Part(each.adapted, names) for each in opened if each.adapted is not None
    }
    inner = replace(recipe, models=models, base=Part(base, names), output=Output())
    return Merged(open_sources().resolve(inner), "whole tensors of adapters")


def _require_no_base(name: str, opened: Sequence[Opened], vectors: Merged) -> None:
    """Refuse to merge a tensor without the base it needs."""
    lacking = [each.label for each in opened if name not in each.whole]
    job = job_of(vectors, name) if name in vectors.header else None
    if job is None:  # a rule leaves it out
        return
    shares = coefficients(job)
    if lacking or shares is None or not isclose(sum(shares.values()), 1.0, abs_tol=1e-9):
        reason = (
            f"which '{lacking[0]}' lacks" if lacking else f"and method '{job.method.name}' merges it relative to a base"
        )
        raise RecipeError(
            f"the adapters have {shown(name)} as a whole, {reason}. Name the base: 'base', or BASE+ADAPTER.", ("base",)
        )


def _read(source: Source, name: str) -> Whole:
    """Read a tensor."""
    spec = source.header[name]
    data = np.empty(spec.nbytes, np.uint8)
    source.read_into(data.data, name)
    return Whole(spec, data)

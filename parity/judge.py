"""Judges one tensor: what each tool wrote, against the other and against a computation in float64.

Tolerances are those of the specification, §11. Knows nothing about files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from decode import Decoded, decode, excess
from meaning import Row
from numpy.typing import NDArray
from selections import SELECTING, Selection, select
from torch import Tensor
from truths import TRUTHS, Array, ram

__all__ = ["Chance", "Verdict", "close", "judge"]

ELEMENTWISE = ("passthrough", "linear", "task_arithmetic", "nearswap", "ram", "ramplus_tl")
WIDENS = ("arcee_fusion", "ramplus_tl")  # quirk Q5: the reference writes float32 where 16 bits were asked for
RELATIVE = {"elementwise": 1e-6, "norm": 1e-5, "selecting": 1e-5}  # of the largest magnitude, in float32
NARROW = {torch.bfloat16: 7, torch.float16: 10}  # bits of a fraction
SMALLEST = {torch.bfloat16: -126, torch.float16: -14}  # exponents
NARROW_RELATIVE = 1e-2
LOST = 0.05  # of the largest magnitude, by which no rounding to 16 bits moves a value
FEW = 64  # elements, of which too little is known to find out what chance kept
UNITS = 4  # in the last place, that results of 16 bits may differ where nothing judges them


@dataclass(slots=True)
class Chance:
    """What chance kept in a whole model: how many at least and at most, the expectation and its variance."""

    fewest: float = 0.0
    most: float = 0.0
    expected: float = 0.0
    variance: float = 0.0


@dataclass(slots=True)
class Verdict:
    """What was found in a tensor.

    Attributes:
        problem: why it fails; None if it does not.
        remark: how the reference differs from the specification; None if it does not.
        chances: of ours, what chance kept, for each model.
    """

    problem: str | None = None
    remark: str | None = None
    chances: list[Chance] = field(default_factory=list)


def judge(row: Row, config: Mapping[str, Any], reference: Tensor, ours: Tensor | None) -> Verdict:
    """Judge a tensor.

    Args:
        row: what was asked for.
        config: the document, for its types.
        reference: what the reference wrote.
        ours: what cuvee wrote; None to judge the reference alone.
    """
    inputs, dtype = _loaded(row, config)
    if row.method in WIDENS and reference.dtype == torch.float32:
        reference = reference.to(ours.dtype if ours is not None else dtype)
    if not dtype.is_floating_point:
        return Verdict(_same(reference, ours))
    base = next((each for each, one in zip(inputs, row.inputs, strict=True) if one.model == row.base), None)
    others = [each for each, one in zip(inputs, row.inputs, strict=True) if one.model != row.base]
    own = [one.parameters for one in row.inputs if one.model != row.base]
    if not others:
        return _judge_value([_wide(inputs[0])], row, dtype, reference, ours)
    if row.base is not None and base is None:
        return Verdict()
    if len(inputs) == 1 and row.method in ("slerp", "nuslerp", "arcee_fusion", "nearswap"):
        return _judge_value([_wide(inputs[0])], row, dtype, reference, ours)
    if row.method in TRUTHS:
        wide = [_wide(each) for each in others]
        truth = TRUTHS[row.method](None if base is None else _wide(base), wide, own, row.shared)
        return _judge_value([truth], row, dtype, reference, ours)
    assert base is not None
    if row.method not in SELECTING:
        wide = [_wide(each) for each in others]
        bits = NARROW.get(_coarser(dtype, reference.dtype), 21)
        near = [float(row.shared["epsilon"]) * (1 + side * 2.0**-bits) for side in (0, -1, 1)]
        measured = _measured(base, others)
        truths = [ram(_wide(base), wide, each, {**row.shared, "epsilon": e}) for each in measured for e in near]
        return _judge_value(truths, row, dtype, reference, ours)
    options = _options(row, base, others, own, _coarser(dtype, reference.dtype))
    return _judge_choice(options, row, dtype, reference, ours)


def close(method: str, reference: Tensor, ours: Tensor, source: torch.dtype) -> str | None:
    """Compare with the reference alone, where nothing says what is right.

    Args:
        method: what merged it.
        reference: what the reference wrote.
        ours: what cuvee wrote.
        source: type that the reference computed in.

    Returns:
        What differs; None if nothing does.
    """
    kind = _kind(method)
    one, two = _wide(reference), _wide(ours)
    with np.errstate(invalid="ignore"):
        differences = np.abs(one - two)
    scale = float(np.abs(one[np.isfinite(one)]).max(initial=0.0))
    allowed = np.full_like(one, RELATIVE[kind] * scale)
    for dtype in {source, ours.dtype} & set(NARROW):
        units = UNITS * unit(np.maximum(np.abs(one), 2.0**-3 * scale), dtype)
        allowed = np.maximum(allowed, units if kind == "elementwise" else np.maximum(units, NARROW_RELATIVE * scale))
    differ = differences > allowed
    if kind == "selecting" and np.allclose(np.sort(one[differ]), np.sort(two[differ]), rtol=1e-5):
        return None  # a cut among equals, such as the rows of a padding: any of them may be kept, and as many
    return _first("differs from the reference", differ, one, two)


def _judge_value(
    truths: Sequence[Array], row: Row, dtype: torch.dtype, reference: Tensor, ours: Tensor | None
) -> Verdict:
    """Judge what has one right value, or a few of which each tool may have one."""
    is_narrow = dtype in NARROW or reference.dtype in NARROW
    theirs = _nearest(truths, reference)
    remark = _astray(theirs, _wide(reference), row.method, _coarser(dtype, reference.dtype))
    if ours is None:
        return Verdict(remark=remark)
    if is_narrow:
        return Verdict(_no_worse(_nearest(truths, ours), theirs, reference, ours), remark)
    problem = close(row.method, reference, ours, dtype)
    if problem and _error(truths, ours) <= _error(truths, reference):  # weights that nearly cancel, for example
        problem = None
    return Verdict(problem, remark)


def _error(truths: Sequence[Array], written: Tensor) -> float:
    """Return the largest distance of what was written from what is right; infinite where one of them is not finite."""
    with np.errstate(invalid="ignore"):
        errors = np.abs(_nearest(truths, written) - _wide(written))
    return float(np.nan_to_num(errors, nan=np.inf).max(initial=0.0))


def _judge_choice(
    options: Sequence[Selection], row: Row, dtype: torch.dtype, reference: Tensor, ours: Tensor | None
) -> Verdict:
    """Judge what depends on a choice, each tool by its own."""
    coarser = _coarser(dtype, reference.dtype)
    narrow = coarser if coarser in NARROW else None
    theirs = _best(options, _wide(reference), narrow)
    if options[0].chances is not None and options[0].free.any() and reference.numel() <= FEW:
        return Verdict(chances=_chances(*_best(options, _wide(ours), narrow)) if ours is not None else [])
    verdict = Verdict(remark=_astray(theirs[1].value, _wide(reference).ravel(), row.method, coarser))
    if ours is None:
        verdict.remark = verdict.remark or _miscounted(*theirs)
        verdict.chances = _chances(*theirs)
        return verdict
    if options[0].chances is not None and _strays(theirs[1], _wide(reference), narrow).any():
        return verdict  # chance left too little to go by
    selection, decoded = _best(options, _wide(ours), narrow)
    verdict.chances = _chances(selection, decoded)
    miscounted = _miscounted(selection, decoded)
    if miscounted and not _miscounted(*theirs):
        verdict.problem = miscounted
    elif narrow and options[0].chances is None:
        shape = reference.shape
        verdict.problem = _no_worse(decoded.value.reshape(shape), theirs[1].value.reshape(shape), reference, ours)
    else:  # of 16 bits, several choices may explain what chance has left
        is_wrong = _strays(decoded, _wide(ours), narrow)
        verdict.problem = _first("follows from no selection", is_wrong, decoded.value, _wide(ours).ravel())
    return verdict


def _strays(decoded: Decoded, written: Array, narrow: torch.dtype | None) -> NDArray[np.bool_]:
    """Say where an output is not what follows from the choice that was found in it."""
    relative = RELATIVE["selecting"] if narrow is None else LOST
    allowed = relative * float(np.abs(decoded.value).max(initial=0.0))
    return np.asarray(np.abs(written.ravel() - decoded.value) > allowed)


def _options(
    row: Row, base: Tensor, others: Sequence[Tensor], own: Sequence[Mapping[str, Any]], dtype: torch.dtype
) -> list[Selection]:
    """List the selections that a tool may make: by task vectors as they are, or rounded to the type of the inputs."""
    wide_base, wide = _wide(base), [_wide(each) for each in others]
    slack = 2.0 ** (1 - NARROW.get(dtype, 21))
    options = [select(row.method, wide_base, wide, each, own, row.shared, slack) for each in _measured(base, others)]
    if dtype in NARROW and row.method in ("sce", "arcee_fusion"):  # what they rank by is itself inexact in 16 bits
        last = options[-1]
        free = np.ones_like(last.free) if last.free.any() or not last.kept.all() else last.free
        options.append(replace(last, free=free, counts=None))
    return options


def _measured(base: Tensor, others: Sequence[Tensor]) -> tuple[list[Array], list[Array]]:
    """Return the task vectors, rounded to the inputs' type, and as they are."""
    return [_wide(each - base) for each in others], [_wide(each) - _wide(base) for each in others]


def _nearest(truths: Sequence[Array], written: Tensor) -> Array:
    """Return, element by element, what is nearest to what was written."""
    with np.errstate(invalid="ignore"):
        errors = np.stack([np.abs(truth - _wide(written)) for truth in truths])
    best = np.argmin(np.nan_to_num(errors), axis=0)[None]
    return np.asarray(np.take_along_axis(np.stack(truths), best, axis=0)[0])


def _best(options: Sequence[Selection], written: Array, narrow: torch.dtype | None) -> tuple[Selection, Decoded]:
    flat = written.ravel()
    scale = float(np.abs(flat[np.isfinite(flat)]).max(initial=0.0))
    tolerance = np.full_like(flat, 2e-6 * scale) if narrow is None else unit(flat, narrow)
    enough = 0.0 if narrow is None else LOST * scale
    found = [(each, decode(each, flat, tolerance, enough)) for each in options]
    return min(found, key=lambda pair: excess(pair[1], flat, tolerance))


def _miscounted(selection: Selection, decoded: Decoded) -> str | None:
    for index, count in enumerate(selection.counts or ()):
        if not decoded.fewest[index] <= count <= decoded.most[index]:
            return f"keeps {decoded.fewest[index]} to {decoded.most[index]} elements of model {index}, not {count}"
    return None


def _chances(selection: Selection, decoded: Decoded) -> list[Chance]:
    if selection.chances is None:
        return []
    return [
        Chance(fewest, most, float(chance.sum()), float((chance * (1 - chance)).sum()))
        for fewest, most, chance in zip(decoded.fewest, decoded.most, selection.chances, strict=True)
    ]


def _astray(truth: Array, written: Array, method: str, dtype: torch.dtype) -> str | None:
    """Say where the reference is further from the specification's formula than its arithmetic explains."""
    scale = float(np.abs(truth[np.isfinite(truth)]).max(initial=0.0))
    relative = RELATIVE[_kind(method)] * 4 if dtype not in NARROW else max(2.0 ** (2 - NARROW[dtype]), NARROW_RELATIVE)
    with np.errstate(invalid="ignore"):
        is_off = np.abs(truth.ravel() - written.ravel()) > relative * scale
    return _first("the reference is not what the specification says", is_off, truth.ravel(), written.ravel())


def _no_worse(truth: Array, their_truth: Array, reference: Tensor, ours: Tensor) -> str | None:
    """Hold our errors to the reference's plus half a unit in the last place, at most and on average."""
    with np.errstate(invalid="ignore"):
        errors, theirs = np.abs(_wide(ours) - truth), np.abs(_wide(reference) - their_truth)
    half = unit(truth, ours.dtype) / 2 if ours.dtype in NARROW else 1e-6 * np.abs(truth)
    half = np.maximum(half, 2.0**-22 * np.abs(truth[np.isfinite(truth)]).max(initial=0.0))  # of arithmetic in 32 bits
    finite = np.isfinite(errors) & np.isfinite(theirs)
    if not np.array_equal(np.isfinite(_wide(ours)), np.isfinite(_wide(reference))):
        return "is finite where the reference is not, or the other way round"
    if not finite.any():
        return None
    worst = float(theirs[finite].max()) * (1 + 1e-9)
    if problem := _first("is further from the truth than the reference", errors - half > worst, truth, _wide(ours)):
        return f"{problem}; the reference's largest error is {worst:.3g}"
    mean, their_mean = float(errors[finite].mean()), float(theirs[finite].mean() + half[finite].mean())
    if mean > their_mean * (1 + 1e-9):
        return f"errors are {mean:.3g} on average, the reference's and half a unit {their_mean:.3g}"
    return None


def unit(values: Array, dtype: torch.dtype) -> Array:
    """Return one unit in the last place of each value, in a type of 16 bits."""
    with np.errstate(divide="ignore"):
        exponents = np.floor(np.log2(np.abs(values)))
    exponents = np.maximum(np.nan_to_num(exponents, neginf=-1000.0, posinf=127.0), SMALLEST[dtype])
    return np.asarray(2.0 ** (exponents - NARROW[dtype]))


def _coarser(one: torch.dtype, two: torch.dtype) -> torch.dtype:
    """Return the type with the shorter fraction."""
    return min((one, two), key=lambda dtype: NARROW.get(dtype, 23))


def _same(reference: Tensor, ours: Tensor | None) -> str | None:
    return None if ours is None or torch.equal(reference, ours) else "differs from the reference"


def _first(what: str, is_wrong: Any, expected: Array, found: Array) -> str | None:
    both_missing = ~np.isfinite(expected) & ~np.isfinite(found)
    is_wrong = (is_wrong | (np.isfinite(expected) != np.isfinite(found))) & ~both_missing
    if not is_wrong.any():
        return None
    place = tuple(int(index) for index in np.argwhere(is_wrong)[0])
    where = f"in {int(is_wrong.sum())} of {is_wrong.size} places, first at {place}"
    return f"{what} {where}: expected {expected[place]:.9g}, found {found[place]:.9g}"


def _kind(method: str) -> str:
    return "elementwise" if method in ELEMENTWISE else "selecting" if method in SELECTING else "norm"


def _loaded(row: Row, config: Mapping[str, Any]) -> tuple[list[Tensor], torch.dtype]:
    """Cast the inputs as they are loaded; what has different types comes to the type that holds both."""
    dtype = _type(config.get("dtype"))
    tensors = [each.tensor if dtype is None else each.tensor.to(dtype) for each in row.inputs]
    common = tensors[0].dtype
    for each in tensors[1:]:
        common = torch.promote_types(common, each.dtype)
    return [each.to(common) for each in tensors], common


def _type(name: Any) -> torch.dtype | None:
    return getattr(torch, str(name).removeprefix("torch.")) if name else None


def _wide(tensor: Tensor) -> Array:
    return tensor.to(torch.float64).numpy()

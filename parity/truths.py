"""The methods that select nothing, in float64, from the formulas of the specification: §7.

Each takes the inputs as arrays of one shape, the models' own parameters and the shared ones. Brute force, to judge by.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["TRUTHS", "Array", "ram"]

Array = NDArray[np.float64]
Own = Sequence[Mapping[str, Any]]


def linear(_: Array | None, models: Sequence[Array], own: Own, shared: Mapping[str, Any]) -> Array:
    """§7.1."""
    weights = _weights(own)
    total = sum((w * x for w, x in zip(weights, models, strict=True)), start=np.zeros_like(models[0]))
    if not shared["normalize"]:
        return total
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(total / weights.sum())


def slerp(base: Array | None, models: Sequence[Array], _: Own, shared: Mapping[str, Any]) -> Array:
    """§7.2."""
    assert base is not None
    t, (other,) = float(shared["t"]), models
    lengths = [1.0 if norm < 1e-8 else norm for norm in (np.linalg.norm(base), np.linalg.norm(other))]
    cosine = float((base / lengths[0]).ravel() @ (other / lengths[1]).ravel())
    if abs(cosine) > 0.9995:
        return (1 - t) * base + t * other
    angle = np.arccos(cosine)
    return np.asarray((np.sin((1 - t) * angle) * base + np.sin(t * angle) * other) / np.sin(angle))


def nuslerp(base: Array | None, models: Sequence[Array], own: Own, shared: Mapping[str, Any]) -> Array:
    """§7.3."""
    first, second = _weights(own)
    t = 0.5 if abs(first + second) < 1e-6 else second / (first + second)
    start = np.zeros_like(models[0]) if base is None else base
    one, two = (x - start for x in models)
    shape = one.shape
    if shared["nuslerp_flatten"]:
        one, two = one.reshape(1, -1), two.reshape(1, -1)
    elif shared["nuslerp_row_wise"]:
        one, two = np.moveaxis(one, 0, -1), np.moveaxis(two, 0, -1)
    lengths = [np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-7) for v in (one, two)]
    cosine = np.clip(np.sum((one / lengths[0]) * (two / lengths[1]), axis=-1, keepdims=True), -1, 1)
    is_collinear = 1 - cosine**2 <= 1e-16
    angle = np.where(is_collinear, 1.0, np.arccos(cosine))
    turned = (np.sin((1 - t) * angle) * one + np.sin(t * angle) * two) / np.sin(angle)
    merged = np.where(is_collinear, (1 - t) * one + t * two, turned)
    if shared["nuslerp_row_wise"] and not shared["nuslerp_flatten"]:
        merged = np.moveaxis(merged, -1, 0)
    return np.asarray(start + merged.reshape(shape))


def multislerp(base: Array | None, models: Sequence[Array], own: Own, shared: Mapping[str, Any]) -> Array:
    """§7.4; the tangent step is zero in exact arithmetic."""
    if len(models) == 1:
        return models[0]
    weights, start = _weights(own), np.zeros_like(models[0]) if base is None else base
    if shared["normalize_weights"]:
        weights = weights / weights.sum()
    vectors = [x - start for x in models]
    lengths = np.array([np.linalg.norm(v) for v in vectors])
    mean = sum(w * v / (n + float(shared["eps"])) for w, v, n in zip(weights, vectors, lengths, strict=True))
    size = np.linalg.norm(mean)
    if size < float(shared["eps"]):
        return np.asarray(start + sum(w * v for w, v in zip(weights, vectors, strict=True)))
    return np.asarray(start + mean / size * float(weights @ lengths))


def karcher(_: Array | None, models: Sequence[Array], __: Own, shared: Mapping[str, Any]) -> Array:
    """§7.5."""
    tol, share = float(shared["tol"]), 1 / len(models)
    lengths = [float(np.linalg.norm(x)) for x in models]
    units = [(x / n).ravel() for x, n in zip(models, lengths, strict=True) if n > tol]
    if not units:
        return np.zeros_like(models[0])
    weight = 1 / len(units)
    u = sum((weight * v for v in units), start=np.zeros_like(units[0]))
    u = units[0] if np.linalg.norm(u) < tol else u / np.linalg.norm(u)
    for _round in range(int(shared["max_iter"])):
        tangent = np.zeros_like(u)
        for v in units:
            cosine = np.clip(u @ v, -1, 1)
            angle = np.arccos(cosine)
            if angle >= tol:
                tangent += weight * angle / np.sin(angle) * (v - cosine * u)
        step = np.linalg.norm(tangent)
        if step < tol:
            break
        u = np.cos(step) * u + np.sin(step) * tangent / step
        u /= np.linalg.norm(u)
    return np.asarray(u * share * sum(lengths)).reshape(models[0].shape)


def model_stock(base: Array | None, models: Sequence[Array], _: Own, shared: Mapping[str, Any]) -> Array:
    """§7.8."""
    assert base is not None
    shape = base.shape
    rows = (1, -1) if not shared["filter_wise"] or base.ndim == 1 else (-1, shape[-1])
    start, num = base.reshape(rows), len(models)
    vectors = [x.reshape(rows) - start for x in models]
    cosines = []
    for v, w in combinations(vectors, 2):
        lengths = np.linalg.norm(v, axis=-1, keepdims=True) * np.linalg.norm(w, axis=-1, keepdims=True)
        cosines.append(np.clip(np.sum(v * w, axis=-1, keepdims=True) / np.maximum(lengths, 1e-6), -1, 1))
    mean = np.mean(cosines, axis=0)
    below = 1 + (num - 1) * mean
    ratio = np.where(np.abs(below) < 1e-6, 0.0, num * mean / np.where(np.abs(below) < 1e-6, 1.0, below))
    centre = np.mean([x.reshape(rows) for x in models], axis=0)
    return np.asarray(ratio * centre + (1 - ratio) * start).reshape(shape)


def nearswap(base: Array | None, models: Sequence[Array], _: Own, shared: Mapping[str, Any]) -> Array:
    """§7.9."""
    assert base is not None
    (x,) = models
    share = np.clip(float(shared["t"]) / np.maximum(np.abs(base - x), 1e-6), 0, 1)
    return np.asarray(share * x + (1 - share) * base)


def ram(base: Array, models: Sequence[Array], measured: Sequence[Array], shared: Mapping[str, Any]) -> Array:
    """§7.11, both forms; what is active is told from task vectors as a tool holds them, rounded or not."""
    epsilon = float(shared["epsilon"])
    deltas = np.stack([x - base for x in models])
    active = np.abs(np.stack(measured)) > epsilon
    num = active.sum(axis=0)
    factors = np.ones(len(models))
    if "r" in shared:
        for index, own in enumerate(active):
            common, alone = int((own & (num > 1)).sum()), int((own & (num == 1)).sum())
            bounded = min(max(common / max(alone, epsilon), 0.0), float(shared["alpha"]))
            factors[index] = 1 + float(shared["r"]) * bounded
    shape = (-1,) + (1,) * base.ndim
    alone_sum = (active * deltas * factors.reshape(shape)).sum(axis=0)
    mean = (active * deltas).sum(axis=0) / np.maximum(num, 1)
    return np.asarray(base + np.where(num == 1, alone_sum, np.where(num > 1, mean, 0.0)))


def passthrough(_: Array | None, models: Sequence[Array], own: Own, __: Mapping[str, Any]) -> Array:
    """§7.12."""
    return models[0] * float(own[0]["scale"])


def task_arithmetic(base: Array | None, models: Sequence[Array], own: Own, shared: Mapping[str, Any]) -> Array:
    """§7.6 without sparsifier and consensus."""
    assert base is not None
    weights = _weights(own)
    total = sum((w * (x - base) for w, x in zip(weights, models, strict=True)), start=np.zeros_like(base))
    if shared["normalize"]:
        total = total / (1.0 if abs(weights.sum()) < 1e-8 else weights.sum())
    return np.asarray(base + total * float(shared["lambda"]))


def _weights(own: Own) -> Array:
    return np.array([float(each["weight"]) for each in own])


TRUTHS: Mapping[str, Callable[[Array | None, Sequence[Array], Own, Mapping[str, Any]], Array]] = {
    "linear": linear,
    "slerp": slerp,
    "nuslerp": nuslerp,
    "multislerp": multislerp,
    "karcher": karcher,
    "model_stock": model_stock,
    "nearswap": nearswap,
    "passthrough": passthrough,
    "task_arithmetic": task_arithmetic,
}

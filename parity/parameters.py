"""Draws the parameters of a configuration: scalars, gradients and conditions, in every scope that holds them."""

import random
from collections.abc import Callable
from typing import Any

from case import Cast
from settings import DECLARED

__all__ = ["each", "of_model", "shared"]

FILTERS = (
    "self_attn", "mlp", "norm", "attn", "layers.1.", ".0.", "embed", "weight", "q_proj", "*", "lm_head", "bias", "Mlp",
)  # fmt: skip


def shared(cast: Cast, rich: float) -> dict[str, Any]:
    """Draw what has one value for all models: all that is required, and some of the rest.

    Args:
        cast: what is drawn with.
        rich: chance that a value is more than a scalar.
    """
    declared = DECLARED[cast.method].shared
    names = [name for name, default in declared.items() if default is None or cast.often(0.5)]
    drawn = {name: _setting(cast, name, rich) for name in names}
    if cast.method == "multislerp":
        drawn.pop("eps", None)
    if cast.method.startswith(("ties", "dare", "della", "breadcrumbs", "sce", "task")) and cast.often(0.1):
        drawn["int8_mask"] = True
    return drawn


def each(cast: Cast, rich: float) -> dict[str, dict[str, Any]]:
    """Draw where each parameter of single models stands: under the models, outside, or both.

    Returns:
        ``models``: whether a parameter stands under the models, by name; ``outside``: values for a scope around them.
    """
    places: dict[str, dict[str, Any]] = {"models": {}, "outside": {}}
    for name, default in DECLARED[cast.method].each.items():
        if default is not None and cast.often(0.4) and name not in ("density", "epsilon"):
            continue
        where = cast.rng.choice(("models", "models", "outside", "both"))
        if where != "outside":
            places["models"][name] = True
        if where != "models" or (default is None and (rich > 0.5 or cast.often(0.3))):
            places["outside"][name] = _setting(cast, name, rich / 2)
    return places


def of_model(cast: Cast, names: dict[str, Any], rich: float) -> dict[str, Any]:
    """Draw the parameters that stand under one model."""
    return {name: _setting(cast, name, rich) for name in names}


def _setting(cast: Cast, name: str, rich: float) -> Any:
    rng = cast.rng
    scalar = _scalars(cast, name)
    if not cast.often(rich):
        return scalar()
    if cast.often(0.5):
        return _gradient(rng, scalar)
    conditions: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 2)):
        value = _gradient(rng, scalar) if cast.often(0.3) else scalar()
        conditions.append({"filter": rng.choice(FILTERS), "value": value})
    if cast.often(0.9):
        conditions.append({"value": scalar()} if cast.often(0.7) else {"filter": None, "value": scalar()})
    return conditions


def _gradient(rng: random.Random, scalar: Callable[[], Any]) -> list[Any]:
    return [scalar() for _ in range(rng.randint(1, 5))]


def _scalars(cast: Cast, name: str) -> Callable[[], Any]:
    """Return what draws one value of a parameter."""
    rng = cast.rng
    low, high = {
        "weight": (0.1, 1.5), "t": (0.0, 1.0), "lambda": (0.3, 1.2), "gamma": (0.0, 0.2), "epsilon": (0.01, 0.03),
        "select_topk": (0.1, 1.0), "r": (0.05, 0.5), "alpha": (0.05, 0.5), "scale": (0.5, 1.5), "density": (0.2, 0.9),
        "tol": (1e-6, 1e-4),
    }.get(name, (0.0, 1.0))  # fmt: skip
    if cast.method == "nearswap":
        high = 0.05
    if cast.method.startswith("della"):
        low, high = {"density": (0.3, 0.7), "epsilon": (0.05, 0.25)}.get(name, (low, high))

    def number() -> Any:
        value = float(f"{rng.uniform(low, high):.3g}")
        if name == "weight" and rng.random() < 0.07:
            return -value
        if name == "t" and cast.method == "slerp" and rng.random() < 0.05:
            return rng.choice((-0.2, 1.3))
        if name in ("density", "select_topk") and not cast.method.startswith("della") and rng.random() < 0.2:
            # Where chance keeps nothing of a tensor, nothing tells by how much it was to be multiplied.
            return rng.choice((1, 1.0, 0.5, 0.25 if cast.method.startswith("dare") else 0.01))
        return rng.choice((value, value, value, round(value, 1) or value)) if rng.random() < 0.95 else f"{value:.1e}"

    if name == "max_iter":
        return lambda: rng.randint(1, 12)
    if name in ("normalize", "rescale", "nuslerp_flatten", "nuslerp_row_wise", "normalize_weights", "filter_wise"):
        first = rng.random() < 0.5
        return lambda: rng.choice((first, not first))
    return number

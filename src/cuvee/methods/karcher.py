"""Mean on the sphere: the Karcher (Fréchet) mean of the models' directions.

Karcher, "Riemannian center of mass and mollifier smoothing", Communications on Pure and Applied Mathematics 1977,
https://doi.org/10.1002/cpa.3160300502; the iteration is algorithm A1 of Buss and Fillmore, "Spherical averages and
applications to spherical splines and interpolation", ACM Transactions on Graphics 2001,
https://doi.org/10.1145/502122.502124. As a merge of models it has no paper of its own: lengths are averaged apart from
directions, as mergekit (https://github.com/arcee-ai/mergekit) does it.

Every iterate is a weighted sum of the models, so the iteration needs their inner products and nothing else: the models
are read once for those and once to be merged. It runs in float64, where an angle of 1e-7 can still be told from none
(float32 cannot tell 3e-4, bfloat16 not 0.06, and the mean then is the normalised mean without a word).

Differences: `max_iter` and `tol` are such that the mean has converged; mergekit stops after 10 steps or below 1e-5.
Like there, what is no longer than `tol` has no direction, and starts without a mean direction begin at the first model.
Models have weights, and may be task vectors; mergekit weights all alike. A model exactly opposite to the mean has no
direction to move it in, and is left out of the step; mergekit divides by a sine that rounding has left.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np

from cuvee.methods.declare import Paper, PerModel, Range, Scope, Space, Vectors, each, method
from cuvee.methods.shares import cancel, shares
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, finished

SERIES = 1e-3  # below this angle theta / sin(theta) is 1 + theta^2 / 6 within float64
OPPOSITE = 1e-7  # below this sine, of an angle near pi, there is no telling in which direction a model lies


@method(
    paper=Paper(
        title="Riemannian center of mass and mollifier smoothing",
        authors="H. Karcher",
        venue="Communications on Pure and Applied Mathematics",
        year=1977,
        url="https://doi.org/10.1002/cpa.3160300502",
    ),
    passes=lambda parameters: int(parameters["scope"] != "row"),
    check=cancel,
)
def karcher(
    models: Vectors,
    *,
    weight: PerModel[Annotated[float, Range(0.0, 1e6, usual=(0.0, 10.0))]] = each(1.0),
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
    max_iter: Annotated[int, Range(0, 10_000, usual=(0, 100))] = 100,
    tol: Annotated[float, Range(0.0, 1.0, usual=(1e-12, 1e-5))] = 1e-10,
) -> Passes[Operand]:
    """Find the direction with the least squared angles to the models', and give it their average length.

    With u_t = theta_t / ||theta_t|| and alpha_t the weights divided by their sum: start at the direction of sum_t
    alpha_t u_t; repeat u <- cos||T|| u + sin||T|| T/||T|| with T = sum_t alpha_t (phi_t / sin phi_t) (u_t - cos phi_t
    u), phi_t the angle between u and u_t, until ||T|| is below `tol`. theta = u * sum_t alpha_t ||theta_t||. For models
    that lie close together the result differs from multislerp, where the iteration starts, at second order only.

    Args:
        models: n models, (rows, e) each.
        weight: weight of each model; they are divided by their sum, which must not be zero.
        scope: what makes up one vector: the whole model, each tensor, or each row of a tensor (last axis).
        vectors: average the parameters themselves, or the task vectors (then the recipe needs a base).
        max_iter: steps taken at most; 0 leaves the normalised mean.
        tol: length of a step, in radians, at which the mean has converged. Angles and vectors no larger count as zero.

    Returns:
        Merged cell, (rows, e) float32.
    """
    alpha = shares(weight)
    factors = yield from finished(lambda gram: mean_factors(gram, alpha, max_iter, tol), gram_matrix, models)
    return weighted_sum(models, factors)


def mean_factors(gram: Array, alpha: Sequence[float], max_iter: int, tol: float) -> Array:
    """Find the mean as a weighted sum of the models, from their inner products.

    Args:
        gram: (rows, n, n) float64.
        alpha: weights that add up to 1, (n,).
        max_iter, tol: see `karcher`.

    Returns:
        (n, rows) float64 factors; 0 where every model is zero.
    """
    norms = np.sqrt(np.diagonal(gram, axis1=1, axis2=2))
    found = norms > tol
    lengths = np.where(found, norms, 1.0)
    cosine = np.where(found[:, :, None] & found[:, None, :], gram / (lengths[:, :, None] * lengths[:, None, :]), 0.0)
    share = found * np.asarray(alpha)
    whole = share.sum(1, keepdims=True)
    share = np.divide(share, whole, out=np.zeros_like(share), where=whole > 0)
    # A direction u is held as the factors a of u = sum_t a_t u_t, (rows, n).
    first = np.eye(len(alpha))[found.argmax(1)] * found
    start = _length(share, cosine)[:, None]
    u = np.where(start > max(tol, OPPOSITE), share / np.where(start > 0, start, 1.0), first)
    moving = found.any(1)
    for _ in range(max_iter):
        step = _step(u, cosine, share, tol)
        length = _length(step, cosine)
        moving &= length >= max(tol, np.finfo(np.float64).tiny)
        if not moving.any():
            break
        moved = np.cos(length)[:, None] * u + np.sinc(length / np.pi)[:, None] * step
        size = _length(moved, cosine)[:, None]
        u = np.where(moving[:, None], moved / np.where(size > 0, size, 1.0), u)
    factors: Array = (u / lengths * (norms @ np.asarray(alpha))[:, None]).T
    return factors


def _length(factors: Array, cosine: Array) -> Array:
    """Return the length of a weighted sum of unit vectors, (rows,)."""
    length: Array = np.sqrt(np.maximum(np.einsum("ri,rij,rj->r", factors, cosine, factors), 0.0))
    return length


def _step(u: Array, cosine: Array, share: Array, tol: float) -> Array:
    """Return the weighted mean of the models as seen from `u`, in its tangent space, as factors, (rows, n)."""
    d = np.clip(np.einsum("rij,rj->ri", cosine, u), -1.0, 1.0)
    angle = np.arccos(d)
    sine = np.sqrt(1.0 - d * d)
    seen = (angle >= tol) & ((sine >= OPPOSITE) | (d > 0))
    ratio = np.where(angle < SERIES, 1.0 + angle * angle / 6.0, angle / np.where(sine >= OPPOSITE, sine, 1.0))
    pull = np.where(seen, share * ratio, 0.0)
    step: Array = pull - (pull * d).sum(1, keepdims=True) * u
    return step

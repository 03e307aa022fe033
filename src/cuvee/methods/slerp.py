"""Spherical linear interpolation of two models.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, https://doi.org/10.1145/325334.325242; as a merge
of models it has no paper of its own. The realistic evaluation of Tam et al. (https://arxiv.org/abs/2409.18314) takes
one angle for the whole model (``scope: model``) and combines the raw vectors (``norm: raw``), but lets its lambda
weight the first model; here `t` weights the second, as everywhere else in the field.
"""

from math import pi
from typing import Annotated, Literal

import numpy as np

from cuvee.methods.declare import Paper, Range, Scope, Space, Vectors, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, Position, total

STRAIGHT = 1e-6  # below this sine the arc is a straight line within float32, and the formula divides by nearly zero


@method(
    paper=Paper(
        title="Animating rotation with quaternion curves",
        authors="K. Shoemake",
        venue="SIGGRAPH",
        year=1985,
        url="https://doi.org/10.1145/325334.325242",
    ),
    models=(2, 2),
    passes=lambda parameters: int(parameters["scope"] != "row"),
    average=lambda parameters, _: [1 - parameters["t"], parameters["t"]],
    symmetric=False,
)
def slerp(
    models: Vectors,
    position: Position,
    *,
    t: Annotated[float, Range(0.0, 1.0)] = 0.5,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
    norm: Literal["raw", "lerp", "first"] = "raw",
) -> Passes[Operand]:
    """Interpolate along the arc between two models instead of the straight line.

    With Omega the angle between the two vectors, theta = [sin((1-t) Omega) theta_1 + sin(t Omega) theta_2] /
    sin(Omega). Where there is no arc (a zero vector, parallel or opposite ones) it is the straight line (1-t) theta_1 +
    t theta_2; opposite vectors are reported.

    Args:
        models: two models, (rows, e) each.
        t: place on the arc: 0 is the first model, 1 the second.
        scope: what makes up one vector: the whole model, each tensor, or each row of a tensor (last axis).
        vectors: interpolate the parameters themselves, or the task vectors (then the recipe needs a base).
        norm: "raw" combines the vectors as they are; "lerp" combines unit vectors and gives the result the linearly
            interpolated norm; "first" gives it the first model's norm. Opposite vectors, and where one is zero, keep
            the norm of the straight line.

    Returns:
        Merged cell, (rows, e) float32.
    """
    gram = yield from total(gram_matrix, models)
    coefficients, opposite = arc_coefficients(gram, t, norm)
    if opposite:
        position.note(
            "the two models point in opposite directions, so there is no arc between them; interpolated linearly"
        )
    return weighted_sum(models, coefficients)


def arc_coefficients(gram: Array, t: float, norm: Literal["raw", "lerp", "first"]) -> tuple[Array, bool]:
    """Work out the factor on each of two vectors from their inner products.

    Args:
        gram: (rows, 2, 2) float64.
        t: place on the arc, in [0, 1].
        norm: see `slerp`.

    Returns:
        (2, rows) float64 factors, and whether any row's vectors are opposite.
    """
    norms = np.sqrt(np.stack([gram[:, 0, 0], gram[:, 1, 1]]))
    product = norms[0] * norms[1]
    has_angle = product > 0
    cosine = np.clip(np.divide(gram[:, 0, 1], product, out=np.ones_like(product), where=has_angle), -1.0, 1.0)
    omega = np.arccos(cosine)
    curved = has_angle & (np.sin(omega) >= STRAIGHT)
    opposite = has_angle & ~curved & (omega > pi / 2)
    sine = np.where(curved, np.sin(omega), 1.0)
    shares = np.stack([np.full_like(omega, 1 - t), np.full_like(omega, t)])
    arc = np.stack([np.sin((1 - t) * omega), np.sin(t * omega)]) / sine
    between = (shares * norms).sum(0)  # also the length of the straight line between parallel vectors
    target = {"raw": between, "lerp": between, "first": norms[0]}[norm]
    if norm != "raw":
        arc = arc * target / np.where(norms > 0, norms, 1.0)
    parallel = has_angle & ~opposite
    line = shares * np.where(parallel, target / np.where(between > 0, between, 1.0), 1.0)
    return np.where(curved, arc, line), bool(opposite.any())

"""Spherical linear interpolation of two models.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, https://doi.org/10.1145/325334.325242; as a merge
of models it has no paper of its own. The realistic evaluation of Tam et al. (https://arxiv.org/abs/2409.18314) takes
one angle for the whole model (``scope: model``) and combines the raw vectors (``norm: raw``), but lets its lambda
weight the first model; here `t` weights the second, as everywhere else in the field.

mergekit (https://github.com/arcee-ai/mergekit) has one angle for each tensor and combines raw vectors; beyond that it
takes the straight line where the cosine is above 0.9995 (``straight_above``), and a right angle where a vector is zero
(``zero: orthogonal``), which gives the other model more than its share. Both are off by default.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np

from cuvee.methods.declare import Paper, Range, Scope, Space, Vectors, method
from cuvee.tensors.algebra import gram_matrix, weighted_sum
from cuvee.tensors.arc import arc, cosines
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, Position, total

SHORTEST = 1e-45  # the smallest float32: what is shorter is zero
ORTHOGONAL = 1e-8  # mergekit's: what is shorter counts as zero where zero is at right angles to everything

Zero = Literal["straight", "orthogonal"]
Norm = Literal["raw", "lerp", "first"]


def _leaves_the_lengths(parameters: Mapping[str, Any]) -> str:
    """Refuse to interpolate lengths beyond the two that there are: they soon are negative."""
    if parameters["norm"] != "lerp" or 0 <= parameters["t"] <= 1:
        return ""
    return f"t is {parameters['t']:g}; with norm: lerp it must lie between 0 and 1, as the norm would not stay positive"


def _shares(parameters: Mapping[str, Any], _: int) -> list[float]:
    """Average by `t`, but never with a negative share."""
    t = min(max(parameters["t"], 0.0), 1.0)
    return [1 - t, t]


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
    average=_shares,
    check=_leaves_the_lengths,
    symmetric=False,
)
def slerp(
    models: Vectors,
    position: Position,
    *,
    t: Annotated[float, Range(-10.0, 10.0, usual=(0.0, 1.0))] = 0.5,
    scope: Scope[Literal["model", "tensor", "row"]] = "tensor",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
    norm: Norm = "raw",
    straight_above: Annotated[float, Range(0.0, 1.0)] = 1.0,
    zero: Zero = "straight",
) -> Passes[Operand]:
    """Interpolate along the arc between two models instead of the straight line.

    With Omega the angle between the two vectors, theta = [sin((1-t) Omega) theta_1 + sin(t Omega) theta_2] /
    sin(Omega). Where there is no arc (a zero vector, parallel or opposite ones) it is the straight line (1-t) theta_1 +
    t theta_2; opposite vectors are reported.

    Args:
        models: two models, (rows, e) each.
        t: place on the arc: 0 is the first model, 1 the second; beyond them the arc goes on.
        scope: what makes up one vector: the whole model, each tensor, or each row of a tensor (last axis).
        vectors: interpolate the parameters themselves, or the task vectors (then the recipe needs a base).
        norm: "raw" combines the vectors as they are; "lerp" combines unit vectors and gives the result the linearly
            interpolated norm; "first" gives it the first model's norm. Opposite vectors, and where one is zero, keep
            the norm that "raw" gives them.
        straight_above: magnitude of cos(Omega) above which the straight line is taken; 1 takes the arc wherever there
            is one.
        zero: what is done where a model is zero: "straight" takes the straight line, "orthogonal" the arc with Omega a
            right angle.

    Returns:
        Merged cell, (rows, e) float32.
    """
    gram = yield from total(gram_matrix, models)
    coefficients, opposite = arc_coefficients(gram, t, norm, straight_above, zero)
    if opposite:
        position.note(
            "the two models point in opposite directions, so there is no arc between them; interpolated linearly"
        )
    return weighted_sum(models, coefficients)


def arc_coefficients(gram: Array, t: float, norm: Norm, straight_above: float, zero: Zero) -> tuple[Array, bool]:
    """Work out the factor on each of two vectors from their inner products.

    Args:
        gram: (rows, 2, 2) float64.
        t, norm, straight_above, zero: see `slerp`.

    Returns:
        (2, rows) float64 factors, and whether any row's vectors are opposite.
    """
    norms = np.sqrt(np.stack([gram[:, 0, 0], gram[:, 1, 1]]))
    shortest, without = (ORTHOGONAL, 0.0) if zero == "orthogonal" else (SHORTEST, 1.0)
    has_angle = norms.min(0) >= shortest
    cosine = np.where(has_angle, cosines(gram, shortest), without)
    factors, curved = arc(cosine, t, straight_above)
    opposite = ~curved & (cosine < 0)
    if norm != "raw":
        units = np.where(curved & has_angle, factors / np.maximum(norms, shortest), factors)
        length = np.sqrt(np.maximum(np.einsum("ir,rij,jr->r", units, gram, units), 0.0))
        wanted = (1 - t) * norms[0] + t * norms[1] if norm == "lerp" else norms[0]
        resized = has_angle & ~opposite & (length > 0)
        factors = np.where(resized, units * wanted / np.where(resized, length, 1.0), factors)
    return factors, bool(opposite.any())

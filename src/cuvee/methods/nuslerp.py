"""Spherical linear interpolation of two models with weights.

Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985, https://doi.org/10.1145/325334.325242, as mergekit
(https://github.com/arcee-ai/mergekit) has it under the name "NuSLERP", which has no paper: weights instead of a place
on the arc, angles of rows or columns, and task vectors. Differences: weights that add up to zero are reported; they
mean halfway here, too. The straight line is taken below a sine of 1e-6 (1e-8), which is the same in float32. Vectors
may be taken over the whole model.
"""

from functools import partial
from typing import Literal

from cuvee.methods.declare import Paper, PerModel, Scope, Space, Vectors, Weight, each, method
from cuvee.tensors.algebra import NO_PLACE, gram_matrix, gram_of_columns, weighted_sum
from cuvee.tensors.arc import arc, cosines
from cuvee.tensors.operands import Operand
from cuvee.tensors.passes import Array, Passes, Position, finished

SHORTEST = 1e-7  # the definition's: of shorter vectors the angle nears a right one, so that a zero vector has one


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
)
def nuslerp(
    models: Vectors,
    position: Position,
    *,
    weight: PerModel[Weight] = each(1.0),
    scope: Scope[Literal["model", "tensor", "row", "column"]] = "tensor",
    vectors: Space[Literal["parameters", "task"]] = "parameters",
) -> Passes[Operand]:
    """Interpolate along the arc between two models, as far as their weights say.

    slerp with t = w_2 / (w_1 + w_2), and other vectors to choose from: theta = [sin((1-t) Omega) theta_1 + sin(t Omega)
    theta_2] / sin(Omega). Parallel and opposite vectors are interpolated linearly, opposite ones reported; where one is
    zero, Omega is a right angle. Weights that add up to zero are taken to be equal, and reported.

    Args:
        models: two models, (rows, e) each.
        weight: weight w_t of each model.
        scope: what makes up one vector: the whole model, each tensor, each row of a tensor (last axis), or each column
            (first axis; of a stack of matrices, parts of them after a rule's ``parts``).
        vectors: interpolate the parameters themselves, or the task vectors (then the recipe needs a base).

    Returns:
        Merged cell, (rows, e) float32.
    """
    first, second = weight
    balanced = abs(first + second) < NO_PLACE
    if balanced:
        position.note("the two weights add up to zero; the middle of the arc was taken")
    t = 0.5 if balanced else second / (first + second)
    inner_products = gram_of_columns if scope == "column" else gram_matrix
    factors, opposite = yield from finished(partial(_between, t=t), inner_products, models)
    if opposite:
        position.note(
            "the two models point in opposite directions, so there is no arc between them; interpolated linearly"
        )
    return weighted_sum(models, factors, by_column=scope == "column")


def _between(gram: Array, t: float) -> tuple[Array, bool]:
    """Return the factor on each of two vectors, (2, vectors) float64, and whether any two are opposite."""
    cosine = cosines(gram, SHORTEST)
    factors, curved = arc(cosine, t)
    return factors, bool((~curved & (cosine < 0)).any())

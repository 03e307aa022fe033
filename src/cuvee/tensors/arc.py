"""Points on the arc between two vectors that are known by their inner products alone."""

from cuvee.tensors.framework import np
from cuvee.tensors.passes import Array

__all__ = ["STRAIGHT", "arc", "cosines"]

STRAIGHT = 1e-6  # below this sine the arc is a straight line within float32, and the formula divides by nearly zero


def cosines(gram: Array, shortest: float) -> Array:
    """Take the cosine of the angle between two vectors.

    Args:
        gram: their inner products, (rows, 2, 2) float64.
        shortest: shorter vectors are taken to have this length, so that their angle nears a right one; above 0.

    Returns:
        (rows,) float64 in [-1, 1]; 0 where a vector is zero.
    """
    norms = np.maximum(np.sqrt(np.diagonal(gram, axis1=1, axis2=2)), shortest)
    found: Array = np.clip(gram[:, 0, 1] / norms.prod(1), -1.0, 1.0)
    return found


def arc(cosine: Array, t: float, straight_above: float = 1.0) -> tuple[Array, Array]:
    """Work out the factors on two vectors that make a point on the arc between them.

    With Omega their angle: sin((1 - t) Omega) / sin(Omega) and sin(t Omega) / sin(Omega); 1 - t and t where there is no
    arc, because they are parallel or opposite, or no more than `straight_above` apart from that.

    Args:
        cosine: cosine of Omega, (rows,) float64.
        t: place on the arc: 0 is the first vector, 1 the second, beyond it is on the same circle.
        straight_above: magnitude of the cosine above which the straight line is taken.

    Returns:
        (2, rows) float64 factors; and (rows,) bool, which of them lie on an arc.
    """
    omega = np.arccos(cosine)
    sine = np.sin(omega)
    curved: Array = (sine >= STRAIGHT) & (np.abs(cosine) <= straight_above)
    ends = np.stack([np.full_like(omega, 1 - t), np.full_like(omega, t)])
    factors: Array = np.where(curved, np.sin(ends * omega) / np.where(curved, sine, 1.0), ends)
    return factors, curved

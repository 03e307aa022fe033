"""Fréchet distance between two samples of features, as normal distributions. Pure algebra in float64.

Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS 2017
(arXiv 1706.08500), equation 6; Dowson and Landau, 1982. Differences: features of another judge, so no value compares
with a published one; and the root of the product of covariances is taken of the symmetric S₁^½ S₂ S₁^½, which has the
same trace, so that no complex number appears.
"""

import torch
from torch import Tensor

__all__ = ["frechet_distance"]


def frechet_distance(one: Tensor, other: Tensor) -> float:
    """Return |m₁ - m₂|² + tr(S₁ + S₂ - 2 (S₁ S₂)^½), with the unbiased covariances of the samples.

    Samples of one distribution have a distance above zero, the more so the fewer they are; compare only distances of
    equal numbers. A covariance of fewer samples than features is singular, which does no harm: its zero eigenvalues
    count as zero.

    Args:
        one: features, (n, k), n at least 2.
        other: features, (m, k), m at least 2.
    """
    one, other = one.double(), other.double()
    apart = (one.mean(0) - other.mean(0)).square().sum()
    first, second = one.T.cov(), other.T.cov()
    root = _root(first)
    # Rounding makes eigenvalues that are zero slightly negative.
    overlap = torch.linalg.eigvalsh(root @ second @ root).clamp_min(0).sqrt().sum()
    return float((apart + first.trace() + second.trace() - 2 * overlap).clamp_min(0))


def _root(covariance: Tensor) -> Tensor:
    """Return the symmetric root of a positive semidefinite matrix."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root

"""Loss surfaces whose exponents are known, to try fits on: the random-feature model of Bordelon et al. 2024."""

from scaling.theory.random_features import RandomFeatures, compute_frontier, expected_loss
from scaling.theory.simulation import simulate
from scaling.theory.tables import exponents, surface

__all__ = ["RandomFeatures", "compute_frontier", "expected_loss", "exponents", "simulate", "surface"]

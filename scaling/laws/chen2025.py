"""Chen et al. 2025, Scaling Law for Quantization-Aware Training (arXiv:2505.14302)."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.law import Exponent, Scale, law


@law(
    cite="Chen 2025, arXiv:2505.14302",
    example={"k": 0.2, "gamma_D": 0.1, "gamma_G": 0.5, "gamma_N": 0.2},
    predicts="dloss",
    family="compressed formats",
    units="N: parameters; D: tokens; G: weights that share a scale; dloss: nats/token that training at low precision "
    "adds",
    ranges={"N": (7e7, 6e8), "D": (1e10, 1e11), "G": (32.0, 4096.0)},
    symbols={"G": "size of the groups that share a scale, above 1"},
    notes="Adds to chinchilla's loss. Published exponents are incomplete in what we could read and are not listed.",
    instead="quest or panferov for the whole loss.",
)
def qat(N: Any, D: Any, G: Any, *, k: Scale, gamma_D: Exponent, gamma_G: Exponent, gamma_N: Exponent) -> Any:
    """dL(N, D, G) = k D^gamma_D (log2 G)^gamma_G / N^gamma_N"""
    return k * D**gamma_D * np.log2(G) ** gamma_G * N**-gamma_N

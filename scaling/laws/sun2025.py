"""Sun et al. 2025, Scaling Laws for Floating-Point Quantization Training (arXiv:2501.02423)."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.law import Exponent, Floor, Scale, law


@law(
    cite="Sun 2025, arXiv:2501.02423 (form from a secondary source)",
    example={"eps": 1.8, "n": 70.0, "d": 7e4, "q": 1e-3, "alpha": 0.25, "beta": 0.5, "delta": 2.5, "nu": 2.0},
    family="compressed formats",
    units="N: parameters; D: tokens; e_bits, m_bits: bits of exponent and mantissa; B: numbers that share a scale; "
    "loss: "
    "nats/token",
    zero=("e_bits", "m_bits"),
    ranges={"N": (4e7, 7e8), "D": (1e10, 1e11), "e_bits": (1.0, 7.0), "m_bits": (1.0, 6.0), "B": (32.0, 512.0)},
    symbols={"q": "size of the harm, 1 / gamma in the paper", "B": "numbers that share a scale, above 1"},
    notes="Experimental: the equation could be read in a secondary source only, and coefficients are not listed. More "
    "tokens harm a model of low precision from some point on.",
    instead="panferov with the format's GMSE.",
)
def floating(
    N: Any, D: Any, e_bits: Any, m_bits: Any, B: Any, *, eps: Floor, n: Scale, d: Scale, q: Scale, alpha: Exponent,
    beta: Exponent, delta: Exponent, nu: Exponent,
) -> Any:  # fmt: skip
    """L = eps + n / N^alpha + d / D^beta + q D^beta / N^alpha log2(B) / ((e_bits + 1/2)^delta (m_bits + 1/2)^nu)"""
    lost = np.log2(B) * (e_bits + 0.5) ** -delta * (m_bits + 0.5) ** -nu
    return eps + n * N**-alpha + d * D**-beta + q * D**beta * N**-alpha * lost

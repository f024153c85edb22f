"""Krajewski et al. 2024, Scaling Laws for Fine-Grained Mixture of Experts (arXiv:2402.07871)."""

from __future__ import annotations

from typing import Any

from scaling.law import Exponent, Floor, Scale, law


@law(
    cite="Krajewski 2024, arXiv:2402.07871",
    example={"c": 0.5, "g": 2.0, "a": 18.0, "b": 30.0, "alpha": 0.12, "beta": 0.15, "gamma": 0.6},
    family="experts",
    units="N: all parameters without embeddings, experts included; D: tokens; G: granularity, 1 for experts of the "
    "usual size; loss: nats/token",
    ranges={"N": (1e8, 3e9), "D": (1e10, 1e11), "G": (1.0, 16.0)},
    symbols={"G": "how many times smaller, and more, the experts are", "g": "what coarse experts cost"},
    notes="At an equal N a dense model is better than a routed one: compare at equal FLOP. The published coefficients "
    "rest "
    "on one secondary source and are not listed.",
    instead="ludziejewski where the number of experts varies and their size does not.",
)
def krajewski(
    N: Any, D: Any, G: Any, *, c: Floor, g: Scale, a: Scale, b: Scale, alpha: Exponent, beta: Exponent, gamma: Exponent
) -> Any:
    """L(N, D, G) = c + (g / G^gamma + a) / N^alpha + b / D^beta"""
    return c + (g * G**-gamma + a) * N**-alpha + b * D**-beta

"""Abnar et al. 2025, Parameters vs FLOPs: Scaling Laws for Optimal Sparsity for Mixture-of-Experts Language Models
(arXiv:2501.12370)."""

from __future__ import annotations

from typing import Annotated, Any

from scaling.law import Exponent, Floor, Param, Scale, law

Signed = Annotated[float, Param(lo=-3.0, hi=3.0, start=(-0.6, 0.6))]


@law(
    cite="Abnar 2025, arXiv:2501.12370",
    example={
        "e": 1.0, "a": 2000.0, "b": 4000.0, "c": 0.5, "d": 20.0, "alpha": 0.5, "beta": 0.38, "lam": -0.2, "delta": 0.15,
        "gamma": 0.17,
    },
    zero=("S",),
    family="experts",
    units="N: all parameters, experts included; D: tokens; S: share of experts that are idle, (E - K) / E; loss: "
    "nats/token",
    ranges={"N": (1e8, 2e10), "D": (1e9, 3e11), "S": (0.0, 0.98)},
    symbols={"S": "sparsity", "lam": "power of the active share, below 0: the term falls as more experts idle"},
    notes="Ten coefficients, badly determined: the paper's fit explains 68% of the variance at the sparsity held out. "
    "The "
    "published ones rest on one secondary source and are not listed.",
    instead="ludziejewski, which has the number of experts in its exponents.",
)  # fmt: skip
def abnar(
    N: Any, D: Any, S: Any, *, e: Floor, a: Scale, b: Scale, c: Scale, d: Scale, alpha: Exponent, beta: Exponent,
    lam: Signed, delta: Signed, gamma: Exponent,
) -> Any:  # fmt: skip
    """L(N, D, S) = e + a / N^alpha + b / D^beta + c / (1 - S)^lam + d / ((1 - S)^delta N^gamma)"""
    return e + a * N**-alpha + b * D**-beta + c * (1 - S) ** -lam + d * (1 - S) ** -delta * N**-gamma

"""Frantar et al. 2023, Scaling Laws for Sparsely-Connected Foundation Models (arXiv:2309.08520)."""

from __future__ import annotations

from typing import Annotated, Any

from scaling.law import Exponent, Floor, Param, Scale, law

Tokens = Annotated[float, Param(lo=0.0, start=(1e-6, 1e2), unit="as D", of="D")]


@law(
    cite="Frantar 2023, arXiv:2309.08520 (form as in arXiv:2506.01863, table 1)",
    example={"a_S": 20.0, "b_S": 0.7, "c_S": 40.0, "b_N": 0.25, "a_D": 5e8, "b_D": 0.2, "c": 0.7},
    zero=("S",),
    family="compressed formats",
    units="S: share of the weights that are 0; N: weights that are not 0; D: tokens, or images; loss: nats/token",
    ranges={"S": (0.0, 0.9), "N": (1e6, 5e8), "D": (1e10, 1e12)},
    symbols={"S": "sparsity", "a_S": "what sparsity saves", "c_S": "what is left of it in the limit"},
    notes="N counts weights that are not 0: the dense model of the same shape has N / (1 - S). Published coefficients "
    "could "
    "not be verified and are not listed.",
    instead="panferov with gmse_sparse(S), which treats sparsity and quantisation alike.",
)
def frantar_sparse(
    S: Any, N: Any, D: Any, *, a_S: Scale, b_S: Exponent, c_S: Scale, b_N: Exponent, a_D: Tokens, b_D: Exponent,
    c: Floor,
) -> Any:  # fmt: skip
    """L(S, N, D) = (a_S (1 - S)^b_S + c_S) / N^b_N + (a_D / D)^b_D + c"""
    return (a_S * (1 - S) ** b_S + c_S) * N**-b_N + (a_D / D) ** b_D + c

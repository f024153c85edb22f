"""Ghorbani et al. 2021, Scaling Laws for Neural Machine Translation (arXiv:2109.07740)."""

from __future__ import annotations

from typing import Annotated, Any

from scaling.law import Exponent, Floor, Param, law

Amplitude = Annotated[float, Param(lo=0.0, linear=True, unit="nats/token x parameters^(p_e + p_d)")]


@law(
    cite="Ghorbani 2021, arXiv:2109.07740 (form from memory)",
    example={"L_inf": 1.0, "A": 300.0, "p_e": 0.15, "p_d": 0.2},
    family="encoder-decoder",
    units="N_e, N_d: parameters of encoder and decoder without embeddings and softmax; loss: nats/token of one test "
    "set",
    ranges={"N_e": (3e7, 2e9), "N_d": (3e7, 2e9)},
    symbols={"p_e": "exponent of the encoder", "p_d": "exponent of the decoder", "A": "alpha Nbar_e^p_e Nbar_d^p_d"},
    notes="Experimental: equation and optimal split could not be verified in the paper's text, and coefficients are "
    "not "
    "listed. The paper's alpha and reference sizes are one number here, for only their product can be determined.",
    instead="chinchilla for decoders alone.",
)
def ghorbani(N_e: Any, N_d: Any, *, L_inf: Floor, A: Amplitude, p_e: Exponent, p_d: Exponent) -> Any:
    """L(N_e, N_d) = L_inf + A / (N_e^p_e N_d^p_d)"""
    return L_inf + A * N_e**-p_e * N_d**-p_d


def encoder_decoder_split(total: Any, *, p_e: Any, p_d: Any, **_: Any) -> tuple[Any, Any]:
    """Best (N_e, N_d) of a total, in closed form: in proportion to the exponents."""
    return total * p_e / (p_e + p_d), total * p_d / (p_e + p_d)

"""Busbridge et al. 2025, Distillation Scaling Laws (arXiv:2502.08606)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Param, law
from scaling.laws.smooth import softplus

Amplitude = Annotated[float, Param(lo=0.0, start=(1e0, 1e6), unit="input^exponent")]


@law(
    cite="Busbridge 2025, arXiv:2502.08606, eq. 8",
    units="N: parameters of the student without embeddings; D: tokens distilled; L_T: loss of the teacher; L_alone: "
    "loss of the student trained without it on as many tokens; all nats/token",
    family="distillation",
    ranges={"N": (1e8, 1e10), "D": (1e9, 5e11), "L_T": (1.8, 2.8), "L_alone": (2.0, 3.2)},
    example={
        "A": 2000.0, "B": 2e4, "alpha": 0.33, "beta": 0.6, "gamma": 0.8, "c0": 2.0, "c1": 10.0, "d1": 1.2, "f1": 0.1
    },
    hold=("gamma", "c0", "c1", "d1", "f1"),
    instead="chinchilla for the student alone",
    symbols={"L_T": "loss of the teacher", "L_alone": "loss of the student trained alone",
             "d1": "ratio of the two losses at which the teacher is too strong"},
    notes="Experimental: the equation rests on secondary sources, and the coefficients could not be checked; the "
    "example is made up. Nine parameters need sweeps of student, tokens and teacher apart.",
)  # fmt: skip
def busbridge(
    N: Any,
    D: Any,
    L_T: Any,
    L_alone: Any,
    *,
    A: Amplitude,
    B: Amplitude,
    alpha: Exponent,
    beta: Exponent,
    gamma: Annotated[float, Param(lo=0.0, hi=3.0, start=(0.2, 1.2))],
    c0: Annotated[float, Param(lo=0.0, start=(0.1, 5.0))],
    c1: Annotated[float, Param(lo=0.0, start=(0.1, 500.0))],
    d1: Annotated[float, Param(lo=0.0, start=(0.5, 2.0))],
    f1: Annotated[float, Param(lo=0.0, start=(0.02, 0.5))],
) -> Any:
    """L(N, D, L_T) = L_T + L_T^-c0 (1 + (L_T / (L_alone d1))^(1 / f1))^(-c1 f1) (A / N^alpha + B / D^beta)^gamma"""
    gap = softplus((np.log(L_T) - np.log(L_alone) - np.log(d1)) / f1)
    return L_T + np.exp(-c0 * np.log(L_T) - c1 * f1 * gap) * (A * N**-alpha + B * D**-beta) ** gamma


def distillation_flops(N: Any, D: Any, N_T: Any, logits: Any = 1.0, D_T: Any = 0.0) -> Any:
    """FLOP of distilling, 6 N D, with the teacher's forward passes, 2 N_T D (`logits`: the share that must be
    computed), and the teacher's own training on D_T tokens, 6 N_T D_T (0: it was there)."""
    return 6 * N * D + N_T * (2 * logits * D + 6 * D_T)

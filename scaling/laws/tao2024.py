"""Tao et al. 2024, Scaling Laws with Vocabulary: Larger Models Deserve Larger Vocabularies (arXiv:2407.13623)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Param, law

MILLION, BILLION = 1e6, 1e9
Term = Annotated[float, Param(lo=0.0, linear=True, start=(1e-2, 1e2), unit="nats")]


@law(
    cite="Tao 2024, arXiv:2407.13623, approach 3, coefficients of the authors' code",
    published={
        "tao2024": {
            "E": 5.5327846803337435,
            "A1": 1.8313851559554126,
            "A2": 0.19584238398665638,
            "B": 2.1241123120064955,
            "a1": 0.44660634152009615,
            "a2": 0.6707374679896795,
            "b": 0.44660634152009615,
        }
    },
    units="N_nv: parameters besides the vocabulary's; N_v: vocabulary times width; D: tokens; loss_u: the loss less "
    "that of a unigram model, nats/token",
    family="vocabulary",
    predicts="loss_u",
    signed=True,
    ranges={"N_nv": (3.3e7, 1.1e9), "N_v": (3e6, 1e8), "D": (5e8, 3e10)},
    instead="chinchilla for one vocabulary",
    symbols={
        "E": "loss below the unigram's that no size reaches", "A1": "what parameters lack",
        "A2": "what the vocabulary lacks", "B": "what tokens lack", "loss_u": "loss less the unigram's",
    },
    notes="In the equation N_nv and N_v count in millions, D in billions. The paper ties a1 to b (tie={'a1': 'b'}). "
    "The authors' fitting code overstates D by about 3; best_vocabulary, as theirs, uses the true D = F / (6 N).",
)  # fmt: skip
def tao(
    N_nv: Any, N_v: Any, D: Any, *, E: Term, A1: Term, A2: Term, B: Term, a1: Exponent, a2: Exponent, b: Exponent
) -> Any:
    """loss_u(N_nv, N_v, D) = -E + A1 / N_nv^a1 + A2 / N_v^a2 + B / D^b"""
    return -E + A1 * (N_nv / MILLION) ** -a1 + A2 * (N_v / MILLION) ** -a2 + B * (D / BILLION) ** -b


def tokens_of(characters: Any, V: Any) -> Any:
    """Tokens that so many characters make with a vocabulary of V, at most 200,000 (the paper's fit)."""
    log_v = np.log(np.minimum(np.asarray(V, dtype=float), 2e5))
    return characters * (0.00639222 * log_v**2 - 0.15811069 * log_v + 1.20470122)


def budget_of(N_nv: Any) -> Any:
    """FLOP at which N_nv parameters besides the vocabulary's are optimal (approach 1)."""
    return (N_nv / np.exp(-2.4846510161625193)) ** 2


def vocabulary_by_flops(F: Any) -> Any:
    """Vocabulary parameters N_v of least loss at F FLOP, by isoFLOP curves (approach 1)."""
    return np.exp(-1.589031299255507) * np.asarray(F, dtype=float) ** 0.4163622634135234


def vocabulary_by_derivative(N_nv: Any) -> Any:
    """Vocabulary parameters N_v of least loss beside N_nv others, by the derivative of the budget (approach 2)."""
    return 3145728 * (np.asarray(N_nv, dtype=float) / 33e6) ** 0.8353974035228025


def best_vocabulary(N_nv: float, width: float, F: float, **p: Any) -> float:
    """Vocabulary parameters N_v of least loss at F = 6 (N_nv + N_v) D FLOP, by the law (approach 3).

    The loss falls and then rises along V: the root of its derivative, bracketed between 1 and 10^9 entries.
    """
    lo, hi = np.log(width), np.log(1e9 * width)
    for _ in range(200):
        log_v = (lo + hi) / 2
        N_v = np.exp(log_v)
        D = F / (6 * (N_nv + N_v))
        by_vocabulary = p["a2"] * p["A2"] * (N_v / MILLION) ** -p["a2"]
        by_data = p["b"] * p["B"] * (D / BILLION) ** -p["b"] * N_v / (N_nv + N_v)
        lo, hi = (log_v, hi) if by_vocabulary > by_data else (lo, log_v)
    return float(np.exp((lo + hi) / 2))

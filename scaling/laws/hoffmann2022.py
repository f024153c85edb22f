"""Hoffmann et al. 2022, Training Compute-Optimal Large Language Models (arXiv:2203.15556), and its replication by
Besiroglu et al. 2024 (arXiv:2404.10102)."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.law import Exponent, Floor, Scale, law


def _derivatives(N: Any, D: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> tuple[Any, Any, Any]:
    log_n, log_d = np.log(N), np.log(D)
    n, d = np.exp(-alpha * log_n), np.exp(-beta * log_d)
    term_n, term_d = A * n, B * d
    by_alpha, by_beta = -log_n * term_n, -log_d * term_d

    def second() -> dict[tuple[str, str], Any]:
        return {
            ("A", "alpha"): -log_n * n,
            ("alpha", "alpha"): -log_n * by_alpha,
            ("B", "beta"): -log_d * d,
            ("beta", "beta"): -log_d * by_beta,
        }

    return E + term_n + term_d, (np.ones_like(n * E), n, d, by_alpha, by_beta), second


@law(
    cite="Hoffmann 2022, arXiv:2203.15556, eq. 2 (approach 3); Besiroglu 2024, arXiv:2404.10102",
    published={
        # appendix D.3, with the digits of the paper's TeX source as read by Besiroglu 2024
        "hoffmann2022": {"E": 1.6934, "A": 406.4, "B": 410.7, "alpha": 0.3392, "beta": 0.2849},
        # as printed; the exponents' two digits move the optimum by a fifth
        "hoffmann2022_rounded": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
        "besiroglu2024": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    },
    derivatives=_derivatives,
    balance=lambda *, A, B, alpha, beta, **_: (np.log(A), alpha, np.log(B), beta),
    units="N: all parameters, embeddings included; D: tokens; loss: nats/token",
    family="language models",
    ranges={"N": (1e7, 1e10), "D": (1e9, 1e12)},
    instead="muennighoff where tokens repeat; tissue where the learning rate still falls; kaplan to compare with 2020",
    symbols={"E": "entropy of the text", "A": "what parameters lack", "B": "what tokens lack"},
    notes="A and B are poorly determined and move with alpha and beta: compare predictions, E and the exponents.",
)
def chinchilla(N: Any, D: Any, *, E: Floor, A: Scale, B: Scale, alpha: Exponent, beta: Exponent) -> Any:
    """L(N, D) = E + A / N^alpha + B / D^beta"""
    return E + A * N**-alpha + B * D**-beta


def chinchilla_optimum(C: Any, *, A: Any, B: Any, alpha: Any, beta: Any, **_: Any) -> tuple[Any, Any]:
    """Compute-optimal (N, D) at C = 6 N D FLOP, in closed form (Hoffmann 2022, eq. 4)."""
    ratio = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    return ratio * (C / 6) ** (beta / (alpha + beta)), (C / 6) ** (alpha / (alpha + beta)) / ratio


def size_exponent(*, alpha: Any, beta: Any, **_: Any) -> Any:
    """Power of compute by which the optimal N grows: beta / (alpha + beta); that of D is alpha / (alpha + beta)."""
    return beta / (alpha + beta)

"""Ge et al. 2024, BiMix: A Bivariate Data Mixing Law for Language Model Pretraining (arXiv:2405.14908)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Scale, law

Array = NDArray[np.float64]


@law(
    cite="Ge 2024, arXiv:2405.14908",
    example={"B": 20.0, "C": 1.8, "alpha": 0.1, "beta": 0.4},
    family="mixtures",
    units="r: share of the domain in the training text; D: tokens (or steps) of all domains; loss: nats/token on the "
    "domain; one model size",
    ranges={"r": (0.01, 1.0), "D": (1e8, 1e11)},
    symbols={"r": "share of the domain, above 0", "C": "loss of the domain alone after all tokens"},
    notes="A law for each domain. The paper's A is in B and C here: the five coefficients are four. Without the domain "
    "the loss has no bound.",
    instead="ye where domains help each other.",
)
def bimix(r: Any, D: Any, *, B: Scale, C: Scale, alpha: Exponent, beta: Exponent) -> Any:
    """L(r, D) = (B / D^beta + C) / r^alpha"""
    return (B * D**-beta + C) * r**-alpha


def bimix_optimum(D: float, params: list[dict[str, float]], weights: Any = None) -> Array:
    """Shares (k,) of least weighted loss of k domains after D tokens, params one set a domain.

    Where the shares' marginal gains are equal, weight alpha L / r = m, each share falls in m; the m at which they sum
    to 1 is found by bisection.
    """
    alpha = np.array([p["alpha"] for p in params])
    weight = np.ones(len(params)) if weights is None else np.asarray(weights, float)
    size = weight * np.array([bimix.function(1.0, D, **p) for p in params])
    lo, hi = np.log((alpha * size).max()), np.log((alpha * size).max()) + 60.0
    for _ in range(200):
        middle = (lo + hi) / 2
        total = np.sum(np.exp((np.log(alpha * size) - middle) / (1 + alpha)))
        lo, hi = (middle, hi) if total > 1 else (lo, middle)
    shares = np.exp((np.log(alpha * size) - lo) / (1 + alpha))
    return shares / shares.sum()

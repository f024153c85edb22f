"""Sardana et al. 2024, Beyond Chinchilla-Optimal: Accounting for Inference in Language Model Scaling Laws
(arXiv:2401.00448). The law is Hoffmann's; what is least is training and serving together, 6 N D + 2 N D_inf."""

from __future__ import annotations

from typing import Any

import numpy as np

from scaling.laws.hoffmann2022 import chinchilla


def lifetime_flops(N: Any, D: Any, D_inf: Any) -> Any:
    """FLOP of training on D tokens and serving D_inf: 6 N D + 2 N D_inf."""
    return 6 * N * D + 2 * N * D_inf


def inference_optimum(loss: Any, D_inf: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    """(N, D) that reach `loss` (nats/token) with the fewest FLOP of training and of serving D_inf tokens.

    The first-order condition alpha A / N^alpha = beta B / D^beta (1 + D_inf / (3 D)), on the line of equal loss,
    by bisection in the share of the reducible loss that N leaves. Raises ValueError where no size reaches the loss.
    """
    loss, D_inf = np.broadcast_arrays(np.asarray(loss, dtype=float), np.asarray(D_inf, dtype=float))
    if (loss <= E).any():
        raise ValueError(f"no size reaches a loss of {loss.min():g}: it must lie above E = {E:g}")
    left = loss - E
    lo, hi = np.zeros_like(left), np.ones_like(left)
    for _ in range(200):
        share = (lo + hi) / 2
        D = (B / ((1 - share) * left)) ** (1 / beta)
        # the more of the loss N leaves, the smaller the model and the more it must be trained
        smaller = alpha * share < beta * (1 - share) * (1 + D_inf / (3 * D))
        lo, hi = np.where(smaller, share, lo), np.where(smaller, hi, share)
    share = (lo + hi) / 2
    return (A / (share * left)) ** (1 / alpha), (B / ((1 - share) * left)) ** (1 / beta)


def optimum_of_quality(N: Any, D_inf: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> tuple[Any, Any]:
    """The same for the loss of a compute-optimal model of N parameters, which is the answer at D_inf = 0."""
    p = {"E": E, "A": A, "B": B, "alpha": alpha, "beta": beta}
    D = (beta * B / (alpha * A) * N**alpha) ** (1 / beta)
    return inference_optimum(chinchilla(N, D, **p), D_inf, **p)

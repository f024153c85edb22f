"""What Kaplan et al. 2020 (arXiv:2001.08361) derive from their laws: conversions between batches, the allocation of
compute, early stopping. Compute is counted without embeddings, in PF-days (8.64e19 FLOP) unless said."""

from __future__ import annotations

from typing import Any

import numpy as np

PF_DAY = 8.64e19  # FLOP

#: Table 6: amplitude at 1 PF-day and exponent of C_min. N: parameters; B: tokens an update; S: updates; D: tokens.
TABLE_6 = {"N": (1.3e9, 0.73), "B": (2.0e6, 0.24), "S": (5.4e3, 0.03), "D": (2.0e10, 0.27)}


def parameters_without_embeddings(n_layer: Any, d_model: Any) -> Any:
    """N = 12 n_layer d_model^2, for attention of width d_model and an MLP of 4 d_model (table 1)."""
    return 12 * n_layer * d_model**2


def steps_min(S: Any, B: Any, B_crit: Any) -> Any:
    """Updates that a batch far above the critical one needs for what S updates of batch B reached (eq. 5.4)."""
    return S / (1 + B_crit / B)


def compute_min(C: Any, B: Any, B_crit: Any) -> Any:
    """Compute that a batch far below the critical one would have needed (eq. 5.5), in the unit of C."""
    return C / (1 + B / B_crit)


def allocation(C_min: Any) -> dict[str, Any]:
    """N (parameters), B (tokens), S (updates) and D (tokens) of least loss at C_min PF-days, as fitted in table 6."""
    return {name: scale * np.asarray(C_min, dtype=float) ** power for name, (scale, power) in TABLE_6.items()}


def overfitting(N: Any, D: Any, *, N_c: Any, D_c: Any, alpha_N: Any, alpha_D: Any) -> Any:
    """L(N, D) / L(N, infinity) - 1: the share of the loss that finite data cost (eq. 4.3)."""
    return (1 + (N / N_c) ** (alpha_N / alpha_D) * D_c / D) ** alpha_D - 1


def data_without_overfitting(N: Any) -> Any:
    """Tokens beyond which more data lower the loss by less than the scatter between seeds, 0.02 (eq. 4.4)."""
    return 5e3 * np.asarray(N, dtype=float) ** 0.74


def earliest_stop(loss: Any, loss_at_infinite_data: Any, *, S_c: Any, alpha_S: Any, **_: Any) -> Any:
    """Least number of updates before early stopping can pay: S_c / (L(N, D) - L(N, infinity))^(1 / alpha_S)."""
    return S_c / (loss - loss_at_infinite_data) ** (1 / alpha_S)


def compute_exponent(alpha_N: Any, alpha_S: Any, alpha_B: Any) -> Any:
    """Exponent of L(C_min) that follows from the other three: 1 / (1/alpha_S + 1/alpha_B + 1/alpha_N) (eq. 6.4)."""
    return 1 / (1 / alpha_S + 1 / alpha_B + 1 / alpha_N)


def compute_scale(N_c: Any, alpha_N: Any, S_c: Any, alpha_S: Any, B_star: Any) -> Any:
    """C_c of L(C_min) = (C_c / C_min)^alpha_C that follows from the laws of N, S and B, in PF-days (appendix B.1)."""
    ratio = alpha_N / alpha_S
    flop = 6 * N_c * B_star * S_c * (1 + ratio) ** (1 / alpha_S + 1 / alpha_N) / ratio ** (1 / alpha_S)
    return flop / PF_DAY


def size_at(C_min: Any, *, C_c: Any, N_c: Any, alpha_N: Any, alpha_S: Any, alpha_B: Any) -> Any:
    """Parameters of least loss at C_min, by the laws themselves (appendix B.1)."""
    exponent = compute_exponent(alpha_N, alpha_S, alpha_B) / alpha_N
    return N_c * (C_min / C_c) ** exponent * (1 + alpha_N / alpha_S) ** (1 / alpha_N)


def excess_compute(ratio: Any, alpha_N: Any, alpha_S: Any) -> Any:
    """Compute for one loss with a model of `ratio` times the efficient size, over that of the efficient one (B.16)."""
    size = 1 + alpha_S / alpha_N * (1 - np.asarray(ratio, dtype=float) ** -alpha_N)
    return ratio * size ** (-1 / alpha_S)


def change_of_stopping(f: Any, other: Any, alpha_N: Any, alpha_S: Any) -> tuple[Any, Any, Any]:
    """Ratios of size, updates and compute, of stopping a share f above the converged loss over a share `other`, for one
    loss (B.12 to B.14)."""
    size = ((1 + f) / (1 + other)) ** (1 / alpha_N)
    steps = ((1 + 1 / f) / (1 + 1 / other)) ** (1 / alpha_S)
    return size, steps, size * steps


def data_exponent(*, alpha_N: Any, alpha_D: Any, **_: Any) -> Any:
    """Power of N by which data must grow to keep overfitting the same: alpha_N / alpha_D (eq. 4.4)."""
    return alpha_N / alpha_D


def tokens_at_critical_batch(C_min: Any) -> Any:
    """Tokens of the fitted optimal size (table 6) trained at the critical batch, where compute is twice the least."""
    flop = 2 * np.asarray(C_min, dtype=float) * PF_DAY
    return flop / (6 * allocation(C_min)["N"])


def loss_fall_that_doubles_the_batch(alpha_B: Any) -> Any:
    """Share by which the loss falls while the critical batch doubles: 1 - 2^-alpha_B."""
    return 1 - 2.0**-alpha_B

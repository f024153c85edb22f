"""Kaplan et al. 2020, Scaling Laws for Neural Language Models (arXiv:2001.08361)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Param, law
from scaling.projection import nonnegative_least_squares

_SIZE = Param(lo=0.0, start=(1e-6, 1e6))


def _gradient(N: Any, D: Any, *, N_c: Any, D_c: Any, alpha_N: Any, alpha_D: Any) -> tuple[Any, ...]:
    log_n, ratio = np.log(N_c / N), alpha_N / alpha_D
    n, d = np.exp(ratio * log_n), D_c / D
    total = n + d
    loss = total**alpha_D
    slope = alpha_D * loss / total
    return (
        slope * n * ratio / N_c,
        slope * d / D_c,
        slope * n * log_n / alpha_D,
        loss * np.log(total) - slope * n * log_n * ratio / alpha_D,
    )


def _starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # L^(1 / alpha_D) is linear in N_c^(alpha_N / alpha_D) and D_c once both exponents are known.
    log_n, log_d = np.log(inputs["N"]), np.log(inputs["D"])
    mean_n, mean_d = log_n.mean(), log_d.mean()
    starts = []
    for alpha_n, alpha_d in product(np.geomspace(0.03, 0.8, 9), repeat=2):
        columns = np.stack([np.exp(-alpha_n / alpha_d * (log_n - mean_n)), np.exp(mean_d - log_d)])
        target = np.exp(np.log(loss / loss.mean()) / alpha_d)
        (n, d), _ = nonnegative_least_squares(columns[None] / target, np.ones_like(loss))
        if min(n[0], d[0]) <= 0:
            continue
        common = np.log(loss.mean()) / alpha_d
        log_nc = mean_n + (np.log(n[0]) + common) * alpha_d / alpha_n
        log_dc = mean_d + np.log(d[0]) + common
        if max(abs(log_nc), abs(log_dc)) < 600:
            starts.append(
                {"N_c": np.exp(log_nc), "D_c": np.exp(log_dc), "alpha_N": float(alpha_n), "alpha_D": float(alpha_d)}
            )
    return starts


@law(
    cite="Kaplan 2020, arXiv:2001.08361, eq. 1.5 and table 2",
    published={"kaplan2020": {"N_c": 6.4e13, "D_c": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103}},
    gradient=_gradient,
    starts=_starts,
    units="N: parameters without embeddings; D: tokens of a data set trained on to early stopping; loss: nats/token",
    family="language models",
    ranges={"N": (1e7, 1e10), "D": (1e9, 1e12)},
    instead="chinchilla, which has a floor, for forecasts and budgets",
    symbols={"N_c": "scale of N where its term is 1 nat", "D_c": "the same of D"},
    notes="No irreducible loss: forecasts far beyond the data fall too low. The paper has three pairs (N_c, alpha_N); "
    "these are the ones of the joint fit.",
)
def kaplan(
    N: Any,
    D: Any,
    *,
    N_c: Annotated[float, Param(lo=0.0, start=_SIZE.start, unit="parameters", of="N")],
    D_c: Annotated[float, Param(lo=0.0, start=_SIZE.start, unit="tokens", of="D")],
    alpha_N: Exponent,
    alpha_D: Exponent,
) -> Any:
    """L(N, D) = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D"""
    return ((N_c / N) ** (alpha_N / alpha_D) + D_c / D) ** alpha_D

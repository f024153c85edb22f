"""A family between two published laws: how the lack of parameters and the lack of data add up to one loss.

Hoffmann 2022 (arXiv:2203.15556, eq. 2) adds the two terms; Kaplan 2020 (arXiv:2001.08361, eq. 1.5) joins them under the
exponent of D, without a floor. One more parameter, k, holds both: k = 1 is the sum, and k tied to beta is Kaplan's
joint law with a floor. The family is this project's own; there are no published coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Floor, Param, law
from scaling.projection import nonnegative_least_squares

Amplitude = Annotated[float, Param(lo=0.0, unit="nats/token x input^exponent")]
#: exp(-2.5) to exp(1.5): below, the joint term is the larger of the two; above, it is all but their product.
Joint = Annotated[float, Param(lo=0.08, hi=4.5, start=(0.3, 2.0))]


def _derivatives(N: Any, D: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any, k: Any) -> tuple[Any, Any, Any]:
    # The joint term depends on n = ln(A / N^alpha), d = ln(B / D^beta) and k; p and q are the shares of the two.
    log_n, log_d = np.log(N), np.log(D)
    n, d = np.log(A) - alpha * log_n, np.log(B) - beta * log_d
    both = np.logaddexp(n / k, d / k)
    term, p, q = np.exp(k * both), np.exp(n / k - both), np.exp(d / k - both)
    by_n, by_d, rate = term * p, term * q, both - (p * n + q * d) / k

    def second() -> dict[tuple[str, str], Any]:
        tilt = p * q * (n - d) / k**2
        nn, nd, dd = by_n * (p + q / k), by_n * q * (1 - 1 / k), by_d * (q + p / k)
        nk, dk = by_n * rate - term * tilt, by_d * rate + term * tilt
        return {
            ("A", "A"): (nn - by_n) / A**2,
            ("A", "B"): nd / (A * B),
            ("A", "alpha"): -nn * log_n / A,
            ("A", "beta"): -nd * log_d / A,
            ("A", "k"): nk / A,
            ("B", "B"): (dd - by_d) / B**2,
            ("B", "alpha"): -nd * log_n / B,
            ("B", "beta"): -dd * log_d / B,
            ("B", "k"): dk / B,
            ("alpha", "alpha"): nn * log_n**2,
            ("alpha", "beta"): nd * log_n * log_d,
            ("alpha", "k"): -nk * log_n,
            ("beta", "beta"): dd * log_d**2,
            ("beta", "k"): -dk * log_d,
            ("k", "k"): term * (rate**2 + tilt * (n - d) / k),
        }

    first = (np.ones_like(term * E), by_n / A, by_d / B, -by_n * log_n, -by_d * log_d, term * rate)
    return E + term, first, second


def _starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # At k = 1 the law is linear in E, A and B once the exponents are known; other k start from the same terms.
    log_n, log_d = np.log(inputs["N"]), np.log(inputs["D"])
    mean_n, mean_d = log_n.mean(), log_d.mean()
    pairs = np.array(list(product(np.geomspace(0.08, 1.0, 7), repeat=2)))
    columns = np.stack(
        [
            np.ones((len(pairs), len(loss))),
            np.exp(-pairs[:, :1] * (log_n - mean_n)),
            np.exp(-pairs[:, 1:] * (log_d - mean_d)),
        ],
        axis=1,
    )
    solved, _ = nonnegative_least_squares(columns / loss, np.ones_like(loss))
    floor, n, d = np.maximum(solved, loss.min() * np.array([[0.05], [0.01], [0.01]]))
    return [
        {
            "E": float(floor[i]), "A": float(n[i] * np.exp(alpha * mean_n)), "B": float(d[i] * np.exp(beta * mean_d)),
            "alpha": float(alpha), "beta": float(beta), "k": k,
        }
        for i, (alpha, beta) in enumerate(pairs)
        for k in (1.0, 0.45, 1.65)
    ]  # fmt: skip


@law(
    cite="Hoffmann 2022 and Kaplan 2020, joined by k: arXiv:2203.15556, eq. 2; arXiv:2001.08361, eq. 1.5",
    derivatives=_derivatives,
    balance=lambda *, A, B, alpha, beta, k, **_: (np.log(A) / k, alpha / k, np.log(B) / k, beta / k),
    starts=_starts,
    units="N: parameters, counted the same way in every row; D: tokens; loss: nats/token",
    family="language models",
    ranges={"N": (1e7, 1e10), "D": (1e9, 1e12)},
    example={"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37, "k": 0.7},
    instead="chinchilla (k = 1) for forecasts, unless a prior holds k",
    symbols={"k": "how the two terms join: 1 is a sum, less is nearer to the larger of the two"},
    notes="A free k is poorly determined, and forecasts worse than k = 1 unless a prior holds it; with k tied to beta "
    "this is Kaplan's joint law and a floor.",
)
def skaling(N: Any, D: Any, *, E: Floor, A: Amplitude, B: Amplitude, alpha: Exponent, beta: Exponent, k: Joint) -> Any:
    """L(N, D) = E + ((A / N^alpha)^(1/k) + (B / D^beta)^(1/k))^k"""
    both = np.logaddexp((np.log(A) - alpha * np.log(N)) / k, (np.log(B) - beta * np.log(D)) / k)
    return E + np.exp(k * both)

"""Kaplan et al. 2020, Scaling Laws for Neural Language Models (arXiv:2001.08361)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Param, Size, law
from scaling.projection import nonnegative_least_squares

_SIZE = Param(lo=0.0, start=(1e-6, 1e6))


def _derivatives(N: Any, D: Any, *, N_c: Any, D_c: Any, alpha_N: Any, alpha_D: Any) -> tuple[Any, Any, Any]:
    # The loss is exp(alpha_D ln(e^n + e^d)), n = alpha_N / alpha_D ln(N_c / N), d = ln(D_c / D); p and q are the shares
    # of the two terms.
    ratio, size = alpha_N / alpha_D, np.log(N_c / N)
    n, d = ratio * size, np.log(D_c / D)
    both = np.logaddexp(n, d)
    loss, p, q = np.exp(alpha_D * both), np.exp(n - both), np.exp(d - both)
    by_n, by_d = alpha_D * loss * p, alpha_D * loss * q
    # derivatives of n by N_c, alpha_N and alpha_D
    n_c, n_a, n_b = ratio / N_c, size / alpha_D, -n / alpha_D

    def second() -> dict[tuple[str, str], Any]:
        nn, nd, dd = by_n * (alpha_D * p + q), by_n * q * (alpha_D - 1), by_d * (alpha_D * q + p)
        rate = 1 / alpha_D + both
        n_and_b, d_and_b = nn * n_b + by_n * rate, nd * n_b + by_d * rate
        return {
            ("N_c", "N_c"): (nn * ratio - by_n) * n_c / N_c,
            ("N_c", "D_c"): nd * n_c / D_c,
            ("N_c", "alpha_N"): (nn * n + by_n) / (alpha_D * N_c),
            ("N_c", "alpha_D"): (n_and_b - by_n / alpha_D) * n_c,
            ("D_c", "D_c"): (dd - by_d) / D_c**2,
            ("D_c", "alpha_N"): nd * n_a / D_c,
            ("D_c", "alpha_D"): d_and_b / D_c,
            ("alpha_N", "alpha_N"): nn * n_a**2,
            ("alpha_N", "alpha_D"): (n_and_b - by_n / alpha_D) * n_a,
            ("alpha_D", "alpha_D"): (nn * n_b + 2 * by_n * rate) * n_b + by_n * 2 * n / alpha_D**2 + loss * both**2,
        }

    return loss, (by_n * n_c, by_d / D_c, by_n * n_a, loss * both + by_n * n_b), second


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
    derivatives=_derivatives,
    balance=lambda *, N_c, D_c, alpha_N, alpha_D: (
        np.log(N_c) * alpha_N / alpha_D,
        alpha_N / alpha_D,
        np.log(D_c),
        1.0,
    ),
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


def _power_derivatives(x: Any, *, x_c: Any, alpha: Any) -> tuple[Any, Any, Any]:
    ratio = np.log(x_c) - np.log(x)
    value = np.exp(alpha * ratio)
    by_x_c = alpha / x_c * value

    def second() -> dict[tuple[str, str], Any]:
        return {
            ("x_c", "x_c"): (alpha - 1) / x_c * by_x_c,
            ("x_c", "alpha"): (1 + alpha * ratio) / x_c * value,
            ("alpha", "alpha"): ratio**2 * value,
        }

    return value, (by_x_c, ratio * value), second


def _power_starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    slope, level = np.polyfit(np.log(inputs["x"]), np.log(loss), 1)
    alpha = float(np.clip(-slope, 1e-3, 2.9))
    return [{"x_c": float(np.exp(np.clip(level / alpha, -600, 600))), "alpha": alpha}]


@law(
    cite="Kaplan 2020, arXiv:2001.08361, eq. 1.1 to 1.3; floorless rows of Henighan 2020, arXiv:2010.14701, table 1",
    published={
        "kaplan2020_N": {"x_c": 8.8e13, "alpha": 0.076},
        "kaplan2020_D": {"x_c": 5.4e13, "alpha": 0.095},
        # C in PF-days: at a fixed batch of 2^19 tokens, and at a batch far below the critical one (C_min)
        "kaplan2020_C": {"x_c": 1.6e7, "alpha": 0.057},
        "kaplan2020_C_min": {"x_c": 3.1e8, "alpha": 0.050},
        "henighan2020_language_N": {"x_c": 1.47e14, "alpha": 0.070},
        "henighan2020_language_C": {"x_c": 3.47e8, "alpha": 0.048},
        "henighan2020_text_to_image_text_N": {"x_c": 5.6e8, "alpha": 0.037},
        "henighan2020_image_to_text_text_N": {"x_c": 7.0e8, "alpha": 0.039},
    },
    derivatives=_power_derivatives,
    starts=_power_starts,
    units="x: N without embeddings, D of a data set trained on to early stopping, or C without embeddings in PF-days "
    "(8.64e19 FLOP); loss: nats/token",
    ranked=False,
    family="language models",
    ranges={"x": (1e3, 1e9)},
    ranges_for={
        "kaplan2020_D": {"x": (2e7, 2.3e10)},
        "kaplan2020_C": {"x": (1e-7, 1e1)},
        "kaplan2020_C_min": {"x": (1e-7, 1e1)},
        "henighan2020_language_C": {"x": (1e-5, 4e3)},
    },
    instead="power, which has a floor; kaplan or chinchilla where N and D vary apart",
    symbols={"x": "N, D or C, the column that x= names", "x_c": "scale of x where the loss is 1"},
    notes="The other variables must not bind: N at unlimited data, D at unlimited size. C at a fixed batch and C_min "
    "are different variables; compute_min leads from one to the other.",
)
def kaplan_power(x: Any, *, x_c: Size, alpha: Exponent) -> Any:
    """L(x) = (x_c / x)^alpha"""
    return np.exp(alpha * (np.log(x_c) - np.log(x)))


def _steps_derivatives(N: Any, S_min: Any, *, N_c: Any, alpha_N: Any, S_c: Any, alpha_S: Any) -> tuple[Any, Any, Any]:
    value_n, (by_nc, by_an), second_n = _power_derivatives(N, x_c=N_c, alpha=alpha_N)
    value_s, (by_sc, by_as), second_s = _power_derivatives(S_min, x_c=S_c, alpha=alpha_S)

    def second() -> dict[tuple[str, str], Any]:
        named = {"x_c": ("N_c", "S_c"), "alpha": ("alpha_N", "alpha_S")}
        found: dict[tuple[str, str], Any] = {}
        for i, part in enumerate((second_n(), second_s())):
            found |= {(named[a][i], named[b][i]): value for (a, b), value in part.items()}
        return found

    return value_n + value_s, (by_nc, by_an, by_sc, by_as), second


def _steps_starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # The two amplitudes are linear once the exponents are known.
    log_n, log_s = np.log(inputs["N"]), np.log(inputs["S_min"])
    mean_n, mean_s = log_n.mean(), log_s.mean()
    starts = []
    for alpha_n, alpha_s in product(np.geomspace(0.03, 0.6, 8), np.geomspace(0.2, 1.6, 8)):
        columns = np.stack([np.exp(-alpha_n * (log_n - mean_n)), np.exp(-alpha_s * (log_s - mean_s))])
        (n, s), _ = nonnegative_least_squares(columns[None] / loss, np.ones_like(loss))
        log_nc = mean_n + np.log(max(n[0], 1e-3 * loss.min())) / alpha_n
        log_sc = mean_s + np.log(max(s[0], 1e-3 * loss.min())) / alpha_s
        if max(abs(log_nc), abs(log_sc)) < 600:
            found = {"N_c": np.exp(log_nc), "alpha_N": alpha_n, "S_c": np.exp(log_sc), "alpha_S": alpha_s}
            starts.append({name: float(value) for name, value in found.items()})
    return starts


@law(
    cite="Kaplan 2020, arXiv:2001.08361, eq. 1.6 and table 3",
    published={"kaplan2020": {"N_c": 6.5e13, "alpha_N": 0.077, "S_c": 2.1e3, "alpha_S": 0.76}},
    derivatives=_steps_derivatives,
    starts=_steps_starts,
    units="N: parameters without embeddings; S_min: updates at a batch far above the critical one; loss: nats/token",
    family="language models",
    ranges={"N": (1e6, 1e9), "S_min": (1e3, 2e5)},
    instead="tissue, which reads any schedule; chinchilla for finished runs",
    symbols={"N_c": "scale of N where its term is 1 nat", "S_c": "the same of S_min"},
    notes="S_min is not the number of steps taken: steps_min converts, and needs the critical batch at that loss. "
    "Curves count from after the warm-up.",
)
def kaplan_steps(
    N: Any,
    S_min: Any,
    *,
    N_c: Annotated[float, Param(lo=0.0, start=_SIZE.start, unit="parameters", of="N")],
    alpha_N: Exponent,
    S_c: Annotated[float, Param(lo=0.0, start=_SIZE.start, unit="updates", of="S_min")],
    alpha_S: Exponent,
) -> Any:
    """L(N, S_min) = (N_c / N)^alpha_N + (S_c / S_min)^alpha_S"""
    return np.exp(alpha_N * (np.log(N_c) - np.log(N))) + np.exp(alpha_S * (np.log(S_c) - np.log(S_min)))


@law(
    cite="Kaplan 2020, arXiv:2001.08361, eq. 5.3 and table 5",
    # table 5, and the rounder value of the text
    published={"kaplan2020": {"B_star": 2.1e8, "alpha_B": 0.21}, "kaplan2020_text": {"B_star": 2e8, "alpha_B": 0.21}},
    units="L: nats/token; batch_crit: tokens an update",
    family="hyper-parameters",
    predicts="batch_crit",
    unit="tokens",
    ranges={"L": (2.0, 6.0)},
    instead="mccandlish to measure a critical batch from runs; zhang_batch where it is a function of D",
    symbols={"L": "training loss reached", "B_star": "critical batch at a loss of 1 nat"},
)
def kaplan_batch(
    L: Any,
    *,
    B_star: Annotated[float, Param(lo=0.0, start=(1e6, 1e10), linear=True, unit="tokens")],
    alpha_B: Annotated[float, Param(lo=0.0, hi=3.0, start=(0.1, 1.0))],
) -> Any:
    """B_crit(L) = B_star / L^(1 / alpha_B)"""
    return B_star * np.exp(-np.log(L) / alpha_B)

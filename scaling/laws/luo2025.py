"""Luo et al. 2025, A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules (arXiv:2503.12811)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Param, Scale, law
from scaling.pooling import Kind
from scaling.trajectory import Trajectory

Amplitude = Annotated[float, Param(lo=0.0, linear=True, unit="nats/token per unit of learning rate")]
Rate = Annotated[float, Param(lo=0.0, start=(0.05, 500.0), unit="learning rate^(gamma - 1)")]
Saturation = Annotated[float, Param(lo=0.0, hi=3.0, start=(0.1, 1.0))]
#: Below 1, or a drop of the learning rate to 0 would be credited in full at once (see docs/annealing.md).
Sharpness = Annotated[float, Param(lo=0.0, hi=1.0, start=(0.05, 0.8))]


def _derivatives(
    kind: Kind, schedule: Trajectory, L0: Any, A: Any, alpha: Any, B: Any, C: Any, beta: Any, gamma: Any
) -> tuple[Any, Any, Any]:
    past, log_s = schedule.past(kind), schedule.log_area
    log_lag, log_lr, _ = past.logs
    power = np.exp(-alpha * log_s)
    y = C * np.exp(log_lag - gamma * log_lr)
    log_y1 = np.log1p(y)
    rest, share = np.exp(-beta * log_y1), y / (1 + y)
    by_log_c = beta * rest * share
    gain, by_c, by_beta = past.sum(1 - rest), past.sum(by_log_c), past.sum(log_y1 * rest)
    by_gamma = past.sum(-log_lr * by_log_c)
    first = (
        np.ones_like(power + gain), power, -log_s * A * power, -gain, -B * by_c / C, -B * by_beta, -B * by_gamma,
    )  # fmt: skip

    def second() -> dict[tuple[str, str], Any]:
        bend = by_log_c * (1 - share - beta * share)
        cross = rest * share * (1 - beta * log_y1)
        return {
            ("A", "alpha"): -log_s * power, ("alpha", "alpha"): log_s**2 * A * power,
            ("B", "C"): -by_c / C, ("B", "beta"): -by_beta, ("B", "gamma"): -by_gamma,
            ("C", "C"): -B * (past.sum(bend) - by_c) / C**2, ("C", "beta"): -B * past.sum(cross) / C,
            ("C", "gamma"): -B * past.sum(-log_lr * bend) / C, ("beta", "beta"): B * past.sum(log_y1**2 * rest),
            ("beta", "gamma"): -B * past.sum(-log_lr * cross), ("gamma", "gamma"): -B * past.sum(log_lr**2 * bend),
        }  # fmt: skip

    return L0 + A * power - B * gain, first, second


def _drops(schedule: Trajectory, **params: Any) -> tuple[Any, Any, Any]:
    return _derivatives("drops", schedule, **params)


def _all_drops(schedule: Trajectory, **params: Any) -> tuple[Any, Any, Any]:
    return _derivatives("all drops", schedule, **params)


def _tied(schedule: Trajectory, *, beta: Any, **params: Any) -> tuple[Any, Any, Any]:
    value, (*others, by_beta, by_gamma), more = _derivatives("drops", schedule, beta=beta, gamma=beta, **params)

    def second() -> dict[tuple[str, str], Any]:
        found: dict[tuple[str, str], Any] = {}
        for (a, b), column in more().items():
            pair = ("beta" if a == "gamma" else a, "beta" if b == "gamma" else b)
            found[pair] = found.get(pair, 0.0) + column * (2 if (a, b) == ("beta", "gamma") else 1)
        return found

    return value, (*others, by_beta + by_gamma), second


def _multi_power(
    kind: Kind, schedule: Trajectory, L0: Any, A: Any, alpha: Any, B: Any, C: Any, beta: Any, gamma: Any
) -> Any:
    past = schedule.past(kind)
    return L0 + A * schedule.area**-alpha - B * past.sum(1 - (1 + C * past.lr**-gamma * past.lag) ** -beta)


_CITE = "Luo 2025, arXiv:2503.12811, eq. 1"
_UNITS = "schedule: learning rate of every update, warm-up included; loss: nats/token"


@law(
    cite=_CITE,
    derivatives=_drops,
    family="learning-rate annealing",
    instead="ncl, which predicts held-out curves better and several peak rates",
    example={"L0": 2.7, "A": 0.55, "alpha": 0.5, "B": 420.0, "C": 2.0, "beta": 0.55, "gamma": 0.6},
    units=_UNITS,
    notes="Drops are counted after the warm-up, as in the paper's formula; the published parameters belong to "
    "mpl_rises. B, C, beta and gamma are hardly determined one by one. One peak learning rate a fit.",
)
def mpl(
    schedule: Trajectory, *, L0: Floor, A: Scale, alpha: Exponent, B: Amplitude, C: Rate, beta: Saturation,
    gamma: Sharpness,
) -> Any:  # fmt: skip
    """L(t) = L0 + A S1^-alpha - B sum_k (lr_{k-1} - lr_k) G(lr_k^-gamma S_k(t)), G(x) = 1 - (1 + C x)^-beta"""
    return _multi_power("drops", schedule, L0, A, alpha, B, C, beta, gamma)


@law(
    cite=_CITE,
    published={
        # the authors' repository; their code counts the warm-up's rises, without which these do not reproduce
        "luo2025_25M": {
            "L0": 3.04045406, "A": 0.52468604, "alpha": 0.50786857, "B": 363.78751622, "C": 2.06560812,
            "beta": 0.58279013, "gamma": 0.64142257,
        },
        "luo2025_100M": {
            "L0": 2.6514477, "A": 0.60115152, "alpha": 0.45295811, "B": 437.9464276, "C": 2.13245612,
            "beta": 0.59785199, "gamma": 0.65523644,
        },
        "luo2025_400M": {
            "L0": 2.37474466, "A": 0.65421216, "alpha": 0.42878731, "B": 523.42464371, "C": 2.02462735,
            "beta": 0.59350493, "gamma": 0.63472457,
        },
    },
    derivatives=_all_drops,
    family="learning-rate annealing",
    instead="ncl for forecasts; mpl for the formula as printed",
    units=_UNITS,
    notes="mpl with the warm-up's rises counted as negative drops, as in the authors' code: what the published "
    "parameters mean, and the form that can tell peak learning rates apart.",
)  # fmt: skip
def mpl_rises(
    schedule: Trajectory, *, L0: Floor, A: Scale, alpha: Exponent, B: Amplitude, C: Rate, beta: Saturation,
    gamma: Sharpness,
) -> Any:  # fmt: skip
    """L(t) = L0 + A S1^-alpha - B sum_k (lr_{k-1} - lr_k) G(lr_k^-gamma S_k(t)), k from the first update on"""
    return _multi_power("all drops", schedule, L0, A, alpha, B, C, beta, gamma)


@law(
    cite="Luo 2025, arXiv:2503.12811, eq. 1, with gamma = beta",
    derivatives=_tied,
    family="learning-rate annealing",
    instead="ncl, which predicts held-out curves better and several peak rates",
    example={"L0": 2.7, "A": 0.55, "alpha": 0.5, "B": 420.0, "C": 2.0, "beta": 0.55},
    units=_UNITS,
    notes="One exponent fewer than mpl, and better determined: held-out curves are predicted no worse.",
)
def mpl_tied(
    schedule: Trajectory, *, L0: Floor, A: Scale, alpha: Exponent, B: Amplitude, C: Rate,
    beta: Annotated[float, Param(lo=0.0, hi=1.0, start=(0.1, 0.8))],
) -> Any:  # fmt: skip
    """L(t) = L0 + A S1^-alpha - B sum_k (lr_{k-1} - lr_k) G(lr_k^-beta S_k(t)), G(x) = 1 - (1 + C x)^-beta"""
    return _multi_power("drops", schedule, L0, A, alpha, B, C, beta, beta)

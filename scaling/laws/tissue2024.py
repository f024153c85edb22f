"""Tissue, Wang & Wang 2024, Scaling Law with Learning Rate Annealing (arXiv:2408.11029)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Exponent, Floor, Memory, Param, Scale, law
from scaling.laws.noise import REFERENCE
from scaling.trajectory import Trajectory


def _power(schedule: Trajectory, *, L0: Any, A: Any, alpha: Any) -> tuple[Any, Any, Any]:
    log_s = schedule.log_area
    power = np.exp(-alpha * log_s)

    def second() -> dict[tuple[str, str], Any]:
        return {("A", "alpha"): -log_s * power, ("alpha", "alpha"): log_s**2 * A * power}

    return L0 + A * power, (np.ones_like(L0 + power), power, -log_s * A * power), second


def _annealing(schedule: Trajectory, *, L0: Any, A: Any, alpha: Any, C: Any, lam: Any) -> tuple[Any, Any, Any]:
    value, first, more = _power(schedule, L0=L0, A=A, alpha=alpha)
    s2, by_lam, bend = schedule.annealing_slopes(lam)

    def second() -> dict[tuple[str, str], Any]:
        return more() | {("C", "lam"): -by_lam, ("lam", "lam"): -C * bend}

    return value - C * s2, (*first, -s2, -C * by_lam), second


def _annealing_of_sizes(
    schedule: Trajectory, N: Any, *, L0: Any, A: Any, alpha: Any, B: Any, beta: Any, C: Any, gamma: Any, lam: Any
) -> tuple[Any, Any, Any]:
    value, first, more = _power(schedule, L0=L0, A=A, alpha=alpha)
    s2, by_lam, bend = schedule.annealing_slopes(lam)
    log_n = np.log(N / REFERENCE)
    small, large = np.exp(-beta * log_n), np.exp(gamma * log_n)

    def second() -> dict[tuple[str, str], Any]:
        return more() | {
            ("B", "beta"): -log_n * small, ("beta", "beta"): log_n**2 * B * small, ("C", "gamma"): -log_n * large * s2,
            ("gamma", "gamma"): -(log_n**2) * C * large * s2, ("C", "lam"): -large * by_lam,
            ("gamma", "lam"): -log_n * C * large * by_lam, ("lam", "lam"): -C * large * bend,
        }  # fmt: skip

    by = (small, -log_n * B * small, -large * s2, -log_n * C * large * s2, -C * large * by_lam)
    return value + B * small - C * large * s2, (*first, *by), second


@law(
    cite="Tissue 2024, arXiv:2408.11029, eq. 1",
    published={
        # the authors' example: constant and cosine, 20k steps at a peak of 2e-4, lam held at 0.999
        "tissue2024": {"L0": 2.62779655, "A": 0.42966514, "alpha": 0.54984562, "C": 0.41077247, "lam": 0.999}
    },
    derivatives=_annealing,
    units="schedule: learning rate of every update, warm-up included; loss: nats/token",
    family="learning-rate annealing",
    instead="chinchilla for finished runs of several sizes",
    symbols={"schedule": "learning rate of every update", "lam": "share of the momentum that survives one step"},
    notes="C is determined only by curves whose learning rate falls. C S2 grows when steps at learning rate 0 are "
    "appended, so the law must not choose schedules. One peak learning rate and one model size a fit.",
)
def tissue(schedule: Trajectory, *, L0: Floor, A: Scale, alpha: Exponent, C: Scale, lam: Memory) -> Any:
    """L(s) = L0 + A S1(s)^-alpha - C S2(s; lam)"""
    return L0 + A * schedule.area**-alpha - C * schedule.annealing(lam)


@law(
    cite="Tissue 2024, arXiv:2408.11029; with N as in arXiv:2505.07796, appendix E",
    derivatives=_annealing_of_sizes,
    family="learning-rate annealing",
    instead="ncl_sizes",
    example={
        "L0": 2.0,
        "A": 0.45,
        "alpha": 0.5,
        "B": 0.7,
        "beta": 0.25,
        "C": 0.5,
        "gamma": 0.2,
        "lam": 0.998,
    },
    units="schedule: learning rate of every update, warm-up included; N: parameters without embeddings; loss: "
    "nats/token",
    notes="Amplitudes are those at N = 1e8. Needs 3 sizes, better 4. C S2 grows when steps at learning rate 0 are "
    "appended, so the law must not choose schedules.",
)
def tissue_sizes(
    schedule: Trajectory, N: Any, *, L0: Floor, A: Scale, alpha: Exponent, B: Scale, beta: Exponent, C: Scale,
    gamma: Annotated[float, Param(start=(-0.2, 0.6))], lam: Memory,
) -> Any:  # fmt: skip
    """L(s, N) = L0 + A S1^-alpha + B n^-beta - C n^gamma S2(s; lam), n = N / 1e8"""
    n = N / REFERENCE
    annealed = C * n**gamma * schedule.annealing(lam)
    return L0 + A * schedule.area**-alpha + B * n**-beta - annealed


@law(
    cite="the first two terms of Tissue 2024, arXiv:2408.11029, eq. 1",
    derivatives=_power,
    family="learning-rate annealing",
    instead="ncl",
    example={"L0": 2.7, "A": 0.5, "alpha": 0.5},
    units="schedule: learning rate of every update, warm-up included; loss: nats/token",
    notes="A baseline: it knows how much learning rate was spent and nothing of when. Use ncl.",
)
def area_power(schedule: Trajectory, *, L0: Floor, A: Scale, alpha: Exponent) -> Any:
    """L(s) = L0 + A S1(s)^-alpha"""
    return L0 + A * schedule.area**-alpha

"""Tissue, Wang & Wang 2024, Scaling Law with Learning Rate Annealing (arXiv:2408.11029)."""

from __future__ import annotations

from typing import Any

from scaling.law import Exponent, Floor, Memory, Scale, law
from scaling.trajectory import Trajectory


@law(
    cite="Tissue 2024, arXiv:2408.11029, eq. 1",
    published={
        # the authors' example: constant and cosine, 20k steps at a peak of 2e-4, lam held at 0.999
        "tissue2024": {"L0": 2.62779655, "A": 0.42966514, "alpha": 0.54984562, "C": 0.41077247, "lam": 0.999}
    },
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

"""Cui et al. 2025, The Entropy Mechanism of Reinforcement Learning for Reasoning Language Models (arXiv:2505.22617)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Param, law

Gain = Annotated[float, Param(lo=0.0, linear=True, unit="reward")]
Level = Annotated[float, Param(lo=0.0, linear=True, unit="reward")]


@law(
    cite="Cui 2025, arXiv:2505.22617",
    example={"a": 0.2, "b": 0.7},
    predicts="R",
    unit="reward",
    signed=True,
    zero=("H",),
    family="representation",
    units="H: mean entropy of the policy over generated tokens, nats; R: reward, such as accuracy on a validation set",
    ranges={"H": (0.0, 1.2)},
    symbols={
        "H": "entropy of the policy",
        "R": "reward",
        "a": "reward that entropy buys",
        "b": "reward where exp(H) is 0",
    },
    notes="Entropy is spent for reward: at H = 0 nothing is left to spend, and R ends at b - a. Coefficients depend "
    "on model "
    "and data and are not listed. Compare entropies of one estimator only: on-policy, mean over generated tokens.",
    instead="a law of rewards over compute, where entropy is kept up on purpose.",
)
def cui(H: Any, *, a: Gain, b: Level) -> Any:
    """R(H) = -a exp(H) + b"""
    return b - a * np.exp(H)


def reward_ceiling(*, a: Any, b: Any) -> Any:
    """The reward at entropy 0, b - a: what this run can reach."""
    return b - a

"""Ludziejewski et al. 2025, Joint MoE Scaling Laws (arXiv:2502.05172)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from scaling.law import Floor, Param, Scale, law
from scaling.laws.clark2022 import saturating_experts

Falling = Annotated[float, Param(lo=-3.0, hi=0.0, start=(-0.5, -0.05))]
Slope = Annotated[float, Param(lo=-2.0, hi=2.0, start=(-0.3, 0.3))]
Drift = Annotated[float, Param(lo=-0.5, hi=0.5, start=(-0.03, 0.03))]
Least = Annotated[float, Param(lo=0.5, start=(1.2, 5.0), unit="experts")]
Most = Annotated[float, Param(lo=16.0, start=(60.0, 1000.0), unit="experts")]


@law(
    cite="Ludziejewski 2025, arXiv:2502.05172, table 3",
    published={
        "ludziejewski2025": {
            "a": 35.91, "alpha": -0.1889, "delta": -0.2285, "gamma": 0.0098, "b": 35.98, "beta": -0.1775,
            "omega": 0.5529, "zeta": -0.0259, "E_start": 2.0732, "E_max": 290.4521, "c": 1.3637,
        }
    },
    hold=("E_start", "E_max"),
    family="experts",
    units="N: active parameters; D: tokens; E: experts, 1 for the dense model; loss: nats/token",
    ranges={"N": (3e7, 4e9), "D": (2e9, 2e11), "E": (1.0, 32.0)},
    symbols={
        "alpha": "exponent of N at E' = 1, with its sign", "beta": "exponent of D at E' = 1, with its sign",
        "gamma": "change of alpha per ln E'", "zeta": "change of beta per ln E'",
        "delta": "power of E' in the term of N", "omega": "power of E' in the term of D",
        "E_start": "what one expert counts for", "E_max": "what infinitely many count for",
    },
    notes="Exponents carry their sign. One expert counts as E_start, so a and b are not those of the dense model. "
    "E_start "
    "and E_max are all but free beside the powers of E'.",
    instead="clark at one budget of tokens, krajewski where the size of experts varies.",
)  # fmt: skip
def ludziejewski(
    N: Any, D: Any, E: Any, *, a: Scale, alpha: Falling, delta: Slope, gamma: Drift, b: Scale, beta: Falling,
    omega: Slope, zeta: Drift, E_start: Least, E_max: Most, c: Floor,
) -> Any:  # fmt: skip
    """L(N, D, E) = a E'^delta N^(alpha + gamma ln E') + b E'^omega D^(beta + zeta ln E') + c, E' as in Clark 2022"""
    e = np.log(saturating_experts(E, E_start, E_max))
    n, d = np.log(N), np.log(D)
    return a * np.exp(delta * e + (alpha + gamma * e) * n) + b * np.exp(omega * e + (beta + zeta * e) * d) + c


def at_experts(
    E: Any, *, a: Any, alpha: Any, delta: Any, gamma: Any, b: Any, beta: Any, omega: Any, zeta: Any, E_start: Any,
    E_max: Any, **_: Any,
) -> dict[str, Any]:  # fmt: skip
    """The law at a number of experts, m N^mu + n D^nu + c: m, mu, n and nu (the paper's table of them)."""
    e = np.log(saturating_experts(E, E_start, E_max))
    return {
        "m": a * np.exp(delta * e), "mu": alpha + gamma * e, "n": b * np.exp(omega * e), "nu": beta + zeta * e
    }  # fmt: skip


def ludziejewski_optimum(C: Any, E: Any, **params: Any) -> tuple[Any, Any]:
    """Compute-optimal (N, D) at C = 6 N D FLOP of active parameters, for a number of experts, in closed form."""
    at = at_experts(E, **params)
    n, d = -at["mu"], -at["nu"]
    ratio = (n * at["m"] / (d * at["n"])) ** (1 / (n + d))
    return ratio * (C / 6) ** (d / (n + d)), (C / 6) ** (n / (n + d)) / ratio

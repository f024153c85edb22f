"""Li et al. 2025, Predictable Scale: Part II, Farseer (arXiv:2506.10972): the terms of Hoffmann's law bend with N."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Param, law
from scaling.projection import nonnegative_least_squares

Level = Annotated[float, Param(start=(-3.0, 8.0))]

INNER = (0.06, 0.12, 0.2, 0.35)  # exponents of N inside the terms, from which searches start


def _starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # Where sizes repeat, each gives its own floor, amplitude and exponent of D, which are then straight in N^inner.
    log_n, log_d = np.log(inputs["N"]), np.log(inputs["D"])
    sizes = [n for n in np.unique(log_n) if len(np.unique(log_d[log_n == n])) >= 4]
    groups = [log_n == n for n in sizes] if len(sizes) >= 3 else [np.ones(len(loss), bool)]
    exponents = np.geomspace(0.03, 2.0, 160)
    parts = []
    for rows in groups:
        mean = log_d[rows].mean()
        power = np.exp(-exponents[:, None] * (log_d[rows] - mean))
        columns = np.stack([np.ones_like(power), power], axis=1) / loss[rows]
        solved, cost = nonnegative_least_squares(columns, np.ones(int(rows.sum())))
        at = int(np.argmin(cost))
        floor, amplitude = np.maximum(solved[:, at], 1e-2 * loss[rows].min())
        size = float(log_n[rows].mean())
        parts.append((size, np.log(floor), np.log(amplitude) + exponents[at] * mean, np.log(exponents[at])))
    size, floor, amplitude, exponent = np.array(parts).T

    def line(values: NDArray[np.float64], inner: float) -> tuple[float, float]:
        if len(values) < 3:
            return 0.0, float(values.mean())
        slope, level = np.polyfit(np.exp(inner * size), values, 1)
        return float(slope), float(level)

    starts = []
    for gamma, beta, alpha in product(INNER, INNER, INNER):
        (a3, b3), (a2, b2), (a1, b1) = line(floor, gamma), line(amplitude, -beta), line(exponent, alpha)
        found = {"a3": a3, "gamma": gamma, "b3": b3, "a2": max(a2, 1e-3), "beta": -beta, "b2": b2}
        starts.append(found | {"a1": a1, "alpha": alpha, "b1": b1})
    return starts


@law(
    starts=_starts,
    cite="Li 2025, arXiv:2506.10972, eq. 3",
    units="N: parameters without embeddings; D: tokens; loss: bits/character in the paper, nats/token as well",
    family="language models",
    ranked=False,
    unit="bits/character",
    ranges={"N": (1e8, 6e9), "D": (1e9, 2e11)},
    example={
        "a1": -0.02, "alpha": 0.12, "b1": -0.75, "a2": 55.0, "beta": -0.12, "b2": 2.4, "a3": -0.03, "gamma": 0.16,
        "b3": 0.15,
    },
    hold=("alpha", "beta", "gamma"),
    instead="chinchilla, which it is when the inner exponents are 0, unless N and D form a dense grid",
    symbols={
        "a3": "fall of the loss at unlimited data with N^gamma", "a2": "fall of data's amplitude with N^beta",
        "a1": "fall of data's exponent with N^alpha",
    },
    notes="Nine parameters that one sweep hardly determines: hold the inner exponents. The example is made up; the "
    "authors' coefficients could not be checked.",
)  # fmt: skip
def farseer(
    N: Any,
    D: Any,
    *,
    a3: Annotated[float, Param(start=(-2.0, 0.0))],
    gamma: Annotated[float, Param(lo=0.0, hi=1.0, start=(0.05, 0.4))],
    b3: Level,
    a2: Annotated[float, Param(lo=0.0, start=(0.5, 200.0))],
    beta: Annotated[float, Param(lo=-1.0, hi=0.0, start=(-0.4, -0.03))],
    b2: Level,
    a1: Annotated[float, Param(start=(-1.0, 0.1))],
    alpha: Annotated[float, Param(lo=0.0, hi=1.0, start=(0.03, 0.4))],
    b1: Annotated[float, Param(start=(-2.0, 1.0))],
) -> Any:
    """L(N, D) = exp(a3 N^gamma + b3) + exp(a2 N^beta + b2) D^-exp(a1 N^alpha + b1)"""
    exponent = np.exp(a1 * N**alpha + b1)
    return np.exp(a3 * N**gamma + b3) + np.exp(a2 * N**beta + b2 - exponent * np.log(D))

"""Panferov et al. 2025, Unified Scaling Laws for Compressed Representations (arXiv:2506.01863).

What a format costs is read off how well it stores a normal variable: its mean squared error there, GMSE.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Floor, Param, Scale, law

Array = NDArray[np.float64]
Ceiling = Annotated[float, Param(lo=0.0, hi=1.0, start=(0.5, 0.99))]
Steepness = Annotated[float, Param(lo=0.0, start=(0.1, 3.0))]
Bend = Annotated[float, Param(lo=0.0, hi=5.0, start=(0.3, 2.0))]
#: Magnitudes of FP4 E2M1: one sign, two exponent bits, one mantissa bit.
E2M1 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def capacity(gmse: Any, *, ceiling: Any, F: Any, power: Any, **_: Any) -> Any:
    """Share rho of the parameters that a format of this GMSE leaves: ceiling tanh(F log_1/4 GMSE)^power.

    Of formats one after another (weights and activations, sparsity and quantisation) it is the product.
    """
    return ceiling * np.tanh(F * np.log(np.maximum(gmse, 1e-300)) / math.log(0.25)) ** power


@law(
    cite="Panferov 2025, arXiv:2506.01863",
    example={
        "E": 1.5, "A": 30.0, "B": 400.0, "alpha": 0.2, "beta": 0.3, "ceiling": 0.95, "F": 0.6, "power": 0.8
    },
    hold=("ceiling",),
    zero=("gmse",),
    family="compressed formats",
    units="N: parameters without embeddings; D: tokens; gmse: mean squared error of the format on N(0, 1), from 0 to "
    "1; "
    "loss: nats/token",
    ranges={"N": (3e7, 2e8), "D": (1.5e9, 4e10), "gmse": (0.0, 0.6)},
    symbols={
        "gmse": "mean squared error with which the format stores a standard normal variable, 0 for none",
        "ceiling": "share of the parameters that count at GMSE = 0; 1 for formats that lose nothing there",
        "F": "how fast capacity comes back as GMSE falls by factors of 4", "power": "exponent of the saturation",
    },
    notes="One family of formats (uniform, sparse, ...) has one F, power and ceiling. The ceiling is not determined "
    "beside A: hold it, at 1 for formats that saturate. The fitted values are in the paper's plots only, and none are "
    "listed. gmse_uniform, gmse_sparse and gmse_of_levels give a format's GMSE.",
    instead="quest where each format may have a number of its own.",
)  # fmt: skip
def panferov(
    N: Any, D: Any, gmse: Any, *, E: Floor, A: Scale, B: Scale, alpha: Exponent, beta: Exponent, ceiling: Ceiling,
    F: Steepness, power: Bend,
) -> Any:  # fmt: skip
    """L(N, D, gmse) = E + A / (N rho)^alpha + B / D^beta, rho = ceiling tanh(F log_1/4 gmse)^power"""
    return E + A * (N * capacity(gmse, ceiling=ceiling, F=F, power=power)) ** -alpha + B * D**-beta


def gmse_of_levels(levels: Sequence[float], scale: float = 1.0) -> float:
    """GMSE of rounding to the nearest of `levels` times `scale`: exact, from the normal distribution."""
    q = np.sort(np.unique(np.asarray(levels, float))) * scale
    edges = np.concatenate([[-np.inf], (q[1:] + q[:-1]) / 2, [np.inf]])
    density = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    below = np.array([0.5 * (1 + math.erf(x / math.sqrt(2))) for x in edges])
    moment = np.where(np.isinf(edges), 0.0, edges) * density
    mass, first, second = np.diff(below), -np.diff(density), np.diff(below) - np.diff(moment)
    return float(np.sum(second - 2 * q * first + q**2 * mass))


def best_scale(levels: Sequence[float]) -> tuple[float, float]:
    """The scale of `levels` with the least GMSE, and that GMSE: golden section over the logarithm of the scale."""
    largest = float(np.abs(np.asarray(levels, float)).max())
    lo, hi = math.log(0.2 / largest), math.log(12.0 / largest)
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(90):
        a, b = hi - ratio * (hi - lo), lo + ratio * (hi - lo)
        if gmse_of_levels(levels, math.exp(a)) < gmse_of_levels(levels, math.exp(b)):
            hi = b
        else:
            lo = a
    scale = math.exp((lo + hi) / 2)
    return scale, gmse_of_levels(levels, scale)


def gmse_uniform(bits: int) -> float:
    """GMSE of 2^bits evenly spaced levels about 0, none at 0, at the best spacing; 1 bit: 1 - 2 / pi."""
    return best_scale(np.arange(2**bits) - (2**bits - 1) / 2)[1]


def gmse_sparse(share: float) -> float:
    """GMSE of setting the smallest `share` of a normal variable to 0: s - 2 t phi(t), t = Phi^-1((1 + s) / 2)."""
    if not 0 <= share <= 1:
        raise ValueError(f"the share of zeros lies between 0 and 1, got {share}")
    if share in (0, 1):
        return float(share)
    from statistics import NormalDist  # its random numbers take longer to load than all laws

    normal = NormalDist()
    t = normal.inv_cdf((1 + share) / 2)
    return share - 2 * t * normal.pdf(t)

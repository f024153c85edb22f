"""Henighan et al. 2020, Scaling Laws for Autoregressive Generative Modeling (arXiv:2010.14701)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Floor, Size, law
from scaling.projection import nonnegative_least_squares


def _derivatives(x: Any, *, L_inf: Any, x0: Any, alpha: Any) -> tuple[Any, Any, Any]:
    ratio = np.log(x0) - np.log(x)
    term = np.exp(alpha * ratio)
    by_x0, by_alpha = alpha / x0 * term, ratio * term

    def second() -> dict[tuple[str, str], Any]:
        return {
            ("x0", "x0"): (alpha - 1) / x0 * by_x0,
            ("x0", "alpha"): (term + alpha * by_alpha) / x0,
            ("alpha", "alpha"): ratio * by_alpha,
        }

    return L_inf + term, (np.ones_like(term * L_inf), by_x0, by_alpha), second


def _starts(inputs: Mapping[str, Any], loss: NDArray[np.float64]) -> list[dict[str, float]]:
    # L_inf and x0^alpha are linear once alpha is known: solve for them on a grid of exponents.
    log_x = np.log(inputs["x"])
    centre = log_x.mean()
    starts = []
    for alpha in np.geomspace(0.02, 2.0, 32):
        columns = np.stack([np.ones_like(log_x), np.exp(-alpha * (log_x - centre))])
        (floor, amplitude), _ = nonnegative_least_squares(columns[None] / loss, np.ones_like(loss))
        if amplitude[0] > 0:
            log_x0 = np.clip(centre + np.log(amplitude[0]) / alpha, -600, 600)
            starts.append({"L_inf": float(floor[0]), "x0": float(np.exp(log_x0)), "alpha": float(alpha)})
    return starts


#: Model sizes and PF-days of about the models of figures 1 and 2, wide enough to show the bend of each.
_RANGES = {f"{name}_C": {"x": (1e-7, 1e2)} for name in (
    "image_8x8", "image_16x16", "image_32x32", "image_vq16", "image_vq32", "video_vq", "math_extrapolate"
)}  # fmt: skip


@law(
    cite="Henighan 2020, arXiv:2010.14701, eq. 1.1 and table 1",
    published={
        # table 1, trend with model size: x is N in non-embedding parameters
        "image_8x8_N": {"L_inf": 3.12, "x0": 80.0, "alpha": 0.24},
        "image_16x16_N": {"L_inf": 2.64, "x0": 280.0, "alpha": 0.22},
        "image_32x32_N": {"L_inf": 2.2, "x0": 63.0, "alpha": 0.13},
        "image_vq16_N": {"L_inf": 3.99, "x0": 2.7e4, "alpha": 0.13},
        "image_vq32_N": {"L_inf": 3.07, "x0": 1.9e4, "alpha": 0.14},
        "video_vq_N": {"L_inf": 1.01, "x0": 3.7e4, "alpha": 0.24},
        "math_extrapolate_N": {"L_inf": 0.28, "x0": 1.1e4, "alpha": 0.16},
        # table 1, trend with compute: x is C in PF-days, 8.64e19 FLOP
        "image_8x8_C": {"L_inf": 3.13, "x0": 1.8e-8, "alpha": 0.19},
        "image_16x16_C": {"L_inf": 2.64, "x0": 1.6e-8, "alpha": 0.16},
        "image_32x32_C": {"L_inf": 2.21, "x0": 3.6e-9, "alpha": 0.1},
        "image_vq16_C": {"L_inf": 4.09, "x0": 6.1e-7, "alpha": 0.11},
        "image_vq32_C": {"L_inf": 3.17, "x0": 2.6e-6, "alpha": 0.12},
        "video_vq_C": {"L_inf": 0.95, "x0": 2.2e-5, "alpha": 0.14},
        "math_extrapolate_C": {"L_inf": 0.14, "x0": 1.4e-5, "alpha": 0.17},
    },
    derivatives=_derivatives,
    starts=_starts,
    units="x: any one of N, D, C; the published compute trends count C in PF-days; loss: nats/token",
    family="language models",
    ranges={"x": (1e5, 1e9)},
    ranges_for=_RANGES,
    instead="chinchilla where N and D vary apart; bnsl where the curve on log axes bends or breaks",
    symbols={
        "x": "N, D or C, the column that x= names",
        "L_inf": "entropy of the data",
        "x0": "scale of x where the reducible loss is 1",
    },
    notes="L_inf reads as the entropy of the data, the rest as the KL divergence to the model (section 1.1).",
)
def power(x: Any, *, L_inf: Floor, x0: Size, alpha: Exponent) -> Any:
    """L(x) = L_inf + (x0 / x)^alpha"""
    return L_inf + (x0 / x) ** alpha

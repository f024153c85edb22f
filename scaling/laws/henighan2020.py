"""Henighan et al. 2020, Scaling Laws for Autoregressive Generative Modeling (arXiv:2010.14701)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from scaling.law import Exponent, Floor, Param, Size, law
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


_WITH_COMPUTE = (
    "image_8x8", "image_16x16", "image_32x32", "image_vq16", "image_vq32", "video_vq", "math_extrapolate",
    "text_to_image", "image_to_text",
)  # fmt: skip
_PER_IMAGE = ("image_16x16", "image_32x32", "image_vq16", "image_vq32")
#: Wide enough to draw the bend of each, in PF-days; examples seen for the error of Alabdulmohsin 2022.
_RANGES = {f"{name}_C": {"x": (1e-7, 1e2)} for name in _WITH_COMPUTE}
_RANGES |= {f"{name}_per_image_C": {"x": (1e-7, 1e2)} for name in _PER_IMAGE}
_RANGES |= {"alabdulmohsin2022_nmt": {"x": (5e5, 5.12e8)}}


@law(
    cite="Henighan 2020, arXiv:2010.14701, eq. 1.1 and tables 1 and 3; M2 of Alabdulmohsin 2022, arXiv:2209.06640",
    published={
        # table 1, trend with model size: x is N in non-embedding parameters
        "image_8x8_N": {"L_inf": 3.12, "x0": 80.0, "alpha": 0.24},
        "image_16x16_N": {"L_inf": 2.64, "x0": 280.0, "alpha": 0.22},
        "image_32x32_N": {"L_inf": 2.2, "x0": 63.0, "alpha": 0.13},
        "image_vq16_N": {"L_inf": 3.99, "x0": 2.7e4, "alpha": 0.13},
        "image_vq32_N": {"L_inf": 3.07, "x0": 1.9e4, "alpha": 0.14},
        "video_vq_N": {"L_inf": 1.01, "x0": 3.7e4, "alpha": 0.24},
        "math_extrapolate_N": {"L_inf": 0.28, "x0": 1.1e4, "alpha": 0.16},
        "text_to_image_image_N": {"L_inf": 2.0, "x0": 5.1e3, "alpha": 0.16},
        "image_to_text_image_N": {"L_inf": 2.0, "x0": 5.5e3, "alpha": 0.15},
        # table 1, trend with compute: x is C in PF-days, 8.64e19 FLOP
        "image_8x8_C": {"L_inf": 3.13, "x0": 1.8e-8, "alpha": 0.19},
        "image_16x16_C": {"L_inf": 2.64, "x0": 1.6e-8, "alpha": 0.16},
        "image_32x32_C": {"L_inf": 2.21, "x0": 3.6e-9, "alpha": 0.1},
        "image_vq16_C": {"L_inf": 4.09, "x0": 6.1e-7, "alpha": 0.11},
        "image_vq32_C": {"L_inf": 3.17, "x0": 2.6e-6, "alpha": 0.12},
        "video_vq_C": {"L_inf": 0.95, "x0": 2.2e-5, "alpha": 0.14},
        "math_extrapolate_C": {"L_inf": 0.14, "x0": 1.4e-5, "alpha": 0.17},
        # of 9 L_image + L_text
        "text_to_image_C": {"L_inf": 1.93, "x0": 1.5e-6, "alpha": 0.15},
        "image_to_text_C": {"L_inf": 1.97, "x0": 1.5e-6, "alpha": 0.16},
        # table 3, in nats an image; its row for 8x8 contradicts table 1 by a factor of 1.5 and is left out
        "image_16x16_per_image_C": {"L_inf": 2026.0, "x0": 1.7e10, "alpha": 0.16},
        "image_32x32_per_image_C": {"L_inf": 6806.0, "x0": 2.7e26, "alpha": 0.10},
        "image_vq16_per_image_C": {"L_inf": 1047.0, "x0": 4.7e15, "alpha": 0.11},
        "image_vq32_per_image_C": {"L_inf": 3246.0, "x0": 3.1e19, "alpha": 0.12},
        # Alabdulmohsin 2022, arXiv:2209.06640, estimator M2, error = e_inf + beta x^c, of 6 + 6 layers on NMT:
        # the authors' code on their data; x is examples seen
        "alabdulmohsin2022_nmt": {
            "L_inf": 0.30815953585298,
            "x0": 475.89286998101295 ** (1 / 0.504630796342115),
            "alpha": 0.504630796342115,
        },
    },
    derivatives=_derivatives,
    starts=_starts,
    units="x: any one of N (without embeddings), D, C; published trends in compute count PF-days of 6 N D; loss: "
    "nats/token, a token being a colour of a pixel or a code of an image or video",
    family="language models",
    ranges={"x": (1e5, 1e9)},
    ranges_for=_RANGES,
    instead="kaplan_power without a floor; chinchilla where N and D vary apart; bnsl where log axes show a break",
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


def reducible(x: Any, *, x0: Any, alpha: Any, **_: Any) -> Any:
    """(x0 / x)^alpha: the part of the loss that more of x removes, the KL divergence from the data to the model."""
    return (x0 / x) ** alpha


def size_for(kl: Any, *, x0: Any, alpha: Any, **_: Any) -> Any:
    """The x at which the reducible loss has come down to `kl`, in its unit."""
    return x0 * kl ** (-1 / alpha)


@law(
    cite="Henighan 2020, arXiv:2010.14701, table 1",
    published={
        "language": {"C_0": 3.3e-13, "beta": 0.73},
        "image_8x8": {"C_0": 5.3e-14, "beta": 0.64},
        "image_16x16": {"C_0": 4.8e-12, "beta": 0.75},
        "image_32x32": {"C_0": 1.6e-13, "beta": 0.65},
        "image_vq16": {"C_0": 6.2e-14, "beta": 0.64},
        "image_vq32": {"C_0": 9.4e-13, "beta": 0.7},
        "text_to_image": {"C_0": 9.4e-13, "beta": 0.7},
        "image_to_text": {"C_0": 3.3e-12, "beta": 0.72},
        "video_vq": {"C_0": 1.13e-12, "beta": 0.71},
        "math_extrapolate": {"C_0": 2.3e-12, "beta": 0.69},
    },
    starts=lambda inputs, size: [_line(np.log(inputs["C"]), np.log(size))],
    units="C: PF-days (8.64e19 FLOP) of 6 N D; N_opt: parameters without embeddings",
    family="language models",
    predicts="N_opt",
    unit="parameters",
    ranges={"C": (1e-6, 1e2)},
    instead="chinchilla or porian_model: runs stopped early on one schedule make beta too large for language",
    symbols={"N_opt": "size of the least loss at that compute", "C_0": "compute whose best model has one parameter"},
)
def henighan_model(
    C: Any, *, C_0: Annotated[float, Param(lo=0.0, start=(1e-15, 1e-9), unit="as C")], beta: Exponent
) -> Any:
    """N_opt(C) = (C / C_0)^beta"""
    return (C / C_0) ** beta


def _line(log_x: NDArray[np.float64], log_y: NDArray[np.float64]) -> dict[str, float]:
    slope, level = np.polyfit(log_x, log_y, 1)
    beta = float(np.clip(slope, 1e-2, 2.9))
    return {"C_0": float(np.exp(np.clip(-level / beta, -600, 600))), "beta": beta}


@law(
    cite="Henighan 2020, arXiv:2010.14701",
    units="N: parameters without embeddings; infogain: mutual information of text and image over the loss of the text",
    family="language models",
    predicts="infogain",
    unit="1",
    signed=True,
    ranges={"N": (1e6, 1e10)},
    example={"lam": 0.015, "N_c": 1e6},
    instead="power for the loss itself",
    symbols={"lam": "share of the text's loss gained with each e-fold of N", "N_c": "size that gains nothing"},
    notes="The paper draws lam and N_c and does not print them: the example is made up. See mutual_information.",
)
def henighan_infogain(
    N: Any,
    *,
    lam: Annotated[float, Param(lo=0.0, linear=True)],
    N_c: Annotated[float, Param(lo=0.0, start=(1e-6, 1.0), unit="parameters", of="N")],
) -> Any:
    """infogain(N) = lam ln(N / N_c)"""
    return lam * (np.log(N) - np.log(N_c))


def mutual_information(loss_alone: Any, loss_given: Any) -> Any:
    """Empirical mutual information of two parts, nats: the loss of one alone less its loss given the other, both summed
    over its tokens. It is a bound only as far as the model is good."""
    return loss_alone - loss_given


def context_information(T: int, p: float, L_U: Any, L: Any) -> Any:
    """Mutual information of the first T tokens and the next T, nats, where token t has the loss
    L + (L_U - L) / t^p (appendix E): (2 H_T - H_2T) (L_U - L), H the generalised harmonic numbers of p."""
    terms = np.arange(1, 2 * T + 1, dtype=float) ** -p
    return (2 * terms[:T].sum() - terms.sum()) * (L_U - L)


def compute_per_data(beta: Any) -> Any:
    """Power of D by which compute grows along the optimum, where N_opt grows as C^beta: 1 / (1 - beta)."""
    return 1 / (1 - beta)


def per_image(loss: Any, tokens: Any) -> Any:
    """Nats an image from nats a token: 3 R^2 tokens for R x R pixels of three colours, one a code otherwise."""
    return loss * tokens
